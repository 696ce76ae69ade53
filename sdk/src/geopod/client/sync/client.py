"""The entry, plain."""

from __future__ import annotations

from typing import Any, Self

from typing_extensions import override

from geopod.backends import Capacity
from geopod.client import aio
from geopod.client.aio.explain import Explanation
from geopod.client.layerlike import LayerRef
from geopod.client.loop import LoopThread, shared_loop
from geopod.client.sync.environment import Environment
from geopod.client.sync.forwarding import mirrors
from geopod.client.sync.run import Run


@mirrors(aio.connect)
def connect(target: str | None = None, **options: Any) -> Client:
    loop = shared_loop()
    return Client(loop.run(aio.connect(target, **options)), loop)


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
    def environments(self) -> list[Environment]:
        found = self._loop.run(self._aio.environments())
        return [Environment(environment, self._loop) for environment in found]

    @mirrors(aio.Client.get_run)
    def get_run(self, name: str) -> Run:
        return Run(self._loop.run(self._aio.get_run(name)), self._loop)

    @mirrors(aio.Client.runs)
    def runs(self, *, environment: str | None = None) -> list[Run]:
        found = self._loop.run(self._aio.runs(environment=environment))
        return [Run(run, self._loop) for run in found]

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
    def layers(self) -> list[LayerRef]:
        return self._loop.run(self._aio.layers())

    @mirrors(aio.Client.capacity)
    def capacity(self) -> Capacity:
        return self._loop.run(self._aio.capacity())

    @mirrors(aio.Client.doctor)
    def doctor(self) -> Explanation:
        return self._loop.run(self._aio.doctor())

    @mirrors(aio.Client.close)
    def close(self) -> None:
        self._loop.run(self._aio.close())
