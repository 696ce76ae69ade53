"""Runs of this machine: named once, handed to their coordinator, followed through every restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from geopod.api import names
from geopod.api.control import Problem
from geopod.api.runs import RunOrder, RunState
from geopod.backends.local import launch
from geopod.backends.local.control import ControlConnection, Update
from geopod.backends.local.presence import is_alive, sockets_of
from geopod.backends.local.publish import Publisher
from geopod.backends.local.standing import require_awake, start_error
from geopod.backends.local.state import StateFolder
from geopod.backends.local.unfinished import cancel_stored, queued_state, stored_state
from geopod.errors import GeopodError
from geopod.store import Store

LOOK_AGAIN_S = 0.01
KEPT_STATES = 256
"""Last states of finished runs that this client remembers."""
ANSWER_S = 1.0
"""How long a living coordinator may take to say how a run goes."""


class Runs:
    """All runs of one state folder; one connection per environment carries them."""

    def __init__(self, folder: StateFolder, store: Store, *, publisher: Publisher) -> None:
        self._folder = folder
        self._store = store
        self._publisher = publisher
        self._connections: dict[str, ControlConnection] = {}
        self._dialling: dict[str, asyncio.Lock] = {}
        self._finished: dict[str, RunState] = {}

    async def submit(self, order: RunOrder) -> AsyncGenerator[RunState, None]:
        """Name the run and start it; yields its states, the first one at once.

        A name that is taken yields the run that has it. Raises EnvironmentTerminatedError.
        """
        connection = self._connections.get(order.environment)
        if connection is None or not connection.is_open:
            require_awake(self._folder.read_environment(order.environment))
        claimed = self._folder.claim_run(self._publisher.complete(order))
        known = claimed.uid != order.uid
        async for state in self._watch(claimed) if known else self._follow(claimed):
            yield state

    async def watch(self, name: str) -> AsyncGenerator[RunState, None]:
        """Yield a run's states, at once and on change; an unfinished one is taken up again."""
        async for state in self._watch(self._folder.read_run(name)):
            yield state

    async def _watch(self, order: RunOrder) -> AsyncGenerator[RunState, None]:
        state = self._stored(order)
        if state.finished is not None:
            yield await self._publisher.after_run(order, state)
            return
        async for following in self._follow(order):
            yield following

    async def _follow(self, order: RunOrder) -> AsyncGenerator[RunState, None]:
        """Yield the states of an unfinished run; connects anew as often as its coordinator ends."""
        shown = False
        while True:
            connection = await self._connect(order)
            if connection is None:
                yield self._end(order)
                return
            try:
                queue = connection.submit(order)
            except ConnectionError:
                continue
            try:
                if not shown:
                    shown = True
                    yield queued_state(order)
                while (state := _state(await queue.get())) is not None:
                    if state.finished is None:
                        yield state
                        continue
                    self._remember(state)
                    yield await self._publisher.after_run(order, state)
                    return
            finally:
                connection.forget(order.uid, queue)
            state = self._stored(order)
            if state.finished is not None:
                yield await self._publisher.after_run(order, state)
                return

    async def _connect(self, order: RunOrder) -> ControlConnection | None:
        """Return a connection to the run's coordinator; None: its environment was ended.

        Wakes the environment; raises its error when it cannot start.
        """
        uid = order.environment
        connection = self._connections.get(uid)
        if connection is not None and connection.is_open:
            return connection
        async with self._dialling.setdefault(uid, asyncio.Lock()):
            return await self._dial(uid)

    async def _dial(self, uid: str) -> ControlConnection | None:
        """Connect, unless somebody else has meanwhile."""
        connection = self._connections.get(uid)
        if connection is not None and connection.is_open:
            return connection
        while True:
            try:
                name = self._folder.read_environment(uid).name
            except LookupError:
                return None
            report = await launch.serve(self._folder, name)
            if report.state.phase == "Terminated":
                return None
            if report.state.phase == "Failed":
                raise start_error(report.state)
            sockets = sockets_of(self._folder, name)
            try:
                if sockets is not None:
                    connection = await ControlConnection.open(sockets)
                    self._connections[uid] = connection
                    return connection
            except OSError:
                continue  # it ended between its word and our dialling

    def _end(self, order: RunOrder) -> RunState:
        """End a run whose environment is no more."""
        cancel_stored(self._folder.store, order, now=time.time(), reason="EnvironmentDeleted")
        return self._stored(order)

    def _remember(self, state: RunState) -> None:
        """Keep a last state: the coordinator tells it before it stores it."""
        if len(self._finished) >= KEPT_STATES:
            self._finished.pop(next(iter(self._finished)))
        self._finished[state.uid] = state

    def _stored(self, order: RunOrder) -> RunState:
        known = self._finished.get(order.uid)
        state = stored_state(self._folder.store, order) if known is None else known
        return self._publisher.show(order, state)

    async def get(self, name: str) -> tuple[RunOrder, RunState]:
        """Return a run's order and its state, by its coordinator if that lives, else as stored."""
        order = self._folder.read_run(name)
        state = self._stored(order)
        if state.finished is None and self._is_awake(order):
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S), aclosing(self._follow(order)) as states:
                    await anext(states)  # made here: Queued
                    state = await anext(states)
        return order, state

    def _is_awake(self, order: RunOrder) -> bool:
        try:
            name = self._folder.read_environment(order.environment).name
        except LookupError:
            return False
        return is_alive(self._folder, name)

    def all(self, *, environment: str | None) -> list[tuple[RunOrder, RunState]]:
        """Return all runs, or those of one environment, newest first."""
        orders = reversed(self._folder.runs())
        if environment is None:
            return [(order, self._stored(order)) for order in orders]
        uid = self._folder.read_environment(environment).uid
        return [(order, self._stored(order)) for order in orders if order.environment == uid]

    async def cancel(self, name: str, *, indexes: list[int] | None) -> None:
        """Cancel a run, or some of its tasks; a finished one stays as it is.

        A run of an environment that sleeps is not woken for it.
        """
        order = self._folder.read_run(name)
        if self._stored(order).finished is not None:
            return
        connection = self._connections.get(order.environment)
        if connection is None or not connection.is_open:
            if indexes is None and await asyncio.to_thread(self._cancel_asleep, order):
                return
            connection = await self._connect(order)
        if connection is not None:
            queue = connection.submit(order)  # one that was never handed over is, first
            connection.cancel(order.uid, indexes)
            connection.forget(order.uid, queue)

    def _cancel_asleep(self, order: RunOrder) -> bool:
        """Cancel a run where it is stored; False: its environment is awake."""
        try:
            name = self._folder.read_environment(order.environment).name
        except LookupError:
            name = order.environment
        with self._folder.locked(f"start-{name}"):
            if is_alive(self._folder, name):
                return False
            cancel_stored(self._folder.store, order, now=time.time())
        return True

    async def delete(self, name: str, *, results: bool) -> None:
        """Forget a run, cancelled first if it goes on; `results`: and everything it wrote."""
        order = self._folder.read_run(name)
        if self._stored(order).finished is None:
            await self.cancel(name, indexes=None)
            async for _ in self.watch(name):
                pass
        self._folder.remove_run(order.name)
        if results:
            await self._until_stored(order)
            await self._store.delete(names.run_prefix(order.environment, order.uid))
            await self._store.delete(names.order_key(order.environment, order.uid))

    async def _until_stored(self, order: RunOrder) -> None:
        """Return when the run's end is in the store: nothing of it is written after that.

        The coordinator tells an end before it stores it; one that was killed between stores none.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while stored_state(self._folder.store, order).finished is None:  # noqa: ASYNC110  # another process writes it
                    await asyncio.sleep(LOOK_AGAIN_S)

    def close(self) -> None:
        """Hang up everywhere; runs go on."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def _state(update: Update) -> RunState | None:
    """Return the state in an update; None: connect again. Raises what the coordinator refused."""
    if isinstance(update, Problem):
        raise GeopodError.from_wire("E202", update.message, details={"reason": update.reason})
    return update
