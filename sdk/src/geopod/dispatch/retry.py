"""Which failures are tried again, how often, and what is said when it was enough.

Source: `spec.retries` (each class has its own budget of `limit`, at most 16 attempts in all).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from geopod.api.failures import failure_by
from geopod.api.results import Failure, TaskReason
from geopod.api.runs import RetryRule
from geopod.errors import NodeLostError, TaskCancelledError

MAX_ATTEMPTS = 16
"""Of one task at one epoch, whatever the budgets say: an attempt is a name in the store, and a
task that 16 nodes could not finish will not be finished by the next."""


class RetryClass(StrEnum):
    """The words of `retries.on`; each has its own budget."""

    INFRA = "Infra"
    TIMEOUT = "Timeout"
    OUT_OF_MEMORY = "OOM"
    EXCEPTION = "Exception"


CLASS_OF: dict[TaskReason, RetryClass | None] = {
    TaskReason.NODE_LOST: RetryClass.INFRA,
    TaskReason.CANCELLED: RetryClass.INFRA,
    TaskReason.TIMEOUT: RetryClass.TIMEOUT,
    TaskReason.OUT_OF_MEMORY: RetryClass.OUT_OF_MEMORY,
    TaskReason.EXCEPTION: RetryClass.EXCEPTION,
    TaskReason.SIGNAL: RetryClass.EXCEPTION,
    TaskReason.RESULT_TOO_LARGE: None,
    TaskReason.NOT_SERIALIZABLE: None,
    TaskReason.SHAPE_MISMATCH: None,
    TaskReason.NOT_A_FILE_RESULT: None,
    TaskReason.FUNCTION_NOT_LOADABLE: None,
}
"""Class by reason; None: the same again would fail the same way. `Cancelled` that nobody asked
for is a node going down."""


@dataclass(slots=True)
class Attempts:
    """What happened so far to a task that did not end at its first attempt."""

    number: int = 1
    """The attempt at hand, or the next one while the task waits."""
    charges: dict[RetryClass, int] = field(default_factory=dict)
    """Failed attempts by class."""


def may_retry(rule: RetryRule, attempts: Attempts | None, failed: RetryClass | None) -> bool:
    """Tell whether a task whose attempt failed by this class gets another one."""
    if failed is None or failed not in rule.on:
        return False
    if attempts is None:
        return rule.limit > 0
    return attempts.charges.get(failed, 0) < rule.limit and attempts.number < MAX_ATTEMPTS


def node_lost(*, times: int, limit: int, why: str, kept: int) -> Failure:
    """Return the failure of a task that lost its node once too often (GP-E306)."""
    error = NodeLostError.lost(times=times, limit=limit, why=why, kept=kept)
    return failure_by(TaskReason.NODE_LOST, error)


def cancelled(by: str) -> Failure:
    """Return the failure of a task that was cancelled (GP-E308)."""
    return failure_by(TaskReason.CANCELLED, TaskCancelledError.cancelled(by=by))
