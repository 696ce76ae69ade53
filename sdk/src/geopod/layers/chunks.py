"""An array that is stored in chunks, read box by box; what neighbours share is kept."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geopod.errors import LayerAccessError
from geopod.errors.wording import size_text
from geopod.layers.together import ask_all
from geopod.layers.variables import MOST_CHUNK_BYTES

Place = tuple[int, ...]
"""Which chunk: its number along each axis."""
Chunk: TypeAlias = NDArray[Any] | None
"""A decoded chunk; None: it was never written."""

_MOST_KEPT = 64 << 20
"""Decoded chunks that neighbouring windows share; beside 450 MB that an agent may take."""
_KEPT_BESIDE = 512
"""What a chunk takes beside its values: one of a single value is small."""
_AT_ONCE = 256
"""Small chunks that are asked for together; large ones are as many as are kept."""
_PIECE_BYTES = 1 << 20
"""What is read at once of an array that lies in one piece."""
_MOST_SIZE = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """What an array's header says of its pixels."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    """In the byte order that it is stored in."""
    fill: Any = 0
    """What stands in chunks that were never written."""

    @property
    def chunk_bytes(self) -> int:
        """How much one chunk takes when it is decoded."""
        return math.prod(self.chunks) * self.dtype.itemsize

    def check(self) -> None:
        """Raise ValueError for what cannot be pixels, and for chunks that would not fit."""
        if self.dtype.kind not in "biufc":
            raise ValueError(f"{self.dtype} is no type of numbers")
        if len(self.chunks) != len(self.shape) or any(step < 1 for step in self.chunks):
            raise ValueError(f"chunks of {self.chunks} for a shape of {self.shape}")
        if not all(0 <= size <= _MOST_SIZE for size in self.shape):
            raise ValueError(f"shape {self.shape}: {_MOST_SIZE} per axis is the limit")
        if self.chunk_bytes > MOST_CHUNK_BYTES:
            raise ValueError(
                f"one chunk takes {size_text(self.chunk_bytes)} to decode, "
                f"{size_text(MOST_CHUNK_BYTES)} is the limit"
            )


@dataclass(slots=True, eq=False)
class ChunkedArray:
    """An array of one file or store."""

    layout: Layout
    fetch: Callable[[Sequence[Place]], list[Chunk]]
    """Returns the decoded chunks at some places."""
    is_remote: bool = False
    """Chunks are asked for together: each is a round trip."""
    kept: OrderedDict[Place, Chunk] = field(default_factory=OrderedDict)

    def read(self, box: tuple[slice, ...]) -> NDArray[Any]:
        """Return the values of a box, every slice with a start and a stop."""
        layout = self.layout
        shape = tuple(part.stop - part.start for part in box)
        values = np.full(shape, layout.fill, layout.dtype.newbyteorder("="))
        for place, chunk in self._chunks(_places(box, layout.chunks)):
            if chunk is None:
                continue
            target, source = [], []
            for number, step, part in zip(place, layout.chunks, box, strict=True):
                begin, end = number * step, min((number + 1) * step, part.stop)
                begin_here = max(begin, part.start)
                target.append(slice(begin_here - part.start, end - part.start))
                source.append(slice(begin_here - begin, end - begin))
            values[tuple(target)] = chunk[tuple(source)]
        return values

    def _chunks(self, places: Iterator[Place]) -> Iterator[tuple[Place, Chunk]]:
        at_once = min(_AT_ONCE, self.most_kept)
        while some := list(itertools.islice(places, at_once if self.is_remote else 1)):
            # What is kept may have to go before its turn comes.
            found = {place: self.kept[place] for place in some if place in self.kept}
            missing = [place for place in some if place not in found]
            if missing and self.most_kept == 1:
                self.kept.clear()  # before the next one takes as much
            if missing:
                found.update(zip(missing, self.fetch(missing), strict=True))
            for place in some:
                yield place, found[place]
                self._keep(place, found[place])

    def _keep(self, place: Place, chunk: Chunk) -> None:
        self.kept[place] = chunk
        self.kept.move_to_end(place)
        while len(self.kept) > self.most_kept:
            self.kept.popitem(last=False)

    @property
    def most_kept(self) -> int:
        """How many decoded chunks are kept."""
        return max(1, _MOST_KEPT // (self.layout.chunk_bytes + _KEPT_BESIDE))


def each(
    fetch: Callable[[Place], Chunk], *, are_remote: bool = False
) -> Callable[[Sequence[Place]], list[Chunk]]:
    """Return what fetches chunks one by one, or those elsewhere together."""
    return lambda places: ask_all(fetch, places, are_remote=are_remote and len(places) > 1)


def _places(box: tuple[slice, ...], chunks: tuple[int, ...]) -> Iterator[Place]:
    """Yield the chunks that a box touches."""
    return itertools.product(
        *(
            range(part.start // step, -(-part.stop // step))
            for part, step in zip(box, chunks, strict=True)
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrayVariable:
    """One array with its name, dimensions and attributes."""

    path: str
    """From the root of its file, without a slash before it."""
    dimensions: tuple[str, ...]
    """Paths of their coordinates, or what they are called; an empty one has no name."""
    attributes: Mapping[str, Any]
    array: ChunkedArray

    def whole(self) -> NDArray[Any]:
        """Return all values."""
        return self.array.read(tuple(slice(0, size) for size in self.array.layout.shape))


class ArrayFile(Protocol):
    """A file or store that holds arrays; none of its names leads out of it."""

    def find(self, path: str) -> ArrayVariable | None:
        """Return the array at a path; raises LayerAccessError for one that must not be read."""
        ...

    def attributes(self, path: str) -> Mapping[str, Any] | None:
        """Return what is said of the array at a path; None: it is not there."""
        ...

    def names(self) -> list[str]:
        """Return the arrays that may be rasters, as far as that is known without many reads."""
        ...

    def refused(self, words: str) -> LayerAccessError:
        """Return the error that says what is wrong with it."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


def groups_above(path: str) -> Iterator[str]:
    """Yield the group of an array and those above it, the nearest first; the root is empty."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def cut_into_pieces(shape: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    """Cut an array that lies in one piece into parts that do, too."""
    left = max(1, _PIECE_BYTES // item_bytes)
    pieces: list[int] = []
    for size in reversed(shape):
        step = max(1, min(size, left))
        pieces.append(step)
        left = left // step if step == size else 1
    return tuple(reversed(pieces))
