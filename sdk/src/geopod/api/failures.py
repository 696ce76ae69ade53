"""Public errors as failures of tasks, as the manifest says them."""

from __future__ import annotations

from geopod.api.results import Failure, TaskReason
from geopod.errors import GeopodError, PartitionError


def failure_by(reason: TaskReason, error: GeopodError) -> Failure:
    """Return an error as a task's failure, under the manifest's word for it."""
    return Failure(
        reason=reason,
        code=error.code,
        fact=error.fact,
        fixes=list(error.fixes),
        details=dict(error.details),
    )


def empty_partition() -> Failure:
    """Return the failure of a partition without data under `on_empty='error'` (GP-E123)."""
    error = PartitionError(
        "has a partition without data and on_empty='error'.",
        fixes=("on_empty='skip' returns None for it", "fewer nodes"),
    )
    return failure_by(TaskReason.EXCEPTION, error)
