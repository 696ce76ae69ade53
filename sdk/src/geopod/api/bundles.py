"""What travels to a node: a function, and the arguments of a map. Content-hashed bytes.

A function's payload by format:

* `cloudpickle`: one pickle, protocol 5; opened only by the runner's child on the same minor.
* `source`: JSON `{"entry", "constants", "imports", "pieces"}`. The child fills one namespace with
  `constants` (name -> JSON value), runs `imports` (`[module, attribute or null, alias]`), then
  compiles and runs each piece `{"filename", "firstLine", "text"}` in order and takes `entry`.
* `bundle`: a zip with `.geopod.json` `{"module", "qualname"}` and files. The child unpacks it, puts
  the folder first on `sys.path`, works in it, imports `module` and takes `qualname`.

Arguments: `GPA1`, a little-endian u32 count, count + 1 u64 offsets from the start of the object,
then one blob per task: a pickle or JSON (`ArgumentsRef.format`) of `[args, kwargs]`, or of
`[args, kwargs, variables]` where a task has environment variables of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from mmap import mmap
from typing import Literal

import msgspec

FunctionFormat = Literal["cloudpickle", "source", "bundle"]
BUNDLE_ENTRY = ".geopod.json"
ARGUMENTS_MAGIC = b"GPA1"
ARGUMENTS_HEADER = struct.Struct("<4sI")
ARGUMENTS_OFFSET = struct.Struct("<Q")


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """One object that travels inside a function: a global, a closure cell or a default."""

    name: str
    kind: Literal["global", "closure", "default", "module", "import", "constant", "file"]
    type: str
    bytes: int = 0


class FunctionBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A captured function: the payload, and what a node must know before it loads it."""

    format: FunctionFormat
    name: str
    python: str
    """Minor version it was captured on, `3.12`; the one it runs on for `source` is free."""
    cloudpickle: str = ""
    payload: bytes
    sha256: str
    captured: tuple[Captured, ...] = ()


class FunctionRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function by reference: what the coordinator and the agents see of it."""

    format: FunctionFormat
    name: str
    python: str
    sha256: str
    size: int
    """Bytes of the payload."""
    inline: bytes | None = None
    """The payload itself when it is small; otherwise it lies under `names.function_key`."""


class ArgumentsRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The encoded arguments of a map, under `names.arguments_key`."""

    format: Literal["pickle", "json"]
    sha256: str
    size: int
    """Bytes of the whole object."""
    count: int


def pack_arguments(blobs: Sequence[bytes]) -> bytes:
    """Join one encoded blob per task into one arguments object."""
    position = ARGUMENTS_HEADER.size + ARGUMENTS_OFFSET.size * (len(blobs) + 1)
    parts = [ARGUMENTS_HEADER.pack(ARGUMENTS_MAGIC, len(blobs))]
    for blob in blobs:
        parts.append(ARGUMENTS_OFFSET.pack(position))
        position += len(blob)
    parts.append(ARGUMENTS_OFFSET.pack(position))
    return b"".join([*parts, *blobs])


def argument_span(data: bytes | mmap, index: int) -> tuple[int, int]:
    """Return where the blob of task `index` begins and ends in an arguments object."""
    at = ARGUMENTS_HEADER.size + index * ARGUMENTS_OFFSET.size
    (start,) = ARGUMENTS_OFFSET.unpack_from(data, at)
    (stop,) = ARGUMENTS_OFFSET.unpack_from(data, at + ARGUMENTS_OFFSET.size)
    return start, stop


def digest(data: bytes) -> str:
    """Return the sha256 of `data` in hex: the name of bytes in the store."""
    return sha256(data).hexdigest()
