"""The codecs of Zarr 3 that layers may have: what undoes them, and what is refused by name.

Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/index.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geopod.layers.filters import (
    Filter,
    decode_bytes,
    undo_blosc,
    undo_crc32c,
    undo_gzip,
    undo_zstd,
)

SHARDING = "sharding_indexed"
_TRANSPOSE = "transpose"
_BYTES = "bytes"
_FILTERS: Mapping[str, Filter] = {
    "blosc": undo_blosc,
    "crc32c": undo_crc32c,
    "gzip": undo_gzip,
    "zstd": undo_zstd,
}
_ENDIAN: Mapping[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
_MOST_INDEX = 64 << 20
_ENTRY_BYTES = 16
"""Of a shard's index: where an inner chunk begins, and how long it is."""
_CHECKSUM = 4


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """What one chunk of bytes becomes: an array of `shape`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """In the byte order that it is stored in."""
    order: tuple[int, ...]
    """Of the axes, as they are stored."""
    filters: tuple[Filter, ...]

    @property
    def size(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.shape) * self.dtype.itemsize

    def decode(self, data: bytes) -> NDArray[Any]:
        """Return the chunk; raises ValueError for damaged bytes."""
        values = decode_bytes(data, self.filters, size=self.size)
        stored = np.frombuffer(values, self.dtype).reshape(
            [self.shape[axis] for axis in self.order]
        )
        return stored.transpose(np.argsort(self.order))


@dataclass(frozen=True, slots=True)
class Shards:
    """How chunks lie together in one file."""

    counts: tuple[int, ...]
    """Inner chunks of a shard along each axis."""
    index_at_end: bool
    index_filters: tuple[Filter, ...]

    @property
    def index_bytes(self) -> int:
        """How long the index of a shard is."""
        return math.prod(self.counts) * _ENTRY_BYTES + _CHECKSUM * len(self.index_filters)

    def decode_index(self, data: bytes) -> NDArray[np.uint64]:
        """Return (chunk, 2): where each inner chunk begins and how long it is."""
        size = math.prod(self.counts) * _ENTRY_BYTES
        return np.frombuffer(decode_bytes(data, self.index_filters, size=size), "<u8").reshape(
            -1, 2
        )


@dataclass(frozen=True, slots=True)
class Codecs:
    """How an array's chunks are stored."""

    chunk: ChunkCodec
    shards: Shards | None


def read_codecs(
    said: Sequence[Mapping[str, Any]], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Codecs:
    """Return how chunks of `shape` are stored; raises ValueError for codecs that are not known."""
    names = [_name(one) for one in said]
    if SHARDING not in names:
        return Codecs(_chunk_codec(said, shape, dtype), None)
    if names != [SHARDING]:
        raise ValueError(f"its codecs {', '.join(names)}: shards go alone")
    about = dict(said[0]["configuration"])
    inner = tuple(int(step) for step in about["chunk_shape"])
    if len(inner) != len(shape) or any(
        step < 1 or size % step for size, step in zip(shape, inner, strict=True)
    ):
        raise ValueError(f"chunks of {inner} in shards of {shape}")
    if SHARDING in map(_name, about["codecs"]):
        raise ValueError("its shards hold shards")
    place = about.get("index_location", "end")
    index = _chunk_codec(about["index_codecs"], (1,), np.dtype("<u8"))
    if place not in {"start", "end"} or not set(index.filters) <= {undo_crc32c}:
        raise ValueError("the index of its shards is of a kind that is not known")
    shards = Shards(
        tuple(size // step for size, step in zip(shape, inner, strict=True)),
        place == "end",
        index.filters,
    )
    if shards.index_bytes > _MOST_INDEX or index.dtype.byteorder == ">":
        raise ValueError("the index of its shards is too large, or big-endian")
    return Codecs(_chunk_codec(about["codecs"], inner, dtype), shards)


def _chunk_codec(
    said: Sequence[Mapping[str, Any]], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> ChunkCodec:
    order: tuple[int, ...] = tuple(range(len(shape)))
    filters: list[Filter] = []
    are_bytes = False
    for one in said:
        name, about = _name(one), dict(one.get("configuration") or {})
        if name == _TRANSPOSE and not are_bytes:
            turned = tuple(int(axis) for axis in about["order"])
            if sorted(turned) != list(range(len(shape))):
                raise ValueError(f"its axes are stored as {turned}")
            order = tuple(order[axis] for axis in turned)
        elif name == _BYTES and not are_bytes:
            are_bytes = True
            dtype = dtype.newbyteorder(_ENDIAN[about.get("endian", "little")])
        elif name in _FILTERS and are_bytes:
            filters.insert(0, _FILTERS[name])
        else:
            known = ", ".join([_BYTES, _TRANSPOSE, SHARDING, *_FILTERS])
            raise ValueError(f"codec {name!r} is not one that layers may have ({known})")
    if not are_bytes:
        raise ValueError("its codecs make no bytes")
    return ChunkCodec(shape, dtype, order, tuple(filters))


def _name(said: Mapping[str, Any]) -> str:
    return str(said["name"])
