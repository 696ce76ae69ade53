"""The result manifest: one entry or one failure per task, in chunks that are created once.

A chunk is JSON, created if absent under `names.manifest_key`. The first chunk of an epoch names
the chunks of earlier epochs that it accepts, so nobody reads a later chunk of an old coordinator.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

SMALL_RESULT_BYTES = 2 << 20
"""Encoded bytes of one result with `large_result=False`: the documented "2mb"."""


INLINE_BYTES = 4096
INLINE_TASKS = 32
"""Results of so few bytes in all, in runs of so few tasks, lie in their entries: the write of the
manifest is their commit, and a finished run's state shows them. More would pass its 16 kB."""
SHARED_BYTES = 256 << 10
"""Results up to this size may share an object with others; a larger one has its own."""
_Bytes = bytes  # `Entry` has a field of that name


class TaskReason(StrEnum):
    """Why a task failed: the manifest's word, and `Task.reason` in the SDK."""

    EXCEPTION = "Exception"
    TIMEOUT = "Timeout"
    OUT_OF_MEMORY = "OutOfMemory"
    SIGNAL = "Signal"
    NODE_LOST = "NodeLost"
    RESULT_TOO_LARGE = "ResultTooLarge"
    NOT_SERIALIZABLE = "NotSerializable"
    SHAPE_MISMATCH = "ShapeMismatch"
    NOT_A_FILE_RESULT = "NotAFileResult"
    CANCELLED = "Cancelled"
    FUNCTION_NOT_LOADABLE = "FunctionNotLoadable"


class RemoteException(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's exception as text: never pickled, cut in the middle at 32 KiB."""

    type: str
    module: str = "builtins"
    message: str = ""
    text: str = ""
    args: list[Any] | None = None
    """The exception's arguments if all are JSON-able; None: the class cannot be rebuilt."""
    notes: list[str] = []
    frames: list[tuple[str, int, str, str]] = []
    """(file, line, function, source line) of the user's frames, outermost first."""
    cause: RemoteException | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why one attempt of one task failed: the fact, its numbers, and what to do."""

    reason: TaskReason
    code: str
    """The public error's code, `E301`…"""
    fact: str
    """One sentence with numbers, without the task's name (`was stopped after 30m00s`)."""
    fixes: list[str] = []
    details: dict[str, Any] = {}
    exception: RemoteException | None = None
    exit: int | None = None
    signal: str | None = None
    log_bytes: int = 0


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One committed result: where its bytes lie, how they are encoded, what they are."""

    codec: str
    sha256: str
    bytes: int
    key: str = ""
    """Where in the store; empty for a result whose bytes are `data`."""
    start: int = 0
    """Offset of the result inside the object `key` (small results share a pack)."""
    meta: dict[str, Any] = {}
    data: _Bytes | None = None
    """A small result of a small run itself: its manifest chunk is where it is stored."""


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the manifest says of one task: the attempt that counts and how it ended."""

    index: int
    attempt: int
    epoch: int
    node: int
    entry: Entry | None = None
    failure: Failure | None = None
    skipped: bool = False
    """True: an empty partition, `f` was not called; the caller gets None."""
    runtime_s: float = 0.0
    peak_bytes: int = 0
    log_bytes: int = 0
    touched: list[str] = []
    """Keys of `params` that `f` touched, for lineage."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a task printed."""

    time: float
    """Seconds since the Unix epoch, of the moment the agent read it."""
    task: int
    attempt: int
    node: int
    stream: str
    text: str


class ManifestChunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One write of the manifest: the records that became final since the last one."""

    version: int = 1
    epoch: int
    sequence: int
    accepts: list[str] | None = None
    """Only in the first chunk of an epoch: store keys of the earlier chunks that count."""
    plan_sha256: str = ""
    """Of the partitions that its records are of; empty: they are of none, or there are none."""
    records: list[TaskRecord] = []
