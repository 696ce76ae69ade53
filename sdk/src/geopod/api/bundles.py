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

`GPA2` also holds keyword arguments of every task, once: after the count a u32 number of segments,
after the offsets u64 start and stop of each, after the blobs the segments at multiples of 64. The
first is a pickle or JSON of `kwargs`, those of a task go before it; the others are the pickle's
out-of-band buffers.
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
SHARING_MAGIC = b"GPA2"
SHARING_HEADER = struct.Struct("<4sII")
ARGUMENTS_SPAN = struct.Struct("<QQ")
OFFSET_BYTES = 8
SEGMENT_ALIGNMENT = 64
"""Of buffers in memory that others compute on: https://arrow.apache.org/docs/format/Columnar.html"""
MAX_SEGMENTS = 1000
"""Their places go to the runner in one header."""
Span = tuple[int, int]
"""Where bytes begin and end."""


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


class ArgumentPlaces:
    """Where things lie in an arguments object; its bytes are not copied."""

    def __init__(self, data: bytes | mmap) -> None:
        """Raise ValueError if this is no arguments object, or a damaged one."""
        segments, magic = 0, data[:4]
        try:
            if magic == SHARING_MAGIC:
                _, self.count, segments = SHARING_HEADER.unpack_from(data)
                self._table = SHARING_HEADER.size
            elif magic == ARGUMENTS_MAGIC:
                _, self.count = ARGUMENTS_HEADER.unpack_from(data)
                self._table = ARGUMENTS_HEADER.size
            else:
                raise ValueError(f"This is no arguments object: it starts with {magic!r}.")
        except struct.error as error:
            raise ValueError(f"The arguments end in their header, after {len(data)}.") from error
        self._data = data
        after = self._table + OFFSET_BYTES * (self.count + 1)
        if segments > MAX_SEGMENTS or after + ARGUMENTS_SPAN.size * segments > len(data):
            raise ValueError(
                f"Arguments of {self.count} tasks with {segments} segments are not in "
                f"{len(data)} bytes, or over {MAX_SEGMENTS} segments."
            )
        spans = (after + ARGUMENTS_SPAN.size * segment for segment in range(segments))
        self.shared: list[Span] = [self._read(at) for at in spans]
        """Segments that all tasks share."""

    def span(self, index: int) -> Span:
        """Return the place of a task's blob; raises ValueError for one there is not."""
        if not 0 <= index < self.count:
            raise ValueError(f"Task {index} has no arguments: there are {self.count}.")
        return self._read(self._table + OFFSET_BYTES * index)

    def _read(self, at: int) -> Span:
        start, stop = ARGUMENTS_SPAN.unpack_from(self._data, at)
        if not start <= stop <= len(self._data):
            raise ValueError(f"Bytes {start} to {stop} are not in {len(self._data)} of arguments.")
        return start, stop


def pack_arguments(blobs: Sequence[bytes], shared: Sequence[bytes | memoryview] = ()) -> bytes:
    """Join one encoded blob per task, and the segments that they share, into one object."""
    if shared:
        head = SHARING_HEADER.pack(SHARING_MAGIC, len(blobs), len(shared))
    else:
        head = ARGUMENTS_HEADER.pack(ARGUMENTS_MAGIC, len(blobs))
    position = len(head) + OFFSET_BYTES * (len(blobs) + 1 + 2 * len(shared))
    table = [position]
    parts: list[bytes | memoryview] = [*blobs]
    for blob in blobs:
        position += len(blob)
        table.append(position)
    for segment in shared:
        padding = -position % SEGMENT_ALIGNMENT
        start = position + padding
        position = start + len(segment)
        table += start, position
        parts += bytes(padding), segment
    return b"".join([head, struct.pack(f"<{len(table)}Q", *table), *parts])


def digest(data: bytes) -> str:
    """Return the sha256 of `data` in hex: the name of bytes in the store."""
    return sha256(data).hexdigest()
