"""Undo what stored chunks were compressed with; no filter gives more than was asked for.

The filters of HDF5 and the codecs of Zarr 3 that layers may have. Nothing here unpickles.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_SLACK = 64
"""Checksums that lie behind a chunk."""
_CHECKSUM = 4
_ZLIB, _GZIP = 15, 31
_BLOSC_HEADER = 16
_ZSTD, _ZSTD_HEADER = b"\x28\xb5\x2f\xfd", 6
_MODULUS = 65_535
_SUMMED = 1 << 17
"""What is summed up at once, an even number: its words take four times as much."""

Bytes = bytes | memoryview
Filter = Callable[[Bytes, int], Bytes]
"""(stored bytes, the most that they may become) -> bytes before this filter."""


def decode_bytes(data: Bytes, filters: Sequence[Filter], *, size: int) -> Bytes:
    """Return the `size` bytes of a chunk; `filters` in the order they are undone.

    Raises ValueError for bytes that are damaged, or become more or less than that.
    """
    for undo in filters:
        data = undo(data, size + _SLACK)
    if len(data) != size:
        raise ValueError(f"a chunk has {len(data)} bytes, not {size}")
    return data


def undo_zlib(data: Bytes, most: int) -> Bytes:
    """Undo deflate with the header of zlib."""
    return _inflate(data, most, _ZLIB)


def undo_gzip(data: Bytes, most: int) -> Bytes:
    """Undo deflate with the header of gzip."""
    return _inflate(data, most, _GZIP)


def _inflate(data: Bytes, most: int, header: int) -> bytes:
    decoder = zlib.decompressobj(header)
    try:
        found = decoder.decompress(data, most)
    except zlib.error as error:
        raise ValueError(f"a chunk is damaged: {error}") from error
    if not decoder.eof:
        raise ValueError(f"a chunk is cut off, or has more than {most} bytes")
    return found


def undo_zstd(data: Bytes, most: int) -> Bytes:
    """Undo Zstandard."""
    from numcodecs.zstd import decompress  # type: ignore[import-untyped]  # it has no types

    size = _zstd_size(data)
    return _decode_into(decompress, data, most - _SLACK if size is None else size, most)


def undo_blosc(data: Bytes, most: int) -> Bytes:
    """Undo Blosc, whatever it compressed with."""
    from numcodecs.blosc import decompress  # type: ignore[import-untyped]  # it has no types

    # The decoder takes the head's word for how much it may read.
    if len(data) < _BLOSC_HEADER or int.from_bytes(data[12:16], "little") != len(data):
        raise ValueError("a chunk is cut off")
    return _decode_into(decompress, data, int.from_bytes(data[4:8], "little"), most)


def _decode_into(decompress: Callable[..., Any], data: Bytes, size: int, most: int) -> Bytes:
    """Return what a decoder writes into a buffer that it cannot outgrow."""
    if size > most:
        raise ValueError(f"a chunk has {size} bytes, {most} at most")
    target = np.empty(size, np.uint8)
    try:
        decompress(data, target)
    except RuntimeError as error:
        raise ValueError(f"a chunk is damaged: {error}") from error
    return target.data


def _zstd_size(data: Bytes) -> int | None:
    """Return what the head of a Zstandard frame says that it becomes; None: it does not.

    Source: https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1.1
    """
    if len(data) < _ZSTD_HEADER or data[:4] != _ZSTD:
        raise ValueError("a chunk is no Zstandard")
    flags, is_single = data[4], bool(data[4] & 0x20)
    length = (int(is_single), 2, 4, 8)[flags >> 6]
    start = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(data[start : start + length], "little")
    return None if not length else size + (256 if flags >> 6 == 1 else 0)


def undo_shuffle(item_bytes: int) -> Filter:
    """Return what undoes HDF5's byte shuffle of items of that size."""
    from numcodecs.shuffle import Shuffle  # type: ignore[import-untyped]  # it has no types

    decoder = Shuffle(item_bytes)

    def undo(data: Bytes, _: int) -> Bytes:
        end = len(data) // item_bytes * item_bytes
        found = memoryview(decoder.decode(data[:end])).cast("B")
        return found if end == len(data) else bytes(found) + data[end:]

    return undo


def undo_fletcher32(data: Bytes, _: int) -> Bytes:
    """Check and drop HDF5's checksum.

    Source: https://github.com/HDFGroup/hdf5/blob/develop/src/H5checksum.c
    """
    body, said = memoryview(data)[:-_CHECKSUM], int.from_bytes(data[-_CHECKSUM:], "little")
    above = below = 0
    for start in range(0, len(body), _SUMMED):
        part = bytes(body[start : start + _SUMMED])
        words = np.frombuffer(part + bytes(len(part) % 2), ">u2").astype(np.uint64)
        weights = np.arange(len(words), 0, -1, dtype=np.uint64)
        above = (above + len(words) * below + int((words * weights).sum())) % _MODULUS
        below = (below + int(words.sum())) % _MODULUS
    if (above, below) != (said // 65_536 % _MODULUS, said % 65_536 % _MODULUS):
        raise ValueError("a chunk is damaged: its checksum is another")
    return body


def undo_crc32c(data: Bytes, _: int) -> Bytes:
    """Check and drop a CRC-32C."""
    from google_crc32c import value

    body, said = data[:-_CHECKSUM], int.from_bytes(data[-_CHECKSUM:], "little")
    if value(body) != said:
        raise ValueError("a chunk is damaged: its checksum is another")
    return body
