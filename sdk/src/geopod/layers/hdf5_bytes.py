"""Where an HDF5 file keeps its bytes: reads that are counted, and the index of an array's chunks.

Source: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import math
import os
import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geopod.errors.wording import size_text
from geopod.layers.chunks import Layout, Place
from geopod.layers.remote import RemoteFile
from geopod.layers.together import ask_all

_WHOLE, _REAL, _VAX = 0, 1, 0x40
# First bit and bits of a number, then of exponent and mantissa, and the bias.
_IEEE = {
    2: (0, 16, 10, 5, 0, 10, 15),
    4: (0, 32, 23, 8, 0, 23, 127),
    8: (0, 64, 52, 11, 0, 52, 1023),
}
_MOST_READ = 256 << 20
_MOST_READS = 1_000_000
_MOST_AHEAD = 16 << 20
"""Stored bytes that are asked for together; what they become is bounded by the kept chunks."""
_MOST_GAP = 16 << 10
"""Bytes between two spans that cost less than another request."""
_NODE_HEAD = 24
_MOST_LEVELS = 16
_MOST_NODES = 4096
"""Nodes of an index that are kept: 64 entries of 24 bytes each."""


def check_type(message: bytes) -> None:
    """Raise ValueError for numbers that are not as this machine has them, but for their order.

    `message`: how a file describes a type; one of another class passes.
    """
    kind, size = message[0] & 0xF, int.from_bytes(message[4:8], "little")
    if kind == _WHOLE:
        is_usual = struct.unpack_from("<HH", message, 8) == (0, 8 * size)
    elif kind == _REAL:
        is_usual = struct.unpack_from("<HHBBBBI", message, 8) == _IEEE.get(size)
        is_usual = is_usual and not message[1] & _VAX
    else:
        is_usual = True
    if not is_usual:
        raise ValueError(f"its numbers of {size} bytes are of an unusual form")


class Span(NamedTuple):
    """Some bytes of a file."""

    start: int
    length: int

    @property
    def stop(self) -> int:
        """Where the bytes behind it begin."""
        return self.start + self.length


class CountedFile:
    """An open file whose headers are read up to a limit: a loop among them runs into it.

    Without a descriptor or a path: what reads it cannot open anything beside it.
    """

    def __init__(self, file: Any, remote: RemoteFile | None = None) -> None:
        self._file = file
        self._remote = remote
        self._size = file.seek(0, os.SEEK_END)
        self._reads = self._bytes = 0
        file.seek(0)

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return bool(self._file.closed)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place in the file."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the place in the file."""
        return int(self._file.tell())

    def read(self, length: int = -1) -> bytes:
        """Return bytes of headers; raises ValueError when they never end."""
        left = max(0, self._size - self._file.tell())
        length = left if length < 0 else min(length, left)
        self._reads += 1
        self._bytes += length
        if self._reads > _MOST_READS or self._bytes > _MOST_READ:
            raise ValueError(f"its headers take more than {size_text(_MOST_READ)}")
        return bytes(self._file.read(length))

    def check(self, span: Span) -> None:
        """Raise ValueError where the file ends before the last byte of `span`."""
        if span.stop > self._size:
            raise ValueError(f"the file ends at {self._size}, before byte {span.stop}")

    def take(self, offset: int, length: int) -> bytes:
        """Return bytes of pixels; raises ValueError where the file ends before."""
        self.check(Span(offset, length))
        self._file.seek(offset)
        return bytes(self._file.read(length))

    def take_all(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """Yield the bytes of some spans, in their order.

        Of a file elsewhere a few requests are under way at once, for about `_MOST_AHEAD` bytes;
        spans that lie close together are one request. Raises ValueError where the file ends before.
        """
        if self._remote is None:
            yield from (self.take(*span) for span in spans)
            return
        for first, last in _batches(spans) if spans else ():
            yield from self._take_together(self._remote, spans[first:last])

    def _take_together(self, remote: RemoteFile, spans: Sequence[Span]) -> Iterator[bytes]:
        for span in spans:
            self.check(span)
        # No range of HTTP is empty.
        ranges = _joined([span for span in spans if span.length])
        bodies = ask_all(lambda part: remote.read(*part).body, ranges, are_remote=True)
        starts = [part.start for part in ranges]
        for span in spans:
            if not span.length:
                yield b""
                continue
            which = bisect_right(starts, span.start) - 1
            begin = span.start - starts[which]
            data = bodies[which][begin : begin + span.length]
            if len(data) != span.length:
                raise ValueError(f"{len(data)} of {span.length} bytes at {span.start} came")
            yield data


class StoredChunk(NamedTuple):
    """Where a chunk lies, and which filters it went without."""

    address: int
    size: int
    mask: int


@dataclass(frozen=True, slots=True)
class _Node:
    level: int
    numbers: NDArray[np.int64]
    entries: NDArray[Any]


class ChunkIndex:
    """The chunks of one array: a tree of which only the branches that are asked for are read."""

    def __init__(self, file: CountedFile, address: int, layout: Layout) -> None:
        self._file = file
        self._root = address
        self._steps = layout.chunks
        self._counts = tuple(
            -(-size // step) for size, step in zip(layout.shape, layout.chunks, strict=True)
        )
        self._entry = np.dtype(
            [
                ("size", "<u4"),
                ("mask", "<u4"),
                ("offsets", "<u8", (len(layout.chunks) + 1,)),
                ("address", "<u8"),
            ]
        )
        self._nodes: OrderedDict[int, _Node] = OrderedDict()

    def find(self, place: Place) -> StoredChunk | None:
        """Return where a chunk lies; None: it was never written."""
        number = self._number(place)
        node = self._node(self._root)
        for level in range(node.level, 0, -1):
            if node.level != level or level > _MOST_LEVELS or not len(node.numbers):
                raise ValueError("the index of its chunks is damaged")
            child = max(0, int(np.searchsorted(node.numbers, number, side="right")) - 1)
            node = self._node(int(node.entries["address"][child]))
        at = int(np.searchsorted(node.numbers, number))
        if at == len(node.numbers) or node.numbers[at] != number:
            return None
        found = node.entries[at]
        return StoredChunk(int(found["address"]), int(found["size"]), int(found["mask"]))

    def _number(self, place: Place) -> int:
        """Return which chunk it is, counted row by row: the order of the tree."""
        number = 0
        for one, count in zip(place, self._counts, strict=True):
            number = number * count + one
        return number

    def _node(self, address: int) -> _Node:
        if address in self._nodes:
            self._nodes.move_to_end(address)
            return self._nodes[address]
        head = self._file.take(address, _NODE_HEAD)
        if head[:5] != b"TREE\x01":
            raise ValueError("the index of its chunks is damaged")
        count = int.from_bytes(head[6:8], "little")
        data = self._file.take(address + _NODE_HEAD, count * self._entry.itemsize)
        entries = np.frombuffer(data, self._entry)
        places = entries["offsets"][:, :-1] // np.array(self._steps, np.uint64)
        weights = [math.prod(self._counts[axis + 1 :]) for axis in range(len(self._counts))]
        numbers = (places.astype(np.int64) * np.array(weights, np.int64)).sum(axis=1)
        node = _Node(head[5], numbers, entries)
        self._nodes[address] = node
        while len(self._nodes) > _MOST_NODES:
            self._nodes.popitem(last=False)
        return node


def _batches(spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Yield first and last (exclusive) of runs of spans that take `_MOST_AHEAD`, or of one span."""
    first = total = 0
    for number, span in enumerate(spans):
        if number > first and total + span.length > _MOST_AHEAD:
            yield first, number
            first, total = number, 0
        total += span.length
    yield first, len(spans)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Return what to ask for, in the order of the file: a span, or several with small gaps."""
    joined: list[Span] = []
    for span in sorted(spans):
        last = joined[-1] if joined else None
        if last is not None and span.start - last.stop <= _MOST_GAP:
            joined[-1] = Span(last.start, max(last.stop, span.stop) - last.start)
        else:
            joined.append(span)
    return joined
