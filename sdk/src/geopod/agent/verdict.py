"""From how a child or a task ended to a Failure by name. The sentences are `geopod.errors`'s."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from geopod.agent.output import last_line
from geopod.agent.runner_messages import ResultItem
from geopod.agent.work import TaskLog
from geopod.api.results import SMALL_RESULT_BYTES, Failure, RemoteException, TaskReason
from geopod.errors import (
    GeopodError,
    NodeLostError,
    NotAFileResultError,
    OutOfMemoryError,
    ProcessCrashedError,
    ResultNotSerializableError,
    ResultTooLargeError,
    ShapeMismatchError,
    TaskCancelledError,
    TaskTimeoutError,
)

LOG_TAIL_BYTES = 2048
MAX_SAID_BYTES = 512 << 10
"""Of what a child says of one task beside its value. An honest one says half of it at most, and a
report, which repeats a part, is one message of 1 MiB."""

CONTAINERS = frozenset({"dict", "list", "tuple"})
"""Types that are results by themselves: that one was returned is not what is wrong."""

DeathReason = Literal["timeout", "memory", "processes", "output", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the task was allowed."""

    timeout_s: float
    memory_bytes: int | None = None
    partition_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a child ended while a task ran."""

    exit: int | None = None
    signal: int | None = None
    reason: DeathReason | None = None
    """Why the template ended it; None: it ended by itself."""
    ran_s: float = 0.0
    peak_bytes: int = 0
    cpu_percent: float | None = None
    progress: tuple[float | None, str] = (None, "")
    log: TaskLog | None = None


def judge_death(death: Death, limits: Limits) -> Failure:
    """Return why the task that ran in a dead child failed."""
    match death.reason:
        case "timeout":
            return _failure(TaskReason.TIMEOUT, _timed_out(death, limits), death)
        case "memory":
            error: GeopodError = OutOfMemoryError.killed(
                limit=limits.memory_bytes or death.peak_bytes,
                partition_bytes=limits.partition_bytes or None,
            )
            return _failure(TaskReason.OUT_OF_MEMORY, error, death)
        case "processes":
            return _over_limit("started more than 512 processes at once and was killed", death)
        case "output":
            return _over_limit("printed more than 1 GiB and was killed", death)
        case "killed" | None:
            return _failure(TaskReason.SIGNAL, _crashed(death), death)


def judge_item(item: ResultItem, node: int) -> Failure:
    """Return why a task failed that its child could still report."""
    match item.reason:
        case "Exception" | None:
            return raised(item.exception or RemoteException(type="Exception"))
        case "Exit":
            code = item.details.get("exit")
            error: GeopodError = ProcessCrashedError.exited(
                exit_code=code if isinstance(code, int) else 0
            )
            return _failure(TaskReason.SIGNAL, error)
        case "NotSerializable":
            error = ResultNotSerializableError.returned(type_name=_type_with_reason(item))
            return _failure(TaskReason.NOT_SERIALIZABLE, error, exception=item.exception)
        case "ShapeMismatch":
            error = ShapeMismatchError.returned(
                node=node,
                shape=_numbers(item, "shape"),
                core=_numbers(item, "core"),
                padded=_numbers(item, "padded"),
            )
            return _failure(TaskReason.SHAPE_MISMATCH, _ask_for_like(error, item))
        case "NotAFileResult":
            error = NotAFileResultError.returned(node=node, type_name=_word(item, "type"))
            return _failure(TaskReason.NOT_A_FILE_RESULT, error)
        case "Cancelled":
            return cancelled()


def raised(exception: RemoteException, *, while_loading: bool = False) -> Failure:
    """Return the failure of a function that raised, or that could not be loaded."""
    said = f"{exception.type}: {exception.message}" if exception.message else exception.type
    return Failure(
        reason=TaskReason.FUNCTION_NOT_LOADABLE if while_loading else TaskReason.EXCEPTION,
        code="E307",
        fact=f"could not be loaded: {said}" if while_loading else f"raised {said}",
        fixes=[*_fixes_of(exception), "task.reproduce()"],
        exception=exception,
    )


def _fixes_of(exception: RemoteException) -> list[str]:
    """Return how a module gets to the nodes, if one is missing there."""
    found = re.fullmatch(r"No module named '([^'.]+)[^']*'", exception.message or "")
    if exception.type != "ModuleNotFoundError" or found is None:
        return []
    name = found[1]
    return [f"requirements=[{name!r}]", f"@geopod.function(include_modules=[{name!r}]) if yours"]


def cancelled() -> Failure:
    """Return the failure of a cancelled task."""
    return _failure(TaskReason.CANCELLED, TaskCancelledError.cancelled())


def lost_runner(why: str) -> Failure:
    """Return the failure of the task that ran when the node's runner went away."""
    error = NodeLostError(f"lost its runner: {why}.", fixes=("run.rerun()",))
    return _failure(TaskReason.NODE_LOST, error)


def broke_rules(did: str) -> Failure:
    """Return the failure of a task whose child handed over what no runner does."""
    return _over_limit(f"{did}; its process was ended")


def over_limit(said: object) -> str:
    """Return what a child did that said what no report can carry; empty: it did not."""
    try:
        size = len(msgspec.msgpack.encode(said))
    except OverflowError:
        return "said a number beyond 64 bits of how a task ended"
    if size <= MAX_SAID_BYTES:
        return ""
    return f"said {size:,} bytes of how a task ended; the limit is {MAX_SAID_BYTES:,}"


def result_too_large(size: int, codec: str) -> Failure:
    """Return the failure of a value over the limit of small results; the value is kept."""
    error = ResultTooLargeError.returned(size=size, codec=codec, limit=SMALL_RESULT_BYTES)
    return _failure(TaskReason.RESULT_TOO_LARGE, error)


def _failure(
    reason: TaskReason,
    error: GeopodError,
    death: Death | None = None,
    *,
    exception: RemoteException | None = None,
) -> Failure:
    details = dict(error.details)
    if death is not None and death.log is not None:
        tail = (death.log.err or death.log.out)[-LOG_TAIL_BYTES:]
        details["logTail"] = tail.decode("utf-8", "replace")
    return Failure(
        reason=reason,
        code=error.code,
        fact=error.fact,
        fixes=list(error.fixes),
        details=details,
        exception=exception,
        exit=death.exit if death else None,
        signal=_signal_name(death.signal) if death and death.signal else None,
    )


def _timed_out(death: Death, limits: Limits) -> TaskTimeoutError:
    fraction, text = death.progress
    seen = TaskTimeoutError.last_seen(
        fraction=fraction,
        text=text,
        peak=death.peak_bytes,
        memory=limits.memory_bytes,
        cpu_percent=death.cpu_percent,
        log_line=last_line(death.log),
    )
    return TaskTimeoutError.stopped(after_s=death.ran_s, timeout_s=limits.timeout_s, seen=seen)


def _crashed(death: Death) -> ProcessCrashedError:
    if death.signal is not None:
        return ProcessCrashedError.died(signal=_signal_name(death.signal), where=_where(death.log))
    return ProcessCrashedError.exited(exit_code=death.exit or 0, called="os._exit")


def _over_limit(did: str, death: Death | None = None) -> Failure:
    return _failure(TaskReason.SIGNAL, ProcessCrashedError.over_limit(did=did, details={}), death)


def _where(log: TaskLog | None) -> str | None:
    """Return the module of the innermost frame that faulthandler wrote, `rasterio/_io`."""
    text = log.err.decode("utf-8", "replace") if log else ""
    found = re.search(r'most recent call first\):\n\s+File "([^"\n]+)"', text)
    if found is None:
        return None
    path = PurePosixPath(found.group(1))
    parts = path.with_suffix("").parts
    packages = next((at for at, part in enumerate(parts) if part == "site-packages"), None)
    return "/".join(parts[packages + 1 :]) if packages is not None else path.stem


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ask_for_like(error: ShapeMismatchError, item: ResultItem) -> ShapeMismatchError:
    """Say how to name the layer, where an array fits several of them."""
    keys = item.details.get("keys")
    if not isinstance(keys, list) or not keys:
        return error
    fix = f"Return {{'raster': array, 'like': {keys[0]!r}}}; it fits {', '.join(map(str, keys))}"
    return ShapeMismatchError(error.fact, fixes=(fix, *error.fixes), details=error.details)


def _type_with_reason(item: ResultItem) -> str:
    """Return the type of what was returned; of a container also what of its contents is wrong."""
    name, refused = _word(item, "type"), item.exception
    if refused is None or name not in CONTAINERS:
        return name
    return f"{name} ({(refused.message or refused.type)[:200]})"


def _word(item: ResultItem, key: str) -> str:
    return str(item.details.get(key, "object"))[:200]


def _numbers(item: ResultItem, key: str) -> tuple[int, ...]:
    found = item.details.get(key)
    numbers = found if isinstance(found, list) else []
    return tuple(number for number in numbers[:8] if isinstance(number, int))
