"""A run's failures in bounded room: the first ten, and counts by type for the last sentence.

Source: RunState (the first ten failures, under 16 kB in all) and GP-E309.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from geopod.api.compact import shorten
from geopod.api.results import Failure, RemoteException, TaskRecord
from geopod.dispatch.wording import counted, listed

KEPT_FAILURES = 10
MAX_GROUPS = 16
"""Kinds told apart; the rest is counted together. More would not fit a sentence."""
NAMED_INDEXES = 5
SENTENCE_BYTES = 600
OTHERS = "other failures"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(slots=True)
class Group:
    """Failures of one kind."""

    count: int = 0
    indexes: list[int] = field(default_factory=list)
    """The first ones to come in."""

    def add(self, index: int) -> None:
        """Count one more."""
        self.count += 1
        if len(self.indexes) < NAMED_INDEXES:
            self.indexes.append(index)


@dataclass(slots=True)
class FailureSummary:
    """What a run's status and its last sentence say about failures, whatever their number."""

    first: list[TaskRecord] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    cancelled: Group = field(default_factory=Group)

    def add(self, record: TaskRecord, failure: Failure) -> None:
        """Take in the final failure of one task."""
        if len(self.first) < KEPT_FAILURES:
            self.first.append(brief(record, failure))
        kind = kind_of(failure)
        if kind not in self.groups and len(self.groups) >= MAX_GROUPS:
            kind = OTHERS
        self.groups.setdefault(kind, Group()).add(record.index)

    def sentence(self, *, total: int, failed: int, kept: int) -> str:
        """Return what a finished run says: how many failed of what, cancelled, kept."""
        parts = []
        if failed:
            kinds = sorted(self.groups.items(), key=lambda item: (-item[1].count, item[1].indexes))
            named = ", ".join(
                f"{group.count} {TIMES} {kind} ({listed(group.indexes, group.count)})"
                for kind, group in kinds
            )
            failures = shorten(
                f"{failed} of {counted(total, 'task')} failed: {named}", SENTENCE_BYTES
            )
            parts.append(f"{failures}.")
        if self.cancelled.count:
            were = "was" if self.cancelled.count == 1 else "were"
            named = listed(self.cancelled.indexes, self.cancelled.count)
            parts.append(
                f"{self.cancelled.count} of {counted(total, 'task')} {were} cancelled ({named})."
            )
        return " ".join([*parts, f"{counted(kept, 'result')} kept."])


def kind_of(failure: Failure) -> str:
    """Return what failures are grouped by: type and message of an exception, else the reason."""
    if failure.exception is None:
        return failure.reason.value
    message = shorten(failure.exception.message.partition("\n")[0], 80)
    name = shorten(failure.exception.type, 60)
    return f'{name} "{message}"' if message else name


def brief(record: TaskRecord, failure: Failure) -> TaskRecord:
    """Return a record that fits a status: at most about 600 bytes of JSON, without traceback."""
    exception = failure.exception
    if exception is not None:
        exception = RemoteException(
            type=shorten(exception.type, 48),
            module=shorten(exception.module, 48),
            message=shorten(exception.message, 140),
        )
    signal = failure.signal
    return TaskRecord(
        index=record.index,
        attempt=record.attempt,
        epoch=record.epoch,
        node=record.node,
        failure=Failure(
            reason=failure.reason,
            code=shorten(failure.code, 8),
            fact=shorten(failure.fact, 140),
            exception=exception,
            exit=failure.exit,
            signal=None if signal is None else shorten(signal, 16),
            log_bytes=failure.log_bytes,
        ),
        log_bytes=record.log_bytes,
    )
