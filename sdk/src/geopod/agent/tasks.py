"""A value from the task folder or the answer, taken without trust: no link followed, bounded.

A file is opened beneath the folder's own handle, checked to be a plain file, and taken away: a
small one is unlinked, a larger one goes to a folder of the agent's own. From then on the open
descriptor counts, which nothing in the runner can point elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from geopod.agent.runner_messages import ResultItem
from geopod.agent.work import HandedOver

MAX_READ_BYTES = 256 << 10
"""Up to here a file's bytes are read at once: such results share an object of the store."""
MAX_VALUE_BYTES = 64 << 30
"""A sparse file announces any size; no value of a node's scratch is larger."""
MAX_DEPTH = 16
OWN_TROUBLES = frozenset({
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EIO,
})  # fmt: skip  # names read best in lines
"""What no child is to blame for: no descriptor, no memory, no room left."""
DESCRIPTORS = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")


class UntrustedValueError(ValueError):
    """The child handed over what no runner of ours hands over; the text completes `Task 3 …`."""


def take_value(item: ResultItem, body: bytes, folder: int, aside: str | Path) -> HandedOver:
    """Return the value of a finished task; `folder` is the task folder's descriptor.

    `aside`: a new name on the same file system, which the value gets if it is a large file. Raises
    UntrustedValueError, and OSError where the node itself is in trouble.
    """
    if item.kind is None:
        raise UntrustedValueError("answered without a value")
    meta = _with_numbers(item.meta)
    if item.inline is not None:
        start, stop = item.inline
        if not 0 <= start <= stop <= len(body):
            raise UntrustedValueError(f"handed over bytes {start} to {stop} of {len(body)}")
        return HandedOver(kind=item.kind, data=body[start:stop], size=stop - start, meta=meta)
    if item.file is None:
        raise UntrustedValueError("answered without a value")
    descriptor, size = open_beneath(folder, item.file, aside=aside)
    if size <= MAX_READ_BYTES:
        try:
            data = _read_all(descriptor, size)
        finally:
            os.close(descriptor)
        return HandedOver(kind=item.kind, data=data, size=len(data), meta=meta)
    path = DESCRIPTORS / str(descriptor)
    return HandedOver(
        kind=item.kind, data=path, size=size, meta=meta, descriptor=descriptor, file=Path(aside)
    )


def open_beneath(folder: int, name: str, *, aside: str | Path) -> tuple[int, int]:
    """Open a plain file beneath a folder's descriptor; return (descriptor, size).

    It loses its name there: it is unlinked, or moved `aside` when it is too large to be read.

    Raises UntrustedValueError for links, devices, pipes, names that lead outside, absent files,
    OSError for OWN_TROUBLES.
    """
    parts = PurePosixPath(name).parts
    is_plain = 0 < len(parts) <= MAX_DEPTH and "/" not in parts and ".." not in parts
    if not is_plain or "\0" in name:
        raise UntrustedValueError(f"handed over the file name {name[:80]!r}")
    holder = os.dup(folder)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | FLAGS, dir_fd=holder)
            os.close(holder)
            holder = inner
        descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NONBLOCK | FLAGS, dir_fd=holder)
        try:
            size = _plain_size(descriptor, name)
            if size <= MAX_READ_BYTES:
                os.unlink(parts[-1], dir_fd=holder)
            else:
                os.rename(parts[-1], aside, src_dir_fd=holder)
                _check_same(descriptor, aside, name)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as refused:
        if refused.errno in OWN_TROUBLES:
            raise
        fact = f"handed over {name[:80]!r}, which is no plain file of its folder"
        raise UntrustedValueError(f"{fact} ({refused.strerror})") from refused
    finally:
        os.close(holder)
    return descriptor, size


FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


def _check_same(descriptor: int, aside: str | Path, name: str) -> None:
    """Raise UntrustedValueError if another file was moved than the one that is open."""
    if not os.path.samestat(os.fstat(descriptor), os.lstat(aside)):
        Path(aside).unlink()
        raise UntrustedValueError(f"exchanged {name[:80]!r} while it was taken")


def _plain_size(descriptor: int, name: str) -> int:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise UntrustedValueError(f"handed over {name[:80]!r}, which is no plain file")
    if found.st_size > MAX_VALUE_BYTES:
        fact = f"handed over a file of {found.st_size:,} bytes"
        raise UntrustedValueError(f"{fact}; the limit is {MAX_VALUE_BYTES:,}")
    return found.st_size


def _read_all(descriptor: int, size: int) -> bytes:
    """Read at most `size` bytes: the child may still write to its file."""
    pieces: list[bytes] = []
    at = 0
    while at < size and (piece := os.pread(descriptor, size - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _with_numbers(meta: dict[str, Any]) -> dict[str, Any]:
    """Return the meta with a nodata of NaN or infinity as the number; JSON has no such word."""
    nodata = meta.get("nodata")
    if isinstance(nodata, str):
        if nodata not in {"nan", "inf", "-inf"}:
            raise UntrustedValueError(f"handed over a raster with nodata {nodata[:20]!r}")
        return {**meta, "nodata": float(nodata)}
    return meta
