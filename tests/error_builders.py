"""Failures and remote exceptions as agents report them; a test changes one thing."""

from __future__ import annotations

from geopod import errors
from geopod.api.results import Failure, RemoteException, TaskReason


def a_failure(**changes) -> Failure:
    values = {"reason": TaskReason.TIMEOUT, "code": "E302", "fact": "was stopped.", **changes}
    return Failure(**values)


def public(failure: Failure, **changes) -> errors.TaskError:
    place = {"task": 4, "total": 240, "node": 1, "attempt": 1, **changes}
    return errors.from_failure(failure, **place)


def a_remote(error_type=ValueError, *args, **changes) -> RemoteException:
    values = {
        "type": error_type.__qualname__,
        "module": error_type.__module__,
        "message": "empty geometry",
        "text": 'Traceback (most recent call last):\n  File "ndvi.py", line 3\nboom\n',
        "args": list(args) or ["empty geometry"],
        "notes": ["seen in tile 7"],
        **changes,
    }
    return RemoteException(**values)


def remote_error(remote: RemoteException, **changes) -> errors.RemoteFunctionError:
    failure = a_failure(reason=TaskReason.EXCEPTION, code="E307", fact="raised.", exception=remote)
    error = public(failure, **changes)
    assert isinstance(error, errors.RemoteFunctionError)
    return error


def memory_failure(task: int) -> errors.TaskError:
    return public(
        a_failure(reason=TaskReason.OUT_OF_MEMORY, code="E304", fact="was killed."), task=task
    )
