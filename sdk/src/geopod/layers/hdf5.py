"""HDF5 and netCDF-4 files, read in Python over one open file that nothing leads out of.

libhdf5 opens whatever a file names, so it is not used: `pyfive` reads the headers, and the chunks
are decoded here, each to no more than its own size.
"""

from __future__ import annotations

import math
import posixpath
import struct
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyfive

from geopod.errors import LayerAccessError
from geopod.layers.chunks import (
    ArrayVariable,
    Chunk,
    ChunkedArray,
    Layout,
    Place,
    cut_into_pieces,
    each,
)
from geopod.layers.filters import Filter, decode_bytes
from geopod.layers.hdf5_bytes import ChunkIndex, CountedFile, Span, StoredChunk, check_type
from geopod.layers.hdf5_filters import read_filters
from geopod.layers.remote import RemoteFile, unreadable

_MOST_OBJECTS = 10_000
_MOST_DEPTH = 16
_SLACK = 1 << 16
"""A chunk that could not be compressed is stored with a little more than it holds."""
_NOWHERE = (1 << 64) - 1
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2
_DATATYPE, _EXTERNAL_FILES = 3, 7
_DAMAGED = (
    AssertionError, AttributeError, EOFError, LookupError, MemoryError, NameError, OSError,
    ArithmeticError, RuntimeError, TypeError, ValueError, pyfive.core.InvalidHDF5File, struct.error,
)  # fmt: skip
"""What a reader of damaged headers raises."""


class Hdf5File:
    """An HDF5 file that is open for reading."""

    def __init__(self, place: Path | RemoteFile, *, path_id: str) -> None:
        self._place = place
        self._path_id = path_id
        self._remote = place if isinstance(place, RemoteFile) else None
        with self._told("it cannot be read"):
            opened = place.open() if isinstance(place, RemoteFile) else place.open("rb")
        try:
            with self._told("it cannot be read"):
                self._bytes = CountedFile(opened, self._remote)
                self._file = pyfive.File(self._bytes)
                self._check_start()
        except BaseException:
            opened.close()
            raise

    def _check_start(self) -> None:
        if self._file.userblock_size:
            raise self.refused("its addresses do not count from its first byte")

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()

    def refused(self, words: str) -> LayerAccessError:
        """Return the error that says what is wrong with the file."""
        return unreadable(self._place, words, path_id=self._path_id)

    def names(self) -> list[str]:
        """Return the paths of the arrays of numbers that have rows and columns."""
        with self._told("its groups cannot be read"):
            found = dict(islice(_walk(self._file), _MOST_OBJECTS))
            bounds = {_plain(one.attrs.get("bounds")) for one in found.values()}
            return sorted(
                path
                for path, one in found.items()
                if len(one.shape) > 1
                and one.dtype.kind in "biufc"
                and posixpath.basename(path) not in bounds
            )

    def attributes(self, path: str) -> Mapping[str, Any] | None:
        """Return what is said of an array; None: it is not there."""
        with self._told(f"{path!r} cannot be read"):
            found = self._dataset(path)
            return found and {name: _plain(value) for name, value in found.attrs.items()}

    def find(self, path: str) -> ArrayVariable | None:
        """Return the array at a path; raises LayerAccessError for one that must not be read."""
        with self._told(f"{path!r} cannot be read"):
            found = self._dataset(path)
            if found is None:
                return None
            layout = _layout(found)
            layout.check()
            return ArrayVariable(
                path=path,
                dimensions=self._dimensions(found, path),
                attributes={name: _plain(value) for name, value in found.attrs.items()},
                array=ChunkedArray(
                    layout, self._fetcher(found, layout, path), self._remote is not None
                ),
            )

    def _dataset(self, path: str) -> Any:
        """Return pyfive's dataset at a path; None: there is none."""
        group = self._group(posixpath.dirname(path))
        name = posixpath.basename(path)
        found = group.get_lazy_view(name) if group is not None and name in group else None
        return found if isinstance(found, pyfive.Dataset) else None

    def _group(self, path: str) -> Any:
        found: Any = self._file
        for name in filter(None, path.split("/")):
            found = found.get_lazy_view(name) if name in found else None
            if not isinstance(found, pyfive.Group):
                return None
        return found

    def _dimensions(self, found: Any, path: str) -> tuple[str, ...]:
        """Return the paths of an array's dimensions, which lie in its group or those above."""
        if _is_scale(found) and len(found.shape) == 1:
            return (path,)
        references = found.attrs.get("DIMENSION_LIST", ())
        addresses = [
            one[0].address_of_reference if one is not None and len(one) else None
            for one in references
        ]
        addresses += [None] * (len(found.shape) - len(addresses))
        paths: dict[Any, str] = {}
        above = posixpath.dirname(path)
        while True:
            # The nearest group comes first: a name that two groups share is the nearer one's.
            for name, address in self._group(above)._links.items():  # noqa: SLF001  # no other way
                paths.setdefault(address, posixpath.join(above, name))
            if not above:
                break
            above = posixpath.dirname(above)
        return tuple(paths.get(address, "") for address in addresses[: len(found.shape)])

    def _fetcher(
        self, found: Any, layout: Layout, path: str
    ) -> Callable[[Sequence[Place]], list[Chunk]]:
        """Return what reads chunks; raises LayerAccessError for bytes that are elsewhere."""
        storage = found.id
        objects = self._file._get_dataobjects(storage._meta.offset)  # noqa: SLF001  # no other way
        for message in objects.find_msg_type(_DATATYPE):
            check_type(objects.msg_data[message["offset_to_message"] :])
        if objects.find_msg_type(_EXTERNAL_FILES):
            raise self.refused(f"the data of {path!r} lie in other files (external storage)")
        if storage.layout_class == _COMPACT:
            values = np.asarray(found[()]).reshape(layout.shape)
            return each(lambda _: values)
        if storage.layout_class == _CONTIGUOUS:
            address = storage.data_offset
            return lambda places: self._pieces(layout, address, places, path)
        if storage.layout_class != _CHUNKED:
            raise self.refused(f"the data of {path!r} lie in other files (a virtual dataset)")
        filters = read_filters(storage.filter_pipeline or (), layout.dtype.itemsize)
        address = storage._index_params.chunk_address  # noqa: SLF001  # no other way
        index = ChunkIndex(self._bytes, address, layout)
        if address == _NOWHERE:
            return each(lambda _: None)
        return lambda places: self._chunks(layout, (index, filters), places, path)

    def _chunks(
        self,
        layout: Layout,
        stored_by: tuple[ChunkIndex, list[Filter]],
        places: Sequence[Place],
        path: str,
    ) -> list[Chunk]:
        """Return some chunks; where they lie is looked up before any of them is asked for."""
        index, filters = stored_by
        found = [self._find(layout, index, place, path) for place in places]
        spans = [Span(one.address, one.size) for one in found if one is not None]
        chunks: list[Chunk] = []
        with self._told(f"{path!r} cannot be read"):
            stored = self._bytes.take_all(spans)
            for place, one in zip(places, found, strict=True):
                if one is None:
                    chunks.append(None)
                    continue
                undo = [undo for bit, undo in enumerate(filters) if not one.mask >> bit & 1]
                with self._told(f"chunk {place} of {path!r} cannot be read"):
                    # No name for what is stored: it goes as soon as it is undone.
                    values = decode_bytes(next(stored), undo[::-1], size=layout.chunk_bytes)
                chunks.append(np.frombuffer(values, layout.dtype).reshape(layout.chunks))
        return chunks

    def _find(
        self, layout: Layout, index: ChunkIndex, place: Place, path: str
    ) -> StoredChunk | None:
        """Return where a chunk lies; None: it was never written."""
        with self._told(f"chunk {place} of {path!r} cannot be read"):
            stored = index.find(place)
            if stored is None or stored.address == _NOWHERE:
                return None
            if stored.size > layout.chunk_bytes + _SLACK:
                raise ValueError(f"it takes {stored.size} bytes, {layout.chunk_bytes} decoded")
            self._bytes.check(Span(stored.address, stored.size))
            return stored

    def _pieces(
        self, layout: Layout, address: int, places: Sequence[Place], path: str
    ) -> list[Chunk]:
        """Return parts of an array that lies in one piece."""
        if address == _NOWHERE:
            return [None] * len(places)
        size = layout.dtype.itemsize
        with self._told(f"{path!r} cannot be read"):
            shapes, spans = [], []
            for place in places:
                begin = [number * step for number, step in zip(place, layout.chunks, strict=True)]
                parts = zip(layout.chunks, layout.shape, begin, strict=True)
                shapes.append([min(step, most - at) for step, most, at in parts])
                first = int(np.ravel_multi_index(begin, layout.shape)) if begin else 0
                spans.append(Span(address + first * size, math.prod(shapes[-1]) * size))
            return [
                np.frombuffer(data, layout.dtype).reshape(shape)
                for data, shape in zip(self._bytes.take_all(spans), shapes, strict=True)
            ]

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Say by our own error what a reader of damaged or foreign headers raises."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except LayerAccessError:
            raise
        except _DAMAGED as error:
            frames = traceback.extract_tb(error.__traceback__)
            is_link = bool(frames) and frames[-1].name == "_decode_link_msg"
            words = "a link of it leads to another file" if is_link else str(error)
            if "layout class" in words:
                words = "it is in the form of HDF5 1.10 and later; h5repack -l, or nccopy -k nc4"
            raise self.refused(f"{what}: {words or type(error).__name__}") from error


def _layout(found: Any) -> Layout:
    dtype = np.dtype(found.dtype.str)
    chunks = found.chunks
    if found.id.layout_class == _COMPACT:
        chunks = found.shape
    elif chunks is None:
        chunks = cut_into_pieces(found.shape, dtype.itemsize)
    return Layout(tuple(found.shape), tuple(chunks), dtype, found.fillvalue)


def _walk(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield each dataset below a group with its path; links within the file are not followed."""
    stack = [("", group)]
    while stack:
        path, one = stack.pop()
        for name, target in one._links.items():  # noqa: SLF001  # no other way
            found = None if isinstance(target, str) else _view(one, name)
            where = posixpath.join(path, name)
            if isinstance(found, pyfive.Dataset):
                yield where, found
            elif isinstance(found, pyfive.Group) and where.count("/") < _MOST_DEPTH:
                stack.append((where, found))


def _view(group: Any, name: str) -> Any:
    try:
        return group.get_lazy_view(name)
    except NotImplementedError:  # a type that pyfive has not got
        return None


def _is_scale(found: Any) -> bool:
    return bool(_plain(found.attrs.get("CLASS")) == "DIMENSION_SCALE")


def _plain(value: Any) -> Any:
    """Return an attribute as text, a number, or a list of them."""
    if isinstance(value, np.ndarray):
        return _plain(value.reshape(-1)[0]) if value.size == 1 else [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace").rstrip("\0")
    return value.item() if isinstance(value, np.generic) else value
