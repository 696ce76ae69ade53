"""Status of a ComputeRun from a run's state, and the state that a status tells. Pure.

Under 16 kB for any number of tasks; conditions say the sentences of `reasons`. What a state's
`message` says in words of its own is kept as it is.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from geopod.api.compact import shorten
from geopod.api.results import INLINE_BYTES, Failure, RemoteException, TaskReason, TaskRecord
from geopod.api.run_conditions import TERMINAL, run_conditions, told_words
from geopod.api.runs import RunState

STATUS_BYTES = 15_500
"""Copies of results are left out of a status that they would make larger than this."""
RECORD_CHARACTERS = 2048
EXCEPTION_BYTES = 256
CODES = {
    TaskReason.EXCEPTION: "E307",
    TaskReason.TIMEOUT: "E302",
    TaskReason.OUT_OF_MEMORY: "E304",
    TaskReason.SIGNAL: "E305",
    TaskReason.NODE_LOST: "E306",
    TaskReason.RESULT_TOO_LARGE: "E301",
    TaskReason.NOT_SERIALIZABLE: "E303",
    TaskReason.SHAPE_MISMATCH: "E310",
    TaskReason.NOT_A_FILE_RESULT: "E311",
    TaskReason.CANCELLED: "E308",
    TaskReason.FUNCTION_NOT_LOADABLE: "E307",
}
"""Public error of each reason, for a status that has no room for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a status says beside the run's state."""

    now: float
    """Seconds since the epoch."""
    generation: int = 1
    """Of the ComputeRun."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """The status so far: transition times and progress go on from it."""
    accepted: float | None = None
    """When the run was accepted."""
    result_bytes: int = 0
    manifest_sha256: str = ""
    """sha256 over the manifest's chunks in their order; only of a run that has ended."""
    expires: float | None = None
    """When the results are deleted."""
    token: str = ""
    """Reads the run's results."""
    p50_s: float | None = None
    p99_s: float | None = None


def status_from_state(state: RunState, report: RunReport) -> dict[str, Any]:
    """Return the whole status that the coordinator owns of a run: by server-side apply."""
    status: dict[str, Any] = {
        "observedGeneration": report.generation,
        "conditions": run_conditions(
            state,
            report.before.get("conditions", ()),
            generation=report.generation,
            now=report.now,
        ),
        "coordinatorEpoch": state.epoch,
    }
    if not state.phase:
        return status
    status |= {
        "phase": state.phase,
        "environmentUID": state.environment,
        "tasks": {
            "total": state.total,
            "pending": state.pending,
            "running": state.running,
            "succeeded": state.succeeded,
            "failed": state.failed,
            "retried": state.retried,
        },
        "progressPercentage": _percentage(state, report),
    }
    if state.started is not None:
        status["startTime"] = timestamp(state.started)
    if state.finished is not None:
        status["completionTime"] = timestamp(state.finished)
    for name, text in (
        ("planSha256", state.plan_sha256),
        ("completedIndexes", state.completed_indexes),
        ("failedIndexes", state.failed_indexes),
        ("progress", state.progress if state.phase == "Running" else ""),
    ):
        if text:
            status[name] = text
    if state.indexes_truncated:
        status["indexesTruncated"] = True
    if state.failures:
        status["failures"] = [_failure(record) for record in state.failures[:10]]
    remaining = _remaining_seconds(state, report)
    if remaining is not None:
        status["estimatedRemainingSeconds"] = remaining
    timings = _timings(state, report)
    if timings:
        status["timings"] = timings
    return _with_results(status, state, report)


def run_state(manifest: Mapping[str, Any]) -> RunState:
    """Return a run's state as its status tells it; without a status it is new.

    `chunks` is the number of tasks that have ended: it grows whenever the manifest does.
    """
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    tasks, phase = status.get("tasks") or {}, status.get("phase", "")
    counts = {name: tasks.get(name, 0) for name in ("pending", "running", "succeeded", "failed")}
    reason, message = told_words(status.get("conditions", ()), phase)
    epoch = status.get("coordinatorEpoch", 0)
    total = tasks.get("total", 0)
    records = [_read_record(item) for item in (status.get("results") or {}).get("inline", ())]
    copies = {
        item["index"]: b64decode(item["data"])
        for item in (status.get("results") or {}).get("inline", ())
        if item["data"]
    }
    return RunState(
        uid=metadata["uid"],
        name=metadata["name"],
        environment=status.get("environmentUID", ""),
        phase=phase,
        reason=reason,
        message=message,
        created=seconds(metadata.get("creationTimestamp")) or 0.0,
        started=seconds(status.get("startTime")),
        finished=seconds(status.get("completionTime")),
        epoch=epoch,
        total=total,
        **counts,
        cancelled=max(0, total - sum(counts.values())) if phase in TERMINAL else 0,
        retried=tasks.get("retried", 0),
        plan_sha256=status.get("planSha256", ""),
        completed_indexes=status.get("completedIndexes", ""),
        failed_indexes=status.get("failedIndexes", ""),
        indexes_truncated=status.get("indexesTruncated", False),
        failures=[_read_failure(item, epoch) for item in status.get("failures", ())],
        chunks=total - counts["pending"] - counts["running"],
        progress=status.get("progress", ""),
        inline=copies,
        records=records,
    )


def timestamp(when: float) -> str:
    """Return seconds since the epoch as RFC 3339 with microseconds, in UTC."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str | None) -> float | None:
    """Return the seconds since the epoch of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp() if text else None


def _percentage(state: RunState, report: RunReport) -> int:
    ended = state.succeeded + state.failed + state.cancelled
    percentage = 100 * ended // state.total if state.total else 0
    if state.phase == "Succeeded":
        percentage = 100
    return max(percentage, int(report.before.get("progressPercentage", 0)))


def _remaining_seconds(state: RunState, report: RunReport) -> int | None:
    ended = state.succeeded + state.failed + state.cancelled
    if state.phase != "Running" or state.started is None or not ended:
        return None
    return int(max(0.0, report.now - state.started) * (state.total - ended) / ended)


def _timings(state: RunState, report: RunReport) -> dict[str, int]:
    spans = {
        "queueMs": None if report.accepted is None else report.accepted - state.created,
        "dispatchMs": None
        if report.accepted is None or state.started is None
        else state.started - report.accepted,
        "p50Ms": report.p50_s,
        "p99Ms": report.p99_s,
    }
    return {name: max(0, round(span * 1000)) for name, span in spans.items() if span is not None}


def _failure(record: TaskRecord) -> dict[str, Any]:
    failure = record.failure
    written = {"index": record.index, "node": max(0, record.node), "attempt": record.attempt}
    if failure is None:
        return written | {"reason": TaskReason.NODE_LOST.value}
    words = failure.fact
    if failure.exception is not None:
        words = f"{failure.exception.type}: {failure.exception.message}"
    return written | {
        "reason": failure.reason.value,
        "exception": shorten(words, EXCEPTION_BYTES),
    }


def _read_failure(item: Mapping[str, Any], epoch: int) -> TaskRecord:
    reason, words = TaskReason(item["reason"]), item.get("exception", "")
    exception = None
    if reason in {TaskReason.EXCEPTION, TaskReason.FUNCTION_NOT_LOADABLE}:
        name, _, message = words.partition(": ")
        exception = RemoteException(type=name, message=message)
        words = f"raised {words}"
    failure = Failure(reason=reason, code=CODES[reason], fact=words, exception=exception)
    return TaskRecord(
        index=item["index"],
        attempt=item["attempt"],
        epoch=epoch,
        node=item["node"],
        failure=failure,
    )


def _with_results(status: dict[str, Any], state: RunState, report: RunReport) -> dict[str, Any]:
    """Add where the results are, with the copies if all of them fit."""
    results: dict[str, Any] = {"bytes": report.result_bytes}
    if report.manifest_sha256:
        results["manifestSha256"] = report.manifest_sha256
    if report.expires is not None:
        results["expiresAt"] = timestamp(report.expires)
    if report.token:
        results["token"] = report.token
    if state.finished is None and not report.token:
        return status
    status["results"] = results
    copies = _inline(state)
    if copies:
        whole = {**status, "results": {**results, "inline": copies}}
        if len(msgspec.json.encode(whole)) <= STATUS_BYTES:
            return whole
    return status


def _inline(state: RunState) -> list[dict[str, Any]]:
    """Return the copies of a finished run's results; none unless every result has its own."""
    if sum(map(len, state.inline.values())) > INLINE_BYTES:
        return []
    copies = []
    for record in state.records:
        if record.failure is not None:
            continue
        text = msgspec.json.encode(record).decode()
        if len(text) > RECORD_CHARACTERS:
            return []
        if record.entry is not None and record.entry.bytes and record.index not in state.inline:
            return []
        codec = record.entry.codec if record.entry is not None else "none"
        data = b64encode(state.inline.get(record.index, b"")).decode()
        copies.append({"index": record.index, "codec": codec, "record": text, "data": data})
    return copies


def _read_record(item: Mapping[str, Any]) -> TaskRecord:
    return msgspec.json.decode(item["record"], type=TaskRecord)
