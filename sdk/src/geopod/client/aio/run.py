"""One run: its tasks and results, from any process that knows its name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from geopod.api.results import LogLine, TaskReason, TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.backends import Backend
from geopod.client import given
from geopod.client.aio.download import download_results
from geopod.client.aio.explain import Explanation, explain_run
from geopod.client.aio.logs import read_logs, why_no_logs
from geopod.client.aio.outcomes import gather_results, read_outcomes
from geopod.client.aio.rerun import check_cut, choose_tasks, rerun_order
from geopod.client.aio.showing import task_row
from geopod.client.aio.statistics import RunStats, run_provenance, run_stats
from geopod.client.aio.submission import Retry, read_target
from geopod.client.aio.task import Task, within
from geopod.client.aio.watched import WatchedRun
from geopod.client.layerlike import LayerRef, layer_ref
from geopod.client.quantities import seconds
from geopod.display.lists import Results, Search
from geopod.errors import (
    EnvironmentNotFoundError,
    InvalidInputError,
)

if TYPE_CHECKING:
    from geopod.client.aio.environment import Environment

Errors = Literal["raise", "return", "skip"]


class Run(WatchedRun):
    """A submitted run; `results()` gathers one element per task, in task order."""

    def __init__(
        self,
        backend: Backend,
        order: RunOrder,
        state: RunState,
        states: AsyncIterator[RunState] | None = None,
        *,
        base: Run | None = None,
    ) -> None:
        super().__init__(backend, order, state, states)
        self.base = base
        """The run whose chosen tasks this one runs again."""

    @property
    def tasks(self) -> Search[Task]:
        """The run's tasks, by index."""
        return Search((Task(self, index) for index in self.indexes), row=task_row)

    async def iter_results(
        self,
        *,
        order: Literal["input", "completed"] = "input",
        errors: Errors = "raise",
        allow_pickle: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """Yield results while the run goes on, in task order or as they come."""
        check_choice("order", order, ("input", "completed"))
        check_choice("errors", errors, ("raise", "return", "skip"))
        ready: dict[int, TaskRecord] = {}
        following = iter(self.indexes)
        awaited = next(following, None)
        async for record in self._records():
            if order == "completed":
                async for value in self._yielded(record, errors, allow_pickle=allow_pickle):
                    yield value
                continue
            ready[record.index] = record
            while awaited in ready:
                due = ready.pop(awaited)
                awaited = next(following, None)
                async for value in self._yielded(due, errors, allow_pickle=allow_pickle):
                    yield value

    async def _yielded(
        self, record: TaskRecord, errors: Errors, *, allow_pickle: bool
    ) -> AsyncGenerator[Any, None]:
        if record.failure is None:
            yield await self.value(record.index, allow_pickle=allow_pickle)
        elif errors == "raise":
            raise self.error_of(self._culprit(record))
        elif errors == "return":
            yield self.error_of(record)

    def _culprit(self, record: TaskRecord) -> TaskRecord:
        """Return the failure that other tasks were cancelled for, where there is one."""
        known = sorted(self._reader.records.values(), key=lambda it: it.index)
        for it in (record, *known):
            if it.failure is not None and it.failure.reason is not TaskReason.CANCELLED:
                return it
        return record

    async def _records(self) -> AsyncGenerator[TaskRecord, None]:
        """Yield every task's final record once, as the manifest gets it."""
        seen: set[int] = set()
        chunks = -1
        while True:
            if self.state.chunks != chunks or self.done:
                chunks = self.state.chunks
                if len(self._reader.records) < self.total:
                    await self._reader.refresh()
                for index in sorted(self._reader.records.keys() - seen):
                    seen.add(index)
                    yield self._reader.records[index]
            if self.done:
                return
            await self.next_state()

    async def results(
        self,
        *,
        order: Literal["input", "completed"] = "input",
        errors: Errors = "raise",
        allow_pickle: bool = False,
        timeout: float | str | None = None,
        progress: bool | None = None,
    ) -> list[Any]:
        """Wait and return one element per task; None for an empty partition.

        With `errors="raise"` (default) any failure raises RunFailedError, which holds the others'
        results; `"return"` puts the exceptions into the list, `"skip"` leaves them out.
        """
        check_choice("order", order, ("input", "completed"))
        check_choice("errors", errors, ("raise", "return", "skip"))
        await self.wait(timeout, progress=progress)
        if order == "completed":
            following = self.iter_results(order=order, errors=errors, allow_pickle=allow_pickle)
            return Results([value async for value in following])
        await self._reader.complete(self.indexes)
        found = await read_outcomes(self, allow_pickle=allow_pickle)
        return gather_results(self, found, errors)

    async def as_completed(self, timeout: float | str | None = None) -> AsyncGenerator[Task, None]:
        """Yield tasks as they end, failed ones too.

        After `timeout`, counted from the first that is asked for, raises WaitTimeoutError.
        """
        limit = None if timeout is None else seconds(timeout, name="timeout")
        async with aclosing(self._records()) as records:
            async for record in within(limit, records, lambda: self.stopped_waiting(limit)):
                yield Task(self, record.index)

    async def rerun(
        self,
        *,
        tasks: Literal["failed", "all"] | Sequence[int] = "failed",
        reasons: Sequence[str] = (),
        task_timeout: float | str | None = None,
        retries: Retry | int | None = None,
    ) -> Run:
        """Run chosen tasks again as a new run, whose `results()` merges with what this one had.

        `"failed"` leaves out OutOfMemory unless `reasons` names it. Raises InconsistentPartsError
        where the environment's partitions are other ones by now.
        """
        await self.wait(progress=False)
        await check_cut(self)
        indexes = await choose_tasks(self, tasks, reasons)
        store = self._backend.store(self.order.environment)
        order = await rerun_order(
            store, self.order, indexes, task_timeout=task_timeout, retries=retries
        )
        states = self._backend.submit(order)
        return Run(self._backend, order, await anext(states), states, base=self)

    async def add_to_layer(self, layer: Any) -> LayerRef:
        """Publish the run's file results as one timestamp of a layer; twice: the same revision.

        `layer`: as `write_to` of `execute` names it.
        """
        target = read_target(layer, name="layer")
        await self.wait()
        record = await self._backend.publish([self.name], target)
        return layer_ref(record.path_id, record.spec)

    def logs(
        self,
        *,
        task: int | None = None,
        follow: bool = False,
        since: float | str | None = None,
        tail: int | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        """Yield the lines that tasks wrote to stdout and stderr.

        `since`: only lines of the last so many seconds, `"10m"`; `tail`: only the last lines of
        each attempt. Without any line `why_no_logs` says the reason.
        """
        if tail is not None and (isinstance(tail, bool) or not isinstance(tail, int) or tail < 0):
            raise InvalidInputError.value(
                name="tail", value=tail, why="is no number of lines", fix="tail=100"
            )
        oldest = 0.0 if since is None else time.time() - seconds(since, name="since")
        return read_logs(self._backend, self, task=task, follow=follow, since=oldest, tail=tail)

    async def why_no_logs(self, *, task: int | None = None) -> str:
        """Return why `logs` has no line: not started, its node was lost, expired, or not one."""
        return await why_no_logs(self, task)

    async def cancel(self, *, tasks: list[int] | None = None) -> None:
        """Cancel the run, or some of its tasks; finished results stay. Twice: nothing."""
        if tasks is not None and self.total:
            tasks = given.indexes(tasks, self.indexes, name="tasks", whole=f"run {self.name!r}")
        await self._backend.cancel_run(self.name, indexes=tasks)

    @override
    async def explain(self) -> Explanation:
        """Say why the run is as it is, and its environment while the run waits for it."""
        return await explain_run(self, await self.home())

    async def stats(self) -> RunStats:
        """Return how long its tasks took, how much memory and how many bytes."""
        return await run_stats(self)

    async def provenance(self) -> dict[str, Any]:
        """Return what the results were made of and by: function, layers, versions, checksums."""
        return await run_provenance(self)

    async def home(self) -> Environment | None:
        """Return the run's environment; None: it was deleted."""
        from geopod.client.aio.environment import Environment  # it imports this module

        try:
            record = await self._backend.get_environment(self.environment)
        except EnvironmentNotFoundError:
            return None
        return Environment(self._backend, record, created=False)

    async def delete(self, *, results: bool = False) -> None:
        """Forget the run; `results=True` removes its results too."""
        await self._backend.delete_run(self.name, results=results)

    @property
    def is_local(self) -> bool:
        """Whether it ran on this machine."""
        return self._backend.name == "local"

    async def download(self, folder: str | Path) -> list[Path]:
        """Write the encoded result of every finished task into `folder`; return the files."""
        await self.wait()
        await self._reader.complete(self.indexes)
        store = self._backend.store(self.order.environment)
        return await download_results(store, self._reader.records.values(), Path(folder))


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise InvalidInputError for a value that is none of the choices."""
    if value not in choices:
        raise InvalidInputError.value(
            name=name, value=value, why=f"is none of {', '.join(choices)}"
        )


async def wait(runs: Iterable[Run], timeout: float | str | None = None) -> list[Run]:
    """Wait until all runs have ended."""
    return list(await asyncio.gather(*(run.wait(timeout, progress=False) for run in runs)))


async def gather(*runs: Run, errors: Errors = "raise") -> list[list[Any]]:
    """Return the results of several runs."""
    return list(await asyncio.gather(*(run.results(errors=errors) for run in runs)))
