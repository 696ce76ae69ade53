"""From the words of conditions and manifests to the classes that users catch."""

from __future__ import annotations

import re
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
    "ShapeMismatch": ShapeMismatchError,
    "NotAFileResult": NotAFileResultError,
}
"""Reason of a False condition -> class; any other is E404 (start) or E309 (run)."""

REASON_FIXES: Mapping[str, tuple[str, ...]] = {
    "InvalidRequirement": ("correct them", "for one string: requirements=['numpy']"),
    "ResolutionFailed": ("change requirements", "env.build_log()"),
    "IndexUnreachable": ("env.build_log()", "an administrator: index of the ComputeRuntime"),
    "BuilderFailed": ("env.build_log()",),
    "UnknownInterpreter": ("one of these", "ask an administrator for a ComputeRuntime"),
    "RuntimeNotFound": ("ask an administrator for a ComputeRuntime",),
    "LayerNotFound": ("client.layers()",),
    "AuthFailed": ("renew the secret",),
    "LayerUnreachable": ("look at where it lies: client.layers()",),
    "PartitionTooLarge": ("more nodes", "more memory"),
    "OverlapTooLarge": ("smaller overlap", "fewer nodes"),
    "InterpreterMismatch": ("the environment's own Python minor", "send='source'"),
    "PayloadTooLarge": ("files=[…]",),
    "FunctionNotAllowed": ("ask the layer's owner to allow this function",),
    "EnvironmentNotFound": ("create it again", "client.environments()"),
    "Unschedulable": ("fewer or smaller nodes", "geopod capacity"),
    "ImagePullFailed": ("administrator: image or secret of the ComputeRuntime",),
    "QuotaExceeded": ("fewer nodes", "terminate an environment that sleeps", "geopod capacity"),
    "LimitExceeded": ("ask for less", "geopod capacity"),
    "ShapeMismatch": ("return an array of the core's shape", "{'raster', 'transform', 'crs'}"),
    "NotAFileResult": ("largeResult=True, return an array, GeoDataFrame or BytesIO",),
}
"""What to do about a condition whose message names nothing to do."""
FIXES_MARK = re.compile(r"\s*\n?fix: (?=1\) )")
"""Before the numbered fixes of a message that was an error's whole text."""
CODE_MARK = re.compile(r"^GP-E\d{3} ")

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
    """Return the public error of a False condition; its message is quoted as the fact.

    Fixes are those given, else those in the message (`fix: 1) … 2) …`), else the reason's own.
    """
    other = EnvironmentStartTimeout if during == "start" else RunFailedError
    found = CONDITION_REASONS.get(reason, other)
    fact, told = _without_fixes(message)
    explain = "env.explain()" if during == "start" else "run.explain()"
    return found(
        fact or reason,
        fixes=tuple(fixes) or told or REASON_FIXES.get(reason, (explain,)),
        details={"reason": reason, **(details or {})},
    )


def _without_fixes(message: str) -> tuple[str, tuple[str, ...]]:
    """Return the fact in a message, and the fixes that it ends with."""
    fact, *rest = FIXES_MARK.split(CODE_MARK.sub("", message), maxsplit=1)
    if not rest:
        return fact, ()
    return fact, tuple(part.strip() for part in re.split(r"(?:^|\s)\d\) ", rest[0]) if part.strip())


def from_failure(
    failure: FailureLike,
    *,
    task: int,
    total: int,
    node: int,
    attempt: int,
    over: int | None = None,
    attempts: int | None = None,
) -> TaskError:
    """Return the public exception of a failed task.

    `node`, `task` are 0-based, `attempt` counts from 1; `over`: how many tasks of the run
    returned more than the limit (E301); `attempts`: how many a deadline was given (E302). A
    failure with an exception becomes E307, mixed with the user's class where that can be built.
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
    if found is TaskTimeoutError and attempts:
        fact = TaskTimeoutError.counted(fact, attempt=attempt, attempts=max(attempt, attempts))
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
