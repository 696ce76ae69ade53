"""What a node is asked to run, and what comes of it: plain values between link and node.

Outcomes are Structs, not dataclasses: there are 10,000 of them in a map of tiny tasks.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from geopod.agent.arguments import Arguments
from geopod.api.bundles import FunctionRef, Span
from geopod.api.results import Failure

ValueKind = Literal["json", "npy", "tree", "arrow", "geoarrow", "raster", "bytes", "list", "pickle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Tasks of one run for this node's child, in the order in which they run."""

    run: str
    """The run's uid."""
    function: FunctionRef
    payload: bytes
    """The function's bytes, as `api.bundles` describes them."""
    tasks: Sequence[tuple[int, int]]
    """(index, attempt) of each task."""
    arguments: Arguments | None = None
    """Map: the run's; None: `f(params)`."""
    spans: Sequence[Span] = ()
    """Map: where each task's blob lies in them, in the order of `tasks`."""
    staged: Path | None = None
    """The staged partition's folder (`DONE` in it); None: no layers."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Plain files by id, besides those in the staged folder."""
    total: int = 1
    """How many tasks the run has."""
    node: int = 0
    timeout_s: float = 1800.0
    """One attempt of one task."""
    large_result: bool = False
    write_to: Mapping[str, str] | None = None
    """`{kind, format}` of the layer that results go to."""
    partition_bytes: int = 0
    """What the staged partition holds, for sentences about memory."""


class Early(Protocol):
    """`geopod.agent.early.EarlyDigest`."""

    async def finish(self, size: int) -> str | None:
        """Return the sha256 of the whole file; None: it does not have this size."""

    def close(self) -> None:
        """Let the file go; harmless when repeated."""


class HandedOver(msgspec.Struct, kw_only=True):
    """A value as the child handed it over; `close` it when its bytes are in the store."""

    kind: ValueKind
    data: bytes | Path
    """The bytes; or, over 4 MiB, the path of an open descriptor that no link can redirect."""
    size: int
    """Bytes of `data`."""
    meta: dict[str, Any]
    descriptor: int | None = None
    """The open file behind `data` if it is a path."""
    file: Path | None = None
    """Its name, in a folder of the agent's own."""
    early: Early | None = None
    """Its digest, which began while it was written."""

    def is_settled(self) -> bool:
        """Say whether the file can become the stored object: nobody else can write to it.

        It has one name, and the kernel grants a lease on it, which it does for a file of this user
        that nobody has open to write. Source: fcntl(2), F_SETLEASE.
        """
        if self.descriptor is None or self.file is None:
            return False
        try:
            status = os.fstat(self.descriptor)
            if status.st_nlink != 1 or not os.path.samestat(status, self.file.stat()):
                return False  # the second: an earlier try has moved it into the store
            fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except (OSError, AttributeError):  # a writer, another user's, no leases here
            return False
        return True

    def close(self) -> None:
        """Let the file behind the value go; harmless when repeated."""
        if self.descriptor is not None:
            descriptor, self.descriptor = self.descriptor, None
            os.close(descriptor)
        if self.early is not None:
            self.early.close()
        if self.file is not None:
            self.file.unlink(missing_ok=True)


class TaskLog(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt printed: the first 4 MiB and the last 1 MiB of each stream."""

    out: bytes
    err: bytes

    @property
    def size(self) -> int:
        """Bytes kept of both streams."""
        return len(self.out) + len(self.err)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt of one task ended: `value` or `failure` is set."""

    index: int
    attempt: int
    value: HandedOver | None = None
    failure: Failure | None = None
    runtime_s: float = 0.0
    peak_bytes: int = 0
    """The child's high-water mark of memory so far."""
    touched: Sequence[str] = ()
    """Keys of `params` that `f` touched, in that order."""
    log: TaskLog | None = None
    """None: it printed nothing."""
