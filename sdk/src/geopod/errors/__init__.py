"""Every public error, drawn as one tree. Light: standard library only.

In brackets: the built-in that it is too. Who acts: u the user, a an administrator, r repeat the
call. Printed as `GP-<code> <fact>` and `fix: 1) … 2) …`. Source: the project's SDK design, §6.

```
GeopodError
├ ConfigError E001 u
├ AuthError E002 u
├ PermissionDeniedError E003 a
├ MissingExtraError E004 u [ImportError]
├ ClusterError
│ ├ ClusterUnreachableError E010 r
│ ├ CRDsNotInstalledError E011 a
│ ├ OperatorNotRunningError E012 a
│ ├ GatewayUnavailableError E013 r
│ ├ RateLimitedError E014 r
│ └ ProtocolMismatchError E015 u
├ CaptureError u
│ ├ PythonVersionMismatchError E101
│ ├ UnpicklableFunctionError E102 [TypeError]
│ ├ BoundGlobalError E103 [NameError]
│ ├ FunctionTooLargeError E104
│ └ SourceUnavailableError E105
├ InvalidInputError E110 u [ValueError]
│ ├ RequirementsError E111
│ │ └ RequirementsBuildError E112 [RuntimeError]
│ ├ InterpreterNotFoundError E113
│ ├ LayerNotFoundError E121
│ ├ LayerAccessError E122
│ ├ PartitionError E123
│ ├ DuplicateKeyError E124
│ ├ LayerCRSError E125
│ ├ UnsupportedGridError E126
│ ├ NoOverlapError E127
│ ├ UnknownBandError E128
│ └ SourceChangedError E129
├ NotFoundError u [LookupError, ValueError]
│ ├ EnvironmentNotFoundError E201
│ ├ RunNotFoundError E202
│ ├ ResultExpiredError E203
│ └ EnvironmentTerminatedError E204
├ TaskError u
│ ├ ResultTooLargeError E301 [ValueError]
│ ├ TaskTimeoutError E302 [TimeoutError]
│ ├ ResultNotSerializableError E303 [TypeError]
│ ├ OutOfMemoryError E304 [MemoryError]
│ ├ ProcessCrashedError E305
│ ├ NodeLostError E306 r
│ ├ RemoteFunctionError E307 [the user's class]
│ ├ TaskCancelledError E308
│ ├ ShapeMismatchError E310 [ValueError]
│ └ NotAFileResultError E311 [ValueError]
├ SchedulingError a
│ ├ UnschedulableError E401
│ ├ ImagePullError E402
│ ├ QuotaExceededError E403
│ └ EnvironmentStartTimeout E404 [TimeoutError]
├ RunFailedError E309 u [the class that all its failures share]
│ └ InconsistentPartsError E312
└ WaitTimeoutError E501 u [TimeoutError]
```
"""

from __future__ import annotations

from geopod.errors.base import Actor, GeopodError, RetryWord, class_of_code
from geopod.errors.capture import (
    BoundGlobalError,
    CaptureError,
    FunctionTooLargeError,
    PythonVersionMismatchError,
    SourceUnavailableError,
    UnpicklableFunctionError,
)
from geopod.errors.inputs import (
    InterpreterNotFoundError,
    InvalidInputError,
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
from geopod.errors.lookup import (
    EnvironmentNotFoundError,
    EnvironmentTerminatedError,
    NotFoundError,
    ResultExpiredError,
    RunNotFoundError,
)
from geopod.errors.reach import (
    AuthError,
    ClusterError,
    ClusterUnreachableError,
    ConfigError,
    CRDsNotInstalledError,
    GatewayUnavailableError,
    MissingExtraError,
    OperatorNotRunningError,
    PermissionDeniedError,
    ProtocolMismatchError,
    RateLimitedError,
)
from geopod.errors.reasons import (
    CONDITION_REASONS,
    REASONS,
    TASK_REASONS,
    FailureLike,
    from_condition,
    from_failure,
)
from geopod.errors.remote import RemoteExceptionLike, RemoteFunctionError
from geopod.errors.returned import (
    NotAFileResultError,
    ResultNotSerializableError,
    ResultTooLargeError,
    ShapeMismatchError,
)
from geopod.errors.runs import InconsistentPartsError, RunFailedError, WaitTimeoutError
from geopod.errors.scheduling import (
    EnvironmentStartTimeout,
    ImagePullError,
    QuotaExceededError,
    SchedulingError,
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

from_wire = GeopodError.from_wire
"""Return the error that `to_wire` wrote: `from_wire(**wire)`."""

__all__ = [
    "CONDITION_REASONS",
    "REASONS",
    "TASK_REASONS",
    "Actor",
    "AuthError",
    "BoundGlobalError",
    "CRDsNotInstalledError",
    "CaptureError",
    "ClusterError",
    "ClusterUnreachableError",
    "ConfigError",
    "DuplicateKeyError",
    "EnvironmentNotFoundError",
    "EnvironmentStartTimeout",
    "EnvironmentTerminatedError",
    "FailureLike",
    "FunctionTooLargeError",
    "GatewayUnavailableError",
    "GeopodError",
    "ImagePullError",
    "InconsistentPartsError",
    "InterpreterNotFoundError",
    "InvalidInputError",
    "LayerAccessError",
    "LayerCRSError",
    "LayerNotFoundError",
    "MissingExtraError",
    "NoOverlapError",
    "NodeLostError",
    "NotAFileResultError",
    "NotFoundError",
    "OperatorNotRunningError",
    "OutOfMemoryError",
    "PartitionError",
    "PermissionDeniedError",
    "ProcessCrashedError",
    "ProtocolMismatchError",
    "PythonVersionMismatchError",
    "QuotaExceededError",
    "RateLimitedError",
    "RemoteExceptionLike",
    "RemoteFunctionError",
    "RequirementsBuildError",
    "RequirementsError",
    "ResultExpiredError",
    "ResultNotSerializableError",
    "ResultTooLargeError",
    "RetryWord",
    "RunFailedError",
    "RunNotFoundError",
    "SchedulingError",
    "ShapeMismatchError",
    "SourceChangedError",
    "SourceUnavailableError",
    "TaskCancelledError",
    "TaskError",
    "TaskTimeoutError",
    "UnknownBandError",
    "UnpicklableFunctionError",
    "UnschedulableError",
    "UnsupportedGridError",
    "WaitTimeoutError",
    "class_of_code",
    "from_condition",
    "from_failure",
    "from_wire",
]
