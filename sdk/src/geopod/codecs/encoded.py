"""An encoded result, and the error of bytes that are not what they are said to be."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Source = bytes | Path
"""Bytes in memory, or the file that holds them."""


SMALL_BYTES = 64 << 10
"""Files up to this size are handed on as bytes: small results share one object of the store."""


class MalformedValueError(ValueError):
    """The bytes are no value of the kind that they are said to be.

    The agent records it as the task's failure; a client meets it only where a store was damaged.
    """


@dataclass(frozen=True, slots=True)
class Encoded:
    """One result as it is committed: `codec` and `meta` go to the manifest, `data` to the store."""

    codec: str
    data: Source
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Encoded bytes: what the limit of a result is measured on."""
        return size_of(self.data)


def size_of(source: Source) -> int:
    """Return how many bytes `source` holds."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def read_bytes(source: Source) -> bytes:
    """Return the bytes of `source`."""
    return source if isinstance(source, bytes) else source.read_bytes()


def head_of(source: Source, length: int) -> bytes:
    """Return the first `length` bytes of `source`."""
    if isinstance(source, bytes):
        return source[:length]
    with source.open("rb") as file:
        return file.read(length)


def new_file(workdir: Path, suffix: str) -> Path:
    """Return a new empty file in `workdir`."""
    descriptor, name = tempfile.mkstemp(suffix=suffix, dir=workdir)
    os.close(descriptor)
    return Path(name)


def settled(path: Path) -> Source:
    """Return a written file as the source of a result: the file, or its bytes if it is small."""
    if path.stat().st_size > SMALL_BYTES:
        return path
    data = path.read_bytes()
    path.unlink()
    return data
