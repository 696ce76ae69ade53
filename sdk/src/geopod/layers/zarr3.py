"""Zarr 3 stores: one array at a time, by its own metadata, every chunk bounded by its own size.

What the metadata name is checked first: codecs, extensions and keys that are not known are refused,
nothing that is read unpickles, and no name leads out of the store. Consolidated metadata are not
used.
Source: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopod.errors import LayerAccessError
from geopod.layers.chunks import ArrayVariable, Chunk, ChunkedArray, Layout, Place, each
from geopod.layers.remote import RemoteFile
from geopod.layers.zarr3_codecs import Codecs, Shards, read_codecs
from geopod.layers.zarr_files import NAME, PATH, StoreFiles, beside

_KEYS = frozenset(
    {
        "zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding",
        "fill_value", "codecs", "attributes", "dimension_names", "storage_transformers",
    }
)  # fmt: skip
_TYPES = frozenset(
    {
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128",
    }
)  # fmt: skip
_FLOATS: Mapping[Any, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SLACK = 1 << 16
"""A chunk that could not be compressed is stored with a little more than it holds."""
_EMPTY = (1 << 64) - 1
_FARTHEST = 1 << 50
"""Where a chunk may lie in its shard."""
_MOST_INDEXES = 16 << 20
"""Of the indexes of shards that are kept."""
_DAMAGED = (AttributeError, KeyError, LookupError, OverflowError, TypeError, ValueError)


class Zarr3Store:
    """A store of arrays of version 3."""

    def __init__(
        self, place: Path | RemoteFile, *, path_id: str, files: StoreFiles | None = None
    ) -> None:
        self._files = files or StoreFiles(place, path_id)

    def check(self, path: str) -> None:
        """Read an array's metadata and its coordinates'; raises LayerAccessError."""
        variable = self.find(path)
        if variable is None:
            raise self.refused(f"there is no array {path!r}")
        for dimension in variable.dimensions:
            if dimension:
                self.find(dimension)

    def find(self, path: str) -> ArrayVariable | None:
        """Return the array at a path; raises LayerAccessError for one that must not be read."""
        said = self._node(path)
        if said is None or said.get("node_type") != "array":
            return None
        try:
            _check_keys(said)
            shape = tuple(int(size) for size in said["shape"])
            codecs, outer = _read_storage(said, shape)
            fill = _fill_value(said["fill_value"], codecs.chunk.dtype)
            layout = Layout(shape, codecs.chunk.shape, codecs.chunk.dtype, fill)
            layout.check()
            if math.prod(outer) * layout.dtype.itemsize > 1 << 40:
                raise ValueError(f"shards of {outer}")
            fetch = each(self._fetcher(path, said, codecs), are_remote=self._files.is_remote)
            return ArrayVariable(
                path=path,
                dimensions=_dimensions(said, path, len(shape)),
                attributes=dict(said.get("attributes") or {}),
                array=ChunkedArray(layout, fetch, self._files.is_remote),
            )
        except _DAMAGED as error:
            if isinstance(error, LayerAccessError):
                raise
            raise self.refused(f"array {path!r} cannot be read: {error}") from error

    def attributes(self, path: str) -> Mapping[str, Any] | None:
        """Return what is said of an array; None: it is not there."""
        said = self._node(path)
        if said is None:
            return None
        found = said.get("attributes")
        return found if isinstance(found, dict) else {}

    def names(self) -> list[str]:
        """Return nothing: to list a store takes as many reads as it has chunks."""
        return []

    def refused(self, words: str) -> LayerAccessError:
        """Return the error that says what is wrong with the store."""
        return self._files.refused(words)

    def close(self) -> None:
        """Nothing is kept open."""

    def _node(self, path: str) -> dict[str, Any] | None:
        if not PATH.fullmatch(path):
            raise self.refused(f"{path!r} is no name")
        return self._files.get(f"{path}/zarr.json")

    def _fetcher(
        self, path: str, said: Mapping[str, Any], codecs: Codecs
    ) -> Callable[[Place], Chunk]:
        """Return what reads one chunk."""
        key = _chunk_key(said["chunk_key_encoding"])
        most = codecs.chunk.size + _SLACK

        def fetch(place: Place) -> Chunk:
            name = f"{path}/{key(place)}"
            data = self._files.take(name, 0, most + 1)
            return None if data is None else self._decoded(codecs, data, most, name)

        if codecs.shards is None:
            return fetch
        shards = codecs.shards
        indexes: OrderedDict[Place, NDArray[np.uint64] | None] = OrderedDict()

        def fetch_inner(place: Place) -> Chunk:
            pairs = list(zip(place, shards.counts, strict=True))
            shard = tuple(one // count for one, count in pairs)
            name = f"{path}/{key(shard)}"
            if shard not in indexes:
                indexes[shard] = self._shard_index(shards, name)
                while len(indexes) * shards.index_bytes > max(_MOST_INDEXES, shards.index_bytes):
                    indexes.popitem(last=False)
            index = indexes[shard]
            if index is None:
                return None
            within = [one % count for one, count in pairs]
            start, length = map(int, index[int(np.ravel_multi_index(within, shards.counts))])
            if start == length == _EMPTY:
                return None
            if length > most or start > _FARTHEST:
                raise self.refused(f"a chunk in {name} has {length} bytes at {start}")
            data = self._files.take(name, start, length)
            return None if data is None else self._decoded(codecs, data, most, name)

        return fetch_inner

    def _decoded(self, codecs: Codecs, data: bytes, most: int, name: str) -> NDArray[Any]:
        if len(data) > most:
            raise self.refused(f"{name} has more than {most} bytes")
        try:
            return codecs.chunk.decode(data)
        except ValueError as error:
            raise self.refused(f"{name} cannot be read: {error}") from error

    def _shard_index(self, shards: Shards, name: str) -> NDArray[np.uint64] | None:
        """Return where the chunks of a shard lie; None: it was never written."""
        start = 0
        if shards.index_at_end:
            size = self._files.size(name)
            if size is None:
                return None
            start = max(0, size - shards.index_bytes)
        data = self._files.take(name, start, shards.index_bytes)
        try:
            return None if data is None else shards.decode_index(data)
        except ValueError as error:
            raise self.refused(f"{name} cannot be read: {error}") from error


def _check_keys(said: Mapping[str, Any]) -> None:
    """Raise ValueError for extensions: each may change what the rest means."""
    strange = [
        key
        for key in sorted(set(said) - _KEYS)
        if not (isinstance(said[key], dict) and said[key].get("must_understand") is False)
    ]
    if strange:
        raise ValueError(f"{', '.join(strange)} is not known")
    if said["zarr_format"] != 3:  # noqa: PLR2004  # the only version that is read here
        raise ValueError(f"it is of version {said['zarr_format']}")
    if said.get("storage_transformers"):
        raise ValueError("storage transformers are not known")


def _read_storage(
    said: Mapping[str, Any], shape: tuple[int, ...]
) -> tuple[Codecs, tuple[int, ...]]:
    """Return how an array is stored, and the shape of what lies in one file."""
    kind, grid = said["data_type"], said["chunk_grid"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"{kind!r} is no type of numbers")
    if grid["name"] != "regular":
        raise ValueError(f"its chunks are {grid['name']!r}, not regular")
    outer = tuple(int(step) for step in grid["configuration"]["chunk_shape"])
    if len(outer) != len(shape) or any(step < 1 for step in outer):
        raise ValueError(f"chunks of {outer} for a shape of {shape}")
    return read_codecs(said["codecs"], outer, np.dtype(kind)), outer


def _fill_value(said: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(said, list):
        real, imaginary = (float(_FLOATS.get(part, part)) for part in said)
        return complex(real, imaginary)
    if isinstance(said, str) and said.startswith("0x"):
        raw = bytes.fromhex(said[2:])
        return np.frombuffer(raw, dtype.newbyteorder(">"))[0].item()
    return dtype.type(_FLOATS.get(said, said)).item()


def _dimensions(said: Mapping[str, Any], path: str, count: int) -> tuple[str, ...]:
    """Return the paths of the arrays that are called like the dimensions, in the same group."""
    names = said.get("dimension_names") or [None] * count
    if len(names) != count:
        raise ValueError(f"dimensions {names} of {count} axes")
    group = path.rpartition("/")[0]
    for name in names:
        if name is not None and not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name")
    return tuple("" if name is None else beside(group, name) for name in names)


def _chunk_key(said: Mapping[str, Any]) -> Callable[[Place], str]:
    """Return what names the file of a chunk; raises ValueError for another way of naming."""
    name, about = said["name"], said.get("configuration") or {}
    usual = {"default": "/", "v2": "."}.get(name)
    separator = about.get("separator", usual)
    if usual is None or separator not in {".", "/"}:
        raise ValueError(f"its chunks are named by {name!r} with {separator!r}")
    first = ["c"] if name == "default" else []

    def key(place: Place) -> str:
        return separator.join([*first, *map(str, place)]) or "0"

    return key
