"""Bytes of stored chunks: what they were, or an error; never more than was asked for."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest
from geopod.layers.filters import (
    decode_bytes,
    undo_blosc,
    undo_crc32c,
    undo_fletcher32,
    undo_gzip,
    undo_shuffle,
    undo_zlib,
    undo_zstd,
)
from numcodecs import blosc, zstd
from numcodecs.fletcher32 import Fletcher32

DATA = np.random.default_rng(7).integers(0, 9, 40_000, dtype=np.uint8).tobytes()
PACKED = {
    "zlib": (undo_zlib, zlib.compress(DATA)),
    "gzip": (undo_gzip, gzip.compress(DATA)),
    "zstd": (undo_zstd, bytes(zstd.compress(DATA, 1))),
    "blosc": (undo_blosc, bytes(blosc.compress(DATA, b"lz4", 5, 1))),
}


@pytest.mark.parametrize("name", PACKED)
def test_chunk_comes_back(name):
    undo, packed = PACKED[name]

    assert decode_bytes(packed, [undo], size=len(DATA)) == DATA


@pytest.mark.parametrize("size", [1, 200, 300, 70_000])
def test_zstd_says_its_size_in_any_number_of_bytes(size):
    data = bytes(size)

    assert decode_bytes(bytes(zstd.compress(data, 1)), [undo_zstd], size=size) == data


@pytest.mark.parametrize("name", PACKED)
def test_chunk_that_becomes_more_than_its_size_is_refused(name):
    undo, packed = PACKED[name]

    with pytest.raises(ValueError, match="a chunk"):
        decode_bytes(packed, [undo], size=100)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("part", [slice(0), slice(3), slice(50), slice(-3), slice(20, None)])
def test_damaged_chunk_is_refused(name, part):
    undo, packed = PACKED[name]

    with pytest.raises(ValueError, match="a chunk"):
        decode_bytes(packed[part], [undo], size=len(DATA))


@pytest.mark.parametrize("length", [300_001, 40_000, 39_999, 2, 4])
def test_fletcher32_is_checked(length):
    data = (8 * DATA)[:length]
    summed = Fletcher32().encode(np.frombuffer(data, np.uint8))

    assert decode_bytes(bytes(summed), [undo_fletcher32], size=length) == data
    wrong = bytes([summed[0] ^ 1]) + bytes(summed[1:])
    with pytest.raises(ValueError, match="its checksum is another"):
        decode_bytes(wrong, [undo_fletcher32], size=length)


def test_crc32c_is_checked():
    # Source of the numbers: https://datatracker.ietf.org/doc/html/rfc3720#appendix-B.4
    assert decode_bytes(bytes(32) + bytes.fromhex("aa36918a"), [undo_crc32c], size=32) == bytes(32)
    with pytest.raises(ValueError, match="its checksum is another"):
        decode_bytes(bytes(32) + bytes(4), [undo_crc32c], size=32)


@pytest.mark.parametrize("item_bytes", [1, 2, 4, 8])
def test_shuffle_is_undone(item_bytes):
    planes = np.frombuffer(DATA, np.uint8).reshape(-1, item_bytes).T
    # What is left over at the end stays where it is.
    shuffled = planes.tobytes() + DATA[: item_bytes - 1]

    found = decode_bytes(shuffled, [undo_shuffle(item_bytes)], size=len(shuffled))

    assert found == DATA + DATA[: item_bytes - 1]
