"""A run as it is watched: its state, and the outcome of single tasks as the manifest has them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec
from typing_extensions import override

from geopod.api import names
from geopod.api.plan import Plan, decode_plan
from geopod.api.results import TaskReason, TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.backends import Backend
from geopod.client.aio.records import RecordReader
from geopod.client.aio.stillness import Stillness
from geopod.client.quantities import seconds
from geopod.display.progress import Progress
from geopod.errors import (
    EnvironmentNotFoundError,
    GeopodError,
    ResultExpiredError,
    TaskCancelledError,
    WaitTimeoutError,
    from_failure,
)
from geopod.store import KeyMissingError

if TYPE_CHECKING:
    from geopod.client.aio.explain import Explanation
    from geopod.client.aio.run import Run

KEEP_S = 604_800
"""The resource's default of `results.keepSeconds`."""
TERMINAL = frozenset({"Succeeded", "Failed", "Cancelled"})


class WatchedRun(ABC):
    """What is known of a run, kept up to date by one watch however many wait."""

    def __init__(
        self,
        backend: Backend,
        order: RunOrder,
        state: RunState,
        states: AsyncIterator[RunState] | None = None,
    ) -> None:
        self._backend = backend
        if state.uid and state.uid != order.uid:  # a cluster names runs itself
            order = msgspec.structs.replace(order, uid=state.uid)
        self.order = order
        self.state = state
        self._states = states
        self._turn = asyncio.Lock()
        self.is_left = False
        """Somebody stopped waiting for it (Ctrl-C, a timeout): it is meant to go on."""
        self.store = backend.store(order.environment)
        """Where the run's function, results and logs lie."""
        self._reader = RecordReader(self.store, order)
        self._reader.take(state)

    id = property(lambda self: self.order.uid)
    name = property(lambda self: self.order.name)
    environment = property(lambda self: self.order.environment)
    tags = property(lambda self: tuple(self.order.tags))
    phase = property(lambda self: self.state.phase or "Queued")
    created = property(lambda self: self.order.created)
    started = property(lambda self: self.state.started)
    finished = property(lambda self: self.state.finished)
    message = property(lambda self: self.state.message)
    function_name = property(lambda self: self.order.function.name)

    @property
    def counts(self) -> dict[str, int]:
        """How many tasks there are, by state."""
        state = self.state
        return {
            "total": self.total,
            "pending": state.pending,
            "running": state.running,
            "succeeded": state.succeeded,
            "failed": state.failed,
            "cancelled": state.cancelled,
            "retried": state.retried,
        }

    @property
    def indexes(self) -> Sequence[int]:
        """The tasks' indexes: the chosen partitions, or all from 0."""
        if self.order.partitions is not None:
            return sorted(self.order.partitions)
        return range(self.total)

    @property
    def total(self) -> int:
        """How many tasks the run has."""
        return self.state.total or self.order.count

    @override
    def __repr__(self) -> str:
        failed = f", {self.state.failed} failed" if self.state.failed else ""
        return f"<Run {self.name} {self.phase} {self.state.succeeded}/{self.total}{failed}>"

    def _repr_html_(self) -> str:
        """Return a card for notebooks, of what was heard so far."""
        from geopod.client.aio.showing import run_card  # only in a notebook

        return run_card(cast("Run", self))

    @property
    def known_records(self) -> list[TaskRecord]:
        """Records of finished tasks, as far as they were read."""
        return list(self._reader.records.values())

    @property
    def done(self) -> bool:
        """Say whether the run has ended, as far as this object has heard."""
        return self.state.phase in TERMINAL

    async def refresh(self) -> Self:
        """Ask the backend for the run's present state."""
        if not self.done:
            _, self.state = await self._backend.get_run(self.name)
            self._reader.take(self.state)
        return self

    async def next_state(self) -> None:
        """Wait for one more state; who is interrupted meanwhile leaves the run."""
        try:
            await self.changed()
        except asyncio.CancelledError:
            self.is_left = True
            raise

    async def changed(self) -> None:
        """Wait for one more state; several waiters share one watch."""
        before = self.state
        async with self._turn:
            if self.state is before and not self.done:
                await self._follow()

    async def _follow(self) -> None:
        """Take the next state of the watch, or ask when the watch has ended."""
        if self._states is None:
            self._states = self._backend.watch_run(self.name)
        try:
            self.state = await anext(self._states)
        except StopAsyncIteration:
            self._states = None
            _, self.state = await self._backend.get_run(self.name)
        self._reader.take(self.state)

    @abstractmethod
    async def explain(self) -> Explanation:
        """Say why the run is as it is, and its environment while the run waits for it."""

    async def wait(
        self, timeout: float | str | None = None, *, progress: bool | None = None
    ) -> Self:
        """Wait until the run has ended.

        After `timeout` raises WaitTimeoutError; the run goes on.
        """
        if self.done:
            return self
        limit = None if timeout is None else seconds(timeout, name="timeout")
        with Progress(progress) as line, Stillness(self.explain, line) as stillness:
            try:
                async with asyncio.timeout(limit) as waiting:
                    while not self.done:
                        await self.next_state()
                        line.run(self.state)
                        if line.is_shown:
                            stillness.look(self.counts)
            except TimeoutError as error:
                if not waiting.expired():
                    raise
                raise self.stopped_waiting(limit, remaining_s=line.remaining_s) from error
        return self

    def stopped_waiting(
        self, after_s: float | None, *, remaining_s: float | None = None
    ) -> WaitTimeoutError:
        """Return the error of who waited so long and no longer."""
        return WaitTimeoutError.stopped_waiting(
            after_s=after_s or 0.0,
            run=self.name,
            done=self.state.succeeded + self.state.failed,
            total=self.total,
            remaining_s=remaining_s,
        )

    def error_of(self, record: TaskRecord) -> GeopodError:
        """Return the public error of a failed task's record."""
        if record.failure is None:
            raise AssertionError(record)
        retries = self.order.retries
        over = self._over_limit() if record.failure.reason == TaskReason.RESULT_TOO_LARGE else None
        return from_failure(
            record.failure,
            task=record.index,
            total=self.total,
            node=record.node,
            attempt=record.attempt,
            over=over,
            attempts=1 + (retries.limit if "Timeout" in retries.on else 0),
        )

    def _over_limit(self) -> int | None:
        """Return how many tasks returned too much; None while the run goes on."""
        failures = (record.failure for record in self._reader.records.values())
        over = sum(it is not None and it.reason == TaskReason.RESULT_TOO_LARGE for it in failures)
        return over if self.done else None

    async def _missing(self, index: int) -> GeopodError:
        if self.phase == "Succeeded":
            return await self._expired()
        return TaskCancelledError(
            f"Task {index} of {self.total} was never finished: the run ended as {self.phase} "
            f"({self.state.reason or 'cancelled'}).",
            fixes=("run.rerun()",),
        )

    async def exception(self, index: int) -> GeopodError | None:
        """Return why one task failed, or None."""
        await self._reader.complete([index])
        record = self._reader.records.get(index)
        if record is None:
            return await self._missing(index) if self.done else None
        return None if record.failure is None else self.error_of(record)

    async def records(self) -> list[TaskRecord]:
        """Return the records that the manifest has, by index."""
        await self._reader.complete(self.indexes)
        return [record for _, record in sorted(self._reader.records.items())]

    async def record(self, index: int) -> TaskRecord | None:
        """Return the manifest's record of one task, or None while there is none."""
        await self._reader.complete([index])
        return self._reader.records.get(index)

    async def value(self, index: int, *, allow_pickle: bool = False) -> Any:
        """Return one task's result; its record must be there."""
        record = self._reader.records[index]
        try:
            return await self._reader.value(record, allow_pickle=allow_pickle)
        except KeyMissingError as error:
            raise await self._expired() from error

    async def _expired(self) -> ResultExpiredError:
        try:
            environment = await self._backend.get_environment(self.environment)
        except EnvironmentNotFoundError:
            return ResultExpiredError.gone(run=self.name)
        keep_s = float((environment.spec.get("results") or {}).get("keepSeconds", KEEP_S))
        at = datetime.fromtimestamp((self.state.finished or self.created) + keep_s, UTC)
        return ResultExpiredError.expired(run=self.name, at=at, keep_s=keep_s)

    async def plan(self) -> Plan | None:
        """Return the plan of the run's partitions; None: it has none, its environment is gone."""
        sha256 = await self.plan_sha256()
        if not sha256:
            return None
        return decode_plan(await self.store.get(names.plan_key(self.environment, sha256)))

    async def plan_sha256(self) -> str:
        """Return the plan of the run's partitions; where it does not say, its environment's."""
        if self.state.plan_sha256:
            return self.state.plan_sha256
        try:
            environment = await self._backend.get_environment(self.environment)
        except EnvironmentNotFoundError:
            return ""
        return environment.state.plan_sha256

    async def failed_indexes(self) -> list[int]:
        """Return the tasks without a result, sorted."""
        await self._reader.complete(self.indexes)
        records = self._reader.records
        return [
            index
            for index in self.indexes
            if index not in records or records[index].failure is not None
        ]
