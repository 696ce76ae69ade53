"""Log lines of a run's tasks, from the store: readable after the processes are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Self

import msgspec

from geopod.api import names
from geopod.api.compact import in_ranges
from geopod.api.results import LogLine, TaskReason
from geopod.client import given
from geopod.store import KeyMissingError

if TYPE_CHECKING:
    from geopod.backends import Backend
    from geopod.client.aio.run import Run


LOOK_AGAIN_S = 2.0
"""A task that prints need not change its run's state. What it writes is stored every 5 s."""
_decode_line = msgspec.json.Decoder(LogLine).decode


async def read_logs(
    backend: Backend,
    run: Run,
    *,
    task: int | None,
    follow: bool,
    since: float,
    tail: int | None,
) -> AsyncGenerator[LogLine, None]:
    """Yield the lines of a run, or of one task, ordered by task and attempt.

    With `follow` lines come as they reach the store, until the run ends. `tail`
    keeps only the last lines of each attempt, `since` only those that are not older (seconds since
    the epoch). Raises InvalidInputError for a task that the run has not.
    """
    if task is not None and run.total:
        given.indexes([task], run.indexes, name="task", whole=f"run {run.name!r}")
    store = backend.store(run.order.environment)
    prefix = f"{names.run_prefix(run.order.environment, run.order.uid)}logs/"
    shown: dict[str, int] = {}
    whole: set[str] = set()
    """Logs of tasks that have ended, read since: there is no more to come."""
    with Changes(run) as changes:
        while True:
            last, ended = run.done, run.state.completed_indexes
            for key in sorted(await store.names(prefix), key=_position):
                number = _position(key)[0]
                if key in whole or (task is not None and number != task):
                    continue
                try:
                    lines = (await store.get(key)).splitlines()
                except KeyMissingError:
                    continue
                if in_ranges(ended, number):
                    whole.add(key)
                start = shown.get(key, max(0, len(lines) - tail) if tail is not None else 0)
                shown[key] = len(lines)
                for line in map(_decode_line, lines[start:]):
                    if line.time >= since:
                        yield line
            if last or not follow:
                return
            await changes.wait(LOOK_AGAIN_S)


class Changes:
    """States of a run that are waited for no longer than is said."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._coming: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._coming is not None:
            self._coming.cancel()

    async def wait(self, at_most_s: float) -> None:
        """Return when the run has another state, or after a while; who is interrupted leaves it."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._run.changed())
        try:
            await asyncio.wait({self._coming}, timeout=at_most_s)
        except asyncio.CancelledError:
            self._run.is_left = True
            raise
        if self._coming.done():
            self._coming.result()
            self._coming = None


async def why_no_logs(run: Run, task: int | None) -> str:
    """Return why there is no log of a run, or of one task, in one sentence."""
    await run.refresh()
    records = [it for it in await run.records() if task is None or it.index == task]
    what = f"run {run.name}" if task is None else f"task {task} of {run.name}"
    if not records and not run.done:
        if run.counts["running"]:
            return f"{what} runs; what it writes is stored every 5 s"
        words = f": {run.message}" if run.message else ""
        return f"{what} has not started{words}"
    if any(record.log_bytes for record in records):
        return f"the log of {what} has expired"
    lost = [it for it in records if it.failure and it.failure.reason == TaskReason.NODE_LOST]
    if lost:
        return f"{what} lost its node before its first lines were stored"
    return f"{what}: no output was written"


def _position(key: str) -> tuple[int, ...]:
    """Return (task, attempt, epoch) of a log's key."""
    return tuple(int(part) for part in key.rsplit("/", 1)[-1].removesuffix(".jsonl").split("-"))
