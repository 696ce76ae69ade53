"""Client of an environment's coordinator, over its Unix socket: runs in, states out."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

from geopod.api.control import CancelRun, FromClient, Problem, RunUpdate, Submit, decode_to_client
from geopod.api.messages import MAX_MESSAGE_BYTES, encode
from geopod.api.runs import RunOrder, RunState
from geopod.backends.local.presence import CONTROL_SOCKET
from geopod.process.frames import FrameWire, dial_frames

Update = RunState | Problem | None
"""What a watcher gets; None: the connection is gone, ask anew."""


class Watch:
    """One run's states, as one connection brings them; `None` when that is gone."""

    def __init__(self, connection: ControlConnection, run: str) -> None:
        self._connection = connection
        self._run = run
        self._updates: deque[Update] = deque()
        self._told: asyncio.Future[None] | None = None

    async def next(self) -> Update:
        """Wait for the next state; one waits at a time."""
        while not self._updates:
            self._told = asyncio.get_running_loop().create_future()
            await self._told
        return self._updates.popleft()

    def tell(self, update: Update) -> None:
        """Take a state."""
        self._updates.append(update)
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    def cancel(self, indexes: list[int] | None = None) -> None:
        """Cancel the run, or some of its tasks; raises ConnectionError as `submit` does."""
        self._connection.cancel(self._run, indexes)

    def close(self) -> None:
        """Nobody waits for it any more."""
        self._connection.forget(self._run, self)


class ControlConnection:
    """One connection for all runs of one environment; several may be watched at once."""

    def __init__(self) -> None:
        self._wire: FrameWire
        self._watched: dict[str, list[Watch]] = {}

    @classmethod
    async def open(cls, sockets: Path) -> ControlConnection:
        """Connect; raises OSError when no coordinator listens there."""
        connection = cls()
        path = str(sockets / CONTROL_SOCKET)
        connection._wire = dial_frames(path, connection, limit=MAX_MESSAGE_BYTES)
        return connection

    @property
    def is_open(self) -> bool:
        """The coordinator has not hung up."""
        return self._wire.is_open

    def submit(self, order: RunOrder, *, is_new: bool = False) -> Watch:
        """Hand a run over (once or again) and watch it.

        `is_new`: nobody has seen it before, and its order is being stored. Raises ConnectionError
        when the connection is gone.
        """
        watch = Watch(self, order.uid)
        self._watched.setdefault(order.uid, []).append(watch)
        self._send(Submit(order=order, is_new=is_new))
        return watch

    def forget(self, run: str, watch: Watch) -> None:
        """Nobody waits for this any more."""
        watches = self._watched.get(run, [])
        if watch in watches:
            watches.remove(watch)
        if not watches:
            self._watched.pop(run, None)

    def cancel(self, run: str, indexes: list[int] | None) -> None:
        """Cancel a run, or some of its tasks; raises ConnectionError as `submit` does."""
        self._send(CancelRun(run=run, indexes=indexes))

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    def _send(self, message: FromClient) -> None:
        if not self._wire.is_open:
            raise ConnectionResetError("The coordinator has hung up.")
        self._wire.send(encode(message))

    # ---- FrameListener

    def opened(self, wire: FrameWire) -> None:
        """The connection is there."""

    def heard(self, message: bytes) -> None:
        """Hand a message to those who wait for it."""
        match decode_to_client(message):
            case RunUpdate(state=state):
                self._tell(state.uid, state)
            case Problem(about=run) as problem:
                self._tell(run, problem)
            case _:
                pass

    def closed(self) -> None:
        """Tell everybody who waits to ask anew."""
        for run in tuple(self._watched):
            self._tell(run, None)
        self._watched.clear()

    def _tell(self, run: str, update: Update) -> None:
        for watch in self._watched.get(run, ()):
            watch.tell(update)
