"""Failures that the agent itself finds: the sentence of a public error, as the manifest says it."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from geopod.api.failures import failure_by
from geopod.api.results import Failure, TaskReason
from geopod.errors import (
    AuthError,
    GeopodError,
    LayerAccessError,
    NodeLostError,
    PermissionDeniedError,
    RemoteFunctionError,
)

REASONS = {
    "E301": TaskReason.RESULT_TOO_LARGE,
    "E303": TaskReason.NOT_SERIALIZABLE,
    "E308": TaskReason.CANCELLED,
    "E310": TaskReason.SHAPE_MISMATCH,
    "E311": TaskReason.NOT_A_FILE_RESULT,
}
"""The manifest's word by error code; any other error is an Exception."""
OTHER_LIMITS = {
    errno.EMFILE: "raise the nodes' limit of open files (ulimit -Hn)",
    errno.ENFILE: "raise the machine's limit of open files (sysctl fs.file-max)",
    errno.ENOMEM: "more memory for the nodes",
}
"""What helps against a limit that free space does not lift."""


def failure_of(error: GeopodError) -> Failure:
    """Return a public error as a task's failure."""
    return failure_by(REASONS.get(error.code, TaskReason.EXCEPTION), error)


def not_loadable(why: str) -> Failure:
    """Return the failure of tasks whose function or arguments cannot be read."""
    return Failure(
        reason=TaskReason.FUNCTION_NOT_LOADABLE,
        code=RemoteFunctionError.code,
        fact=f"could not be loaded: {why}.",
        fixes=["submit the run again"],
    )


def not_committed(error: Exception) -> Failure:
    """Return the failure of a task whose result the store did not take: the node's fault."""
    fixes = _fixes(error, "free space in the store")
    return _without_store("returned a result that could not be stored", error, fixes)


def not_fetched(error: Exception) -> Failure:
    """Return the failure of tasks whose inputs the store did not give: the node's fault."""
    fixes = _fixes(error, "free space on the nodes' scratch")
    return _without_store("could not be given its function and arguments", error, fixes)


def _without_store(fact: str, error: Exception, fixes: Sequence[str]) -> Failure:
    """Return the failure of a task that the store has let down; `fixes`: against a full disk."""
    why = str(error)
    if isinstance(error, GeopodError):
        why, fixes = error.fact.rstrip("."), error.fixes
    if isinstance(error, (AuthError, PermissionDeniedError)):  # about the node's token, no user's
        fixes = ("geopod doctor",)
    return Failure(
        reason=TaskReason.NODE_LOST,
        code=NodeLostError.code,
        fact=f"{fact}: {why}.",
        fixes=[*fixes, "run.rerun()"],
    )


def not_staged(partition: int, error: OSError) -> Failure:
    """Return the failure of a partition that could not be brought to scratch."""
    return failure_of(
        LayerAccessError(
            f"Partition {partition} cannot be staged: {error}.",
            fixes=_fixes(error, "free space on the nodes' scratch", "more nodes"),
        )
    )


def _fixes(error: Exception, *for_space: str) -> tuple[str, ...]:
    """Return what lifts the limit that a node has met; `for_space`: what makes room."""
    limit = error.errno if isinstance(error, OSError) else None
    return (OTHER_LIMITS[limit],) if limit in OTHER_LIMITS else for_space
