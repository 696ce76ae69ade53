"""One call's tasks while they run: what is pending, what came of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from geopod.agent.runner_messages import encode_header
from geopod.agent.verdict import cancelled
from geopod.agent.work import Outcome, Work
from geopod.api.results import Failure
from geopod.runner.frames import pack

Report = Callable[[list[Outcome]], Awaitable[None]]
ReportProgress = Callable[[int, float | None, str], None]
TaskKey = tuple[int, int]
"""(index, attempt)."""


class OngoingWork:
    """Pending tasks in their order; outcomes that wait to be reported."""

    def __init__(self, work: Work, progress: ReportProgress) -> None:
        self.work = work
        self.progress = progress
        self.pending: dict[TaskKey, int] = {
            (index, attempt): position for position, (index, attempt) in enumerate(work.tasks)
        }
        """Position in `work.tasks` of each task without an outcome."""
        self._outcomes: list[Outcome] = []
        self._cancelled: set[TaskKey] = set()
        self._is_interrupted = False
        self._woken: asyncio.Future[None] | None = None

    def frames(self) -> bytes:
        """Return RUN for the pending tasks, and where their arguments lie."""
        spans = self.work.spans
        tasks = [
            (*key, *spans[position]) if spans else key for key, position in self.pending.items()
        ]
        return pack(encode_header({"t": "RUN", "tasks": tasks}))

    def finish(self, outcome: Outcome) -> bool:
        """Take a task's outcome; False if it has one already or is none of these."""
        if self.pending.pop((outcome.index, outcome.attempt), None) is None:
            return False
        self._outcomes.append(outcome)
        self._wake()
        return True

    def fail(self, key: TaskKey, failure: Failure, *, like: Outcome | None = None) -> None:
        """Give a pending task a failure; `like` carries its run time, memory and log."""
        known = like or Outcome(index=key[0], attempt=key[1])
        self.finish(
            Outcome(
                index=key[0],
                attempt=key[1],
                failure=failure,
                runtime_s=known.runtime_s,
                peak_bytes=known.peak_bytes,
                log=known.log,
            )
        )

    def request_cancel(self, indexes: Collection[int] | None) -> None:
        """Note that all tasks (or those of these indexes) are cancelled, whatever they do now."""
        asked = {key for key in self.pending if indexes is None or key[0] in indexes}
        self._cancelled |= asked

    def settle_cancelled(self) -> None:
        """Give pending tasks that are cancelled that outcome."""
        for key in [key for key in self.pending if key in self._cancelled]:
            self.fail(key, cancelled())

    def key_of(self, index: int | None) -> TaskKey:
        """Return the pending task of this index; else the first one pending, which must run.

        Raises LookupError when nothing is pending.
        """
        for key in self.pending:
            if key[0] == index:
                return key
        for key in self.pending:
            return key
        raise LookupError("no task is pending")

    def interrupt(self) -> None:
        """Say that the child is gone: what is pending goes on elsewhere."""
        self._is_interrupted = True
        self._wake()

    async def deliver(self, report: Report) -> None:
        """Report outcomes as they come, until nothing is pending or the child is gone."""
        while True:
            if self._outcomes:
                outcomes, self._outcomes = self._outcomes, []
                await report(outcomes)
            elif not self.pending or self._is_interrupted:
                self._is_interrupted = False
                return
            else:
                self._woken = asyncio.get_running_loop().create_future()
                await self._woken

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
