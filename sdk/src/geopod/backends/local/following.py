"""One run's states as they come, through every restart of its coordinator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from geopod.api.control import Problem
from geopod.api.runs import RunOrder, RunState
from geopod.backends.local.control import Watch
from geopod.backends.local.unfinished import queued_state
from geopod.errors import GeopodError

if TYPE_CHECKING:
    from geopod.backends.local.runs import Runs


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is to be followed."""

    order: RunOrder
    watch: Watch | None = None
    """It has been handed over already."""
    is_new: bool = False
    """It cannot have ended yet."""


class RunStates:
    """Yields a run's states, the first one at once; connects anew as often as it must.

    No generator: one that is left half read costs a task of its own when it is forgotten.
    """

    def __init__(self, runs: Runs, begin: Callable[[], Begun]) -> None:
        """`begin` is called, and may raise, when the first state is asked for."""
        self._runs = runs
        self._begin = begin
        self._order: RunOrder | None = None
        self._watch: Watch | None = None
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunState:
        """Wait for the next state. Raises what the coordinator refused, and errors of a start."""
        if self._is_over:
            raise StopAsyncIteration
        order = self._order
        if order is None:
            return await self._first()
        while True:
            ended = await self._connect(order)
            if ended is not None or self._watch is None:
                return self._last(ended or self._runs.stored(order))
            update = await self._watch.next()
            if isinstance(update, Problem):
                self._end()
                details = {"reason": update.reason}
                raise GeopodError.from_wire("E202", update.message, details=details)
            if update is None:  # the coordinator is gone: it may have stored the end
                self._forget()
                stored = self._runs.stored(order)
                if stored.finished is None:
                    continue
                return self._last(await self._runs.after_run(order, stored))
            if update.finished is None:
                return update
            self._forget()  # whoever is cancelled while results become a layer asks anew
            return self._last(await self._runs.finish(order, update))

    async def aclose(self) -> None:
        """Follow it no more; the run goes on."""
        self._end()

    def __del__(self) -> None:
        self._forget()

    async def _first(self) -> RunState:
        """Return the first state: queued, or its last one where it has ended long ago."""
        begun = self._begin()
        order, self._watch = begun.order, begun.watch
        if not begun.is_new:
            stored = self._runs.stored(order)
            if stored.finished is not None:
                return self._last(await self._runs.after_run(order, stored))
        self._order = order
        ended = await self._connect(order)
        return queued_state(order) if ended is None else self._last(ended)

    async def _connect(self, order: RunOrder) -> RunState | None:
        """Hand the run over, if it is not; a state: its environment was ended, and the run."""
        while self._watch is None:
            connection = await self._runs.connect(order)
            if connection is None:
                return self._runs.end(order)
            with suppress(ConnectionError):
                self._watch = connection.submit(order)
        return None

    def _last(self, state: RunState) -> RunState:
        self._end()
        return state

    def _end(self) -> None:
        self._is_over = True
        self._forget()

    def _forget(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
