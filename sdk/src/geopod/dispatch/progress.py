"""A run's bounded status: counts, compressed index ranges, the first ten failures."""

from __future__ import annotations

import re

from geopod.api.compact import shorten
from geopod.api.runs import RunState
from geopod.dispatch import tasks as code
from geopod.dispatch.fencing import ready_nodes
from geopod.dispatch.queue import waiting_words
from geopod.dispatch.state import Run, State

MAX_RANGES = 4096
"""Characters of one list of ranges: two of them, ten failures and the rest stay under 16 kB."""
MAX_MESSAGE_BYTES = 1024
MAX_PROGRESS_BYTES = 200


def run_state(state: State, run_uid: str, now: float) -> RunState:
    """Return a run's status, under 16 kB of JSON for any number of tasks.

    `chunks`, `inline` and `records` are left to the shell, which writes the manifest.
    KeyError: no such run, or its end was published and `RunClosed`.
    """
    run = state.runs[run_uid]
    table = run.tasks or code.TaskTable(0)
    completed, completed_cut = compress(table.status, code.SUCCEEDED)
    failed, failed_cut = compress(table.status, code.FAILED)
    reason, message = _words(state, run, now)
    return RunState(
        uid=run.order.uid,
        name=run.order.name,
        environment=run.order.environment,
        phase=run.phase,
        reason=reason,
        message=shorten(message, MAX_MESSAGE_BYTES),
        created=run.order.created,
        started=run.started,
        finished=run.finished,
        epoch=state.epoch,
        plan_sha256="" if run.plan is None else run.plan.sha256,
        total=table.total,
        pending=table.counts[code.PENDING],
        running=table.counts[code.LEASED],
        succeeded=table.counts[code.SUCCEEDED],
        failed=table.counts[code.FAILED],
        cancelled=table.counts[code.CANCELLED],
        retried=table.retried,
        completed_indexes=completed,
        failed_indexes=failed,
        indexes_truncated=completed_cut or failed_cut,
        failures=list(run.failures.first),
        progress=slowest_progress(run),
    )


def compress(status: bytes | bytearray, wanted: int) -> tuple[str, bool]:
    """Return the indexes whose byte is `wanted` as `0-3,9`, and whether that was cut short."""
    parts: list[str] = []
    length = -1
    for match in _PATTERNS[wanted].finditer(status):
        first, last = match.start(), match.end() - 1
        part = f"{first}" if first == last else f"{first}-{last}"
        length += len(part) + 1
        if length > MAX_RANGES:
            return ",".join(parts), True
        parts.append(part)
    return ",".join(parts), False


_PATTERNS = {wanted: re.compile(re.escape(bytes([wanted])) + b"+") for wanted in range(6)}


def slowest_progress(run: Run) -> str:
    """Return what the running task that is least far says of itself, `62 % band 4`."""
    reports = [lease.progress for lease in run.leases.values() if lease.progress is not None]
    if not reports:
        return ""
    fraction, text = min(reports)
    return shorten(f"{fraction:.0%} {text}".replace("%", " %", 1).strip(), MAX_PROGRESS_BYTES)


def _words(state: State, run: Run, now: float) -> tuple[str, str]:
    if run.finished is not None:
        return run.reason, run.message
    if run.stop is not None:
        return run.stop.reason, run.stop.message
    if run.phase == "Queued":
        return waiting_words(state, run, ready=ready_nodes(state), now=now)
    return run.reason, run.message
