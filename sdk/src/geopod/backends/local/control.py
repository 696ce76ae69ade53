"""Client of an environment's coordinator, over its Unix socket: runs in, states out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from geopod.api.control import CancelRun, FromClient, Problem, RunUpdate, Submit, decode_to_client
from geopod.api.messages import encode
from geopod.api.runs import RunOrder, RunState
from geopod.backends.local.frames import FrameReader, frame
from geopod.backends.local.presence import CONTROL_SOCKET

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from geopod.errors.base import override

Update = RunState | Problem | None
"""What a watcher gets; None: the connection is gone, ask anew."""


class ControlConnection(asyncio.Protocol):
    """One connection for all runs of one environment; several may be watched at once."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._watched: dict[str, list[asyncio.Queue[Update]]] = {}

    @classmethod
    async def open(cls, sockets: Path) -> ControlConnection:
        """Connect; raises OSError when no coordinator listens there."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(cls, str(sockets / CONTROL_SOCKET))
        return connection

    @property
    def is_open(self) -> bool:
        """The coordinator has not hung up."""
        return self._transport is not None and not self._transport.is_closing()

    def submit(self, order: RunOrder) -> asyncio.Queue[Update]:
        """Hand a run over (once or again) and return the queue of its states.

        Raises ConnectionError when the connection is gone.
        """
        queue: asyncio.Queue[Update] = asyncio.Queue()
        self._watched.setdefault(order.uid, []).append(queue)
        self._send(Submit(order=order))
        return queue

    def forget(self, run: str, queue: asyncio.Queue[Update]) -> None:
        """Nobody waits on this queue any more."""
        queues = self._watched.get(run, [])
        if queue in queues:
            queues.remove(queue)
        if not queues:
            self._watched.pop(run, None)

    def cancel(self, run: str, indexes: list[int] | None) -> None:
        """Cancel a run, or some of its tasks; raises ConnectionError as `submit` does."""
        self._send(CancelRun(run=run, indexes=indexes))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _send(self, message: FromClient) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("The coordinator has hung up.")
        self._transport.write(frame(encode(message)))

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there (asyncio calls this)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream socket's
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        """Hand every message to those who wait for it (asyncio calls this)."""
        for message in self._reader.feed(data):
            match decode_to_client(message):
                case RunUpdate(state=state):
                    self._tell(state.uid, state)
                case Problem(about=run) as problem:
                    self._tell(run, problem)
                case _:
                    continue

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits to ask anew (asyncio calls this)."""
        del exc
        self._transport = None
        for run in tuple(self._watched):
            self._tell(run, None)
        self._watched.clear()

    def _tell(self, run: str, update: Update) -> None:
        for queue in self._watched.get(run, ()):
            queue.put_nowait(update)
