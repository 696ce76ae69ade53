"""From the words of conditions and manifests to the classes that users catch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from geopod.errors.base import GeopodError, class_of_code
from geopod.errors.capture import FunctionTooLargeError, PythonVersionMismatchError
from geopod.errors.inputs import (
    InterpreterNotFoundError,
    PartitionError,
    RequirementsBuildError,
    RequirementsError,
)
from geopod.errors.layers import (
    DuplicateKeyError,
    LayerAccessError,
    LayerCRSError,
    LayerNotFoundError,
    NoOverlapError,
    SourceChangedError,
    UnknownBandError,
    UnsupportedGridError,
)
from geopod.errors.lookup import EnvironmentNotFoundError
from geopod.errors.reach import PermissionDeniedError
from geopod.errors.remote import RemoteExceptionLike, RemoteFunctionError
from geopod.errors.returned import (
    NotAFileResultError,
    ResultNotSerializableError,
    ResultTooLargeError,
    ShapeMismatchError,
)
from geopod.errors.runs import InconsistentPartsError, RunFailedError
from geopod.errors.scheduling import (
    EnvironmentStartTimeout,
    ImagePullError,
    QuotaExceededError,
    UnschedulableError,
)
from geopod.errors.tasks import (
    NodeLostError,
    OutOfMemoryError,
    ProcessCrashedError,
    TaskCancelledError,
    TaskError,
    TaskTimeoutError,
)

TASK_REASONS: Mapping[str, type[TaskError]] = {
    "Exception": RemoteFunctionError,
    "Timeout": TaskTimeoutError,
    "OutOfMemory": OutOfMemoryError,
    "Signal": ProcessCrashedError,
    "NodeLost": NodeLostError,
    "ResultTooLarge": ResultTooLargeError,
    "NotSerializable": ResultNotSerializableError,
    "ShapeMismatch": ShapeMismatchError,
    "NotAFileResult": NotAFileResultError,
    "Cancelled": TaskCancelledError,
    "FunctionNotLoadable": RemoteFunctionError,
}
"""`Task.reason`, the manifest's word -> class."""

CONDITION_REASONS: Mapping[str, type[GeopodError]] = {
    "InvalidRequirement": RequirementsError,
    "ResolutionFailed": RequirementsBuildError,
    "IndexUnreachable": RequirementsBuildError,
    "BuilderFailed": RequirementsBuildError,
    "UnknownInterpreter": InterpreterNotFoundError,
    "RuntimeNotFound": InterpreterNotFoundError,
    "LayerNotFound": LayerNotFoundError,
    "AuthFailed": LayerAccessError,
    "LayerUnreachable": LayerAccessError,
    "PartitionTooLarge": PartitionError,
    "OverlapTooLarge": PartitionError,
    "DuplicateKey": DuplicateKeyError,
    "MissingCRS": LayerCRSError,
    "UnsupportedCRS": LayerCRSError,
    "UnsupportedGrid": UnsupportedGridError,
    "NoOverlap": NoOverlapError,
    "UnknownBand": UnknownBandError,
    "SourceChanged": SourceChangedError,
    "InterpreterMismatch": PythonVersionMismatchError,
    "PayloadTooLarge": FunctionTooLargeError,
    "FunctionNotAllowed": PermissionDeniedError,
    "EnvironmentNotFound": EnvironmentNotFoundError,
    "Unschedulable": UnschedulableError,
    "ImagePullFailed": ImagePullError,
    "QuotaExceeded": QuotaExceededError,
    "LimitExceeded": QuotaExceededError,
    "PodRefused": EnvironmentStartTimeout,
    "InconsistentParts": InconsistentPartsError,
}
"""Reason of a False condition -> class; any other is E404 (start) or E309 (run)."""

REASONS: Mapping[str, type[GeopodError]] = {**CONDITION_REASONS, **TASK_REASONS}
"""All words at once, for readers that know which kind they hold."""


class FailureLike(Protocol):
    """What `api.results.Failure` carries: why one attempt of one task failed."""

    @property
    def reason(self) -> str:
        """The manifest's word."""
        ...

    @property
    def code(self) -> str:
        """The public error's code."""
        ...

    @property
    def fact(self) -> str:
        """The sentence, without the task's name."""
        ...

    @property
    def fixes(self) -> Sequence[str]:
        """What to do."""
        ...

    @property
    def details(self) -> Mapping[str, Any]:
        """Numbers for machines."""
        ...

    @property
    def exception(self) -> RemoteExceptionLike | None:
        """The user's exception, if it was one."""
        ...


def from_condition(
    reason: str,
    message: str,
    *,
    during: Literal["start", "run"],
    fixes: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
) -> GeopodError:
    """Return the public error of a False condition; its message is quoted as the fact."""
    other = EnvironmentStartTimeout if during == "start" else RunFailedError
    found = CONDITION_REASONS.get(reason, other)
    return found(message or reason, fixes=fixes, details={"reason": reason, **(details or {})})


def from_failure(
    failure: FailureLike,
    *,
    task: int,
    total: int,
    node: int,
    attempt: int,
    over: int | None = None,
) -> TaskError:
    """Return the public exception of a failed task.

    `node`, `task` are 0-based, `attempt` counts from 1; `over`: how many tasks of the run
    returned more than the limit (E301). A failure with an exception becomes E307, mixed with the
    user's class where that can be built.
    """
    details = {"reason": str(failure.reason), **failure.details}
    is_users = issubclass(_task_class(failure), RemoteFunctionError)
    if is_users and failure.exception is not None:
        return RemoteFunctionError.raised(
            failure.exception, task=task, total=total, node=node, attempt=attempt, details=details
        )
    found = _task_class(failure)
    fact = _with_subject(found, failure.fact, task=task, total=total, node=node)
    if found is ResultTooLargeError and over:
        fact = f"{fact} {ResultTooLargeError.over_text(over)}"
    return found(fact, fixes=failure.fixes, details=details, task=task)


def _task_class(failure: FailureLike) -> type[TaskError]:
    by_code = class_of_code(failure.code)
    if issubclass(by_code, TaskError):
        return by_code
    return TASK_REASONS.get(failure.reason, TaskError)


def _with_subject(found: type[TaskError], fact: str, *, task: int, total: int, node: int) -> str:
    """Put the task, or the node where the sentence is about its part, before the fact."""
    if issubclass(found, ShapeMismatchError | NotAFileResultError):
        return fact if fact.startswith("node ") else f"node {node} {fact}"
    return f"{found.subject(task, total)}{fact}"
