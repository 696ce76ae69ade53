"""Runs of this machine: named once, handed to their coordinator, followed through every restart."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from functools import partial

import msgspec

from geopod.api import names
from geopod.api.runs import RunOrder, RunState
from geopod.backends.local import launch
from geopod.backends.local.control import ControlConnection, Watch
from geopod.backends.local.following import Begun, RunStates
from geopod.backends.local.presence import is_alive, sockets_of
from geopod.backends.local.publish import Publisher
from geopod.backends.local.standing import require_awake, start_error
from geopod.backends.local.state import StateFolder
from geopod.backends.local.unfinished import cancel_stored, stored_state
from geopod.errors import InvalidInputError
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

    def submit(self, order: RunOrder) -> RunStates:
        """Name the run and start it; yields its states, the first one at once.

        The same order under the same name is the same run. Raises EnvironmentTerminatedError, and
        InvalidInputError for a name that another run has.
        """
        return RunStates(self, partial(self._name, order))

    def watch(self, name: str) -> RunStates:
        """Yield a run's states, at once and on change; an unfinished one is taken up again."""
        return RunStates(self, lambda: Begun(self._folder.read_run(name)))

    def _name(self, order: RunOrder) -> Begun:
        """Give a run its name and return it, or the run that has the name."""
        order = self._publisher.complete(order)
        watch = self._hand_over(order)
        try:
            claimed = self._folder.claim_run(order)
        except BaseException:
            _take_back(watch)
            raise
        if claimed.uid != order.uid:
            _take_back(watch)
            if not _is_same(claimed, order):
                raise InvalidInputError.value(
                    name="name",
                    value=order.name,
                    why="is the name of another run",
                    fix="another name",
                )
            return Begun(claimed)
        self._folder.prepare_run(order)
        return Begun(order, watch, is_new=True)

    def _hand_over(self, order: RunOrder) -> Watch | None:
        """Hand a run over before it is stored: its coordinator begins meanwhile.

        Only under a name that is made from the run's own uid: nobody else asks for that. Until
        `submit` yields nobody has been told of the run; whoever dies before that has lost nothing.
        None: it must be stored first. Raises EnvironmentTerminatedError.
        """
        connection = self._connections.get(order.environment)
        if connection is None or not connection.is_open:
            require_awake(self._folder.read_environment(order.environment))
            return None
        if not order.name.endswith(names.own_suffix(order.uid)) or self._folder.has_run(order.name):
            return None
        return connection.submit(order, is_new=True)

    async def connect(self, order: RunOrder) -> ControlConnection | None:
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

    def end(self, order: RunOrder) -> RunState:
        """End a run whose environment is no more."""
        cancel_stored(self._folder.store, order, now=time.time(), reason="EnvironmentDeleted")
        return self.stored(order)

    async def finish(self, order: RunOrder, state: RunState) -> RunState:
        """Keep a last state, which is told before it is stored; return what is to be shown."""
        if len(self._finished) >= KEPT_STATES:
            self._finished.pop(next(iter(self._finished)))
        self._finished[state.uid] = state
        return await self.after_run(order, state)

    async def after_run(self, order: RunOrder, state: RunState) -> RunState:
        """Publish the results of a run that has ended, where it asks for that; return its state."""
        return await self._publisher.after_run(order, state)

    def stored(self, order: RunOrder) -> RunState:
        """Return the last state of a run that is known without asking its coordinator."""
        known = self._finished.get(order.uid)
        state = stored_state(self._folder.store, order) if known is None else known
        return self._publisher.show(order, state)

    async def get(self, name: str) -> tuple[RunOrder, RunState]:
        """Return a run's order and its state, by its coordinator if that lives, else as stored."""
        order = self._folder.read_run(name)
        state = self.stored(order)
        if state.finished is None and self._is_awake(order):
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    following = RunStates(self, lambda: Begun(order, is_new=True))
                    async with aclosing(following) as states:
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
            return [(order, self.stored(order)) for order in orders]
        uid = self._folder.read_environment(environment).uid
        return [(order, self.stored(order)) for order in orders if order.environment == uid]

    async def cancel(self, name: str, *, indexes: list[int] | None) -> None:
        """Cancel a run, or some of its tasks; a finished one stays as it is.

        A run of an environment that sleeps is not woken for it.
        """
        order = self._folder.read_run(name)
        if self.stored(order).finished is not None:
            return
        connection = self._connections.get(order.environment)
        if connection is None or not connection.is_open:
            if indexes is None and await asyncio.to_thread(self._cancel_asleep, order):
                return
            connection = await self.connect(order)
        if connection is not None:
            watch = connection.submit(order)  # one that was never handed over is, first
            watch.cancel(indexes)
            watch.close()

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
        if self.stored(order).finished is None:
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


def _is_same(known: RunOrder, order: RunOrder) -> bool:
    """Whether two orders differ in when they were made alone."""
    return msgspec.structs.replace(known, uid=order.uid, created=order.created) == order


def _take_back(watch: Watch | None) -> None:
    """Cancel a run that was handed over and could not get its name."""
    if watch is not None:
        with suppress(ConnectionError):
            watch.cancel()
        watch.close()
