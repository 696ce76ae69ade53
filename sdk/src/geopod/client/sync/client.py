"""The entry, plain."""

from __future__ import annotations

import asyncio
import atexit
import os
from contextlib import suppress
from typing import Any, Self

from typing_extensions import override

from geopod.backends import Capacity
from geopod.client import aio
from geopod.client.aio.explain import Explanation
from geopod.client.aio.showing import environment_row, run_row
from geopod.client.layerlike import LayerRef
from geopod.client.loop import LoopThread, shared_loop
from geopod.client.sync.environment import Environment
from geopod.client.sync.forwarding import mirrors
from geopod.client.sync.run import Run
from geopod.display.lists import Search
from geopod.errors import GeopodError

FAREWELL_S = 2.0
"""So long the end of the process waits for connections to be closed."""
_open: dict[int, set[aio.Client]] = {}
"""Clients that nobody has closed, by process; what they made may be in use after they are gone."""


@mirrors(aio.connect)
def connect(target: str | None = None, **options: Any) -> Client:
    loop = shared_loop()
    client = loop.run(aio.connect(target, **options))
    mine = _open.setdefault(os.getpid(), set())
    if not mine:
        atexit.unregister(_close_all)
        atexit.register(_close_all, os.getpid())
    mine.add(client)
    return Client(client, loop)


def _close_all(owner: int) -> None:
    """Close what was left open, so that no library complains of it at the end of the process.

    `owner`: the process that opened it; a fork of it has no thread that could close anything.
    """
    if os.getpid() != owner:
        return

    async def close() -> None:
        async with asyncio.timeout(FAREWELL_S):
            await asyncio.gather(*(client.close() for client in _open[owner]))

    with suppress(TimeoutError, OSError, GeopodError):  # the process ends all the same
        shared_loop().run(close())
    _open[owner].clear()


class Client:
    """A connection to one target; `with` closes it."""

    def __init__(self, client: aio.Client, loop: LoopThread) -> None:
        self._aio = client
        self._loop = loop

    @override
    def __repr__(self) -> str:
        return repr(self._aio)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @mirrors(aio.Client.environment)
    def environment(self, name: str | None = None, **options: Any) -> Environment:
        return Environment(self._loop.run(self._aio.environment(name, **options)), self._loop)

    @mirrors(aio.Client.get_environment)
    def get_environment(self, name: str) -> Environment:
        return Environment(self._loop.run(self._aio.get_environment(name)), self._loop)

    @mirrors(aio.Client.environments)
    def environments(self) -> Search[Environment]:
        found = self._loop.run(self._aio.environments())
        return Search((Environment(it, self._loop) for it in found), row=environment_row)

    @mirrors(aio.Client.get_run)
    def get_run(self, name: str) -> Run:
        return Run(self._loop.run(self._aio.get_run(name)), self._loop)

    @mirrors(aio.Client.runs)
    def runs(self, *, environment: str | None = None) -> Search[Run]:
        found = self._loop.run(self._aio.runs(environment=environment))
        return Search((Run(run, self._loop) for run in found), row=run_row)

    @mirrors(aio.Client.terminate_all)
    def terminate_all(self, *, wait: bool = True) -> None:
        self._loop.run(self._aio.terminate_all(wait=wait))

    @mirrors(aio.Client.add_layer)
    def add_layer(self, path_id: str, uri: Any = None, **options: Any) -> LayerRef:
        return self._loop.run(self._aio.add_layer(path_id, uri, **options))

    @mirrors(aio.Client.get_layer)
    def get_layer(self, path_id: str) -> LayerRef:
        return self._loop.run(self._aio.get_layer(path_id))

    @mirrors(aio.Client.layers)
    def layers(self) -> Search[LayerRef]:
        return self._loop.run(self._aio.layers())

    @mirrors(aio.Client.capacity)
    def capacity(self) -> Capacity:
        return self._loop.run(self._aio.capacity())

    @mirrors(aio.Client.doctor)
    def doctor(self) -> Explanation:
        return self._loop.run(self._aio.doctor())

    @mirrors(aio.Client.close)
    def close(self) -> None:
        _open.get(os.getpid(), set()).discard(self._aio)
        self._loop.run(self._aio.close())
