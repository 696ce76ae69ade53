"""One task of a run, with the names of `concurrent.futures`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from geopod.api.compact import in_ranges
from geopod.client.aio.explain import Explanation, explain_task
from geopod.client.aio.reproduce import Reproduction, prepare
from geopod.client.quantities import seconds
from geopod.errors import GeopodError, WaitTimeoutError

if TYPE_CHECKING:
    from geopod.api.results import LogLine, TaskRecord
    from geopod.client.aio.run import Run


Value = TypeVar("Value")


class Task:
    """One task: where it stands, its result or exception, its logs."""

    def __init__(self, run: Run, index: int) -> None:
        self.run = run
        self.index = index

    @override
    def __repr__(self) -> str:
        return f"<Task {self.index} of {self.run.name} {self.state}>"

    def _repr_html_(self) -> str:
        """Return a card for notebooks, of what was heard so far."""
        from geopod.display.cards import task_card  # only in a notebook

        return task_card(self.run.name, self.index, self.state, self._record)

    @property
    def _record(self) -> TaskRecord | None:
        return self.run._reader.records.get(self.index)  # noqa: SLF001  # the run's own part

    @property
    def state(self) -> str:
        """`pending`, `succeeded`, `skipped`, `failed` or `cancelled`."""
        record = self._record
        if record is None:
            return self._told_state()
        if record.failure is None:
            return "skipped" if record.skipped else "succeeded"
        return "cancelled" if record.failure.reason == "Cancelled" else "failed"

    def _told_state(self) -> str:
        """Return what the run's own state says of a task whose record was not read."""
        told = self.run.state
        if in_ranges(told.completed_indexes, self.index):
            return "succeeded"
        if in_ranges(told.failed_indexes, self.index):
            return "failed"
        return "cancelled" if self.run.done else "pending"

    @property
    def reason(self) -> str:
        """The manifest's word for the failure, or nothing."""
        record = self._record
        return record.failure.reason.value if record is not None and record.failure else ""

    attempts = property(lambda self: 0 if self._record is None else self._record.attempt)
    node = property(lambda self: None if self._record is None else self._record.node)
    runtime = property(lambda self: None if self._record is None else self._record.runtime_s)
    peak_memory = property(lambda self: None if self._record is None else self._record.peak_bytes)

    def done(self) -> bool:
        """Say whether the task has ended."""
        return self._record is not None or self.run.done

    def cancelled(self) -> bool:
        """Say whether the task was cancelled."""
        return self.state == "cancelled"

    async def _settled(self, timeout: float | str | None) -> None:
        limit = None if timeout is None else seconds(timeout, name="timeout")
        try:
            async with asyncio.timeout(limit) as waiting:
                while await self.run.record(self.index) is None and not self.run.done:
                    await self.run.next_state()
        except TimeoutError as error:
            if not waiting.expired():
                raise
            raise self.run.stopped_waiting(limit) from error

    async def result(
        self, timeout: float | str | None = None, *, allow_pickle: bool = False
    ) -> Any:
        """Wait and return the result, or raise the task's exception."""
        if (error := await self.exception(timeout)) is not None:
            raise error
        return await self.run.value(self.index, allow_pickle=allow_pickle)

    async def exception(self, timeout: float | str | None = None) -> GeopodError | None:
        """Wait and return why the task failed, or None."""
        await self._settled(timeout)
        return await self.run.exception(self.index)

    async def cancel(self) -> None:
        """Cancel this task alone."""
        await self.run.cancel(tasks=[self.index])

    def logs(self, *, follow: bool = False) -> AsyncGenerator[LogLine, None]:
        """Yield the lines that this task wrote."""
        return self.run.logs(task=self.index, follow=follow)

    async def explain(self) -> Explanation:
        """Say where the task stands and, if it failed, why and what mends it."""
        return await explain_task(self)

    async def reproduce(self, *, debug: bool = False) -> Any:
        """Run the task here, on what it ran on: return what it returns, raise what it raises.

        Its function and arguments are opened in this process; a partition is staged again from
        its sources. `debug`: step into it with pdb.
        """
        value = (await self.prepare())(debug=debug)
        return await value if asyncio.iscoroutine(value) else value

    async def prepare(self) -> Reproduction:
        """Fetch what `reproduce` runs on, without running it."""
        return await prepare(self)

    def add_done_callback(self, function: Callable[[Task], object]) -> None:
        """Call `function(task)` once the task has ended."""

        async def call() -> None:
            await self._settled(None)
            function(self)

        _callbacks.add(waiting := asyncio.ensure_future(call()))
        waiting.add_done_callback(_callbacks.discard)


_callbacks: set[asyncio.Future[None]] = set()


async def as_completed(
    tasks: Iterable[Task], timeout: float | str | None = None
) -> AsyncGenerator[Task, None]:
    """Yield tasks, of any runs, as they end; after `timeout` raises WaitTimeoutError."""
    limit = None if timeout is None else seconds(timeout, name="timeout")
    wanted = list(tasks)
    async with aclosing(_settling(wanted)) as ended:
        async for task in within(limit, ended, lambda: _stopped(wanted, limit)):
            yield task


async def _settling(tasks: Iterable[Task]) -> AsyncGenerator[Task, None]:
    async def settled(task: Task) -> Task:
        await task._settled(None)  # noqa: SLF001  # the task's own part
        return task

    waiting = [asyncio.ensure_future(settled(task)) for task in tasks]
    try:
        for following in asyncio.as_completed(waiting):
            yield await following
    finally:  # whoever stops early waits for none of them any more
        for rest in waiting:
            rest.cancel()


def _stopped(tasks: list[Task], after_s: float | None) -> WaitTimeoutError:
    """Return the error that names the run of a task that has not ended."""
    left = next((task for task in tasks if not task.done()), tasks[0])
    return left.run.stopped_waiting(after_s)


async def within(
    limit_s: float | None,
    values: AsyncGenerator[Value, None],
    late: Callable[[], WaitTimeoutError],
) -> AsyncGenerator[Value, None]:
    """Yield the values until the time is over; then raise `late()`.

    One timeout around all of them would belong to whichever task asks for the first.
    """
    loop = asyncio.get_running_loop()
    due = None if limit_s is None else loop.time() + limit_s
    while True:
        try:
            async with asyncio.timeout_at(due) as waiting:
                value = await anext(values)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            if not waiting.expired():
                raise
            raise late() from error
        yield value
