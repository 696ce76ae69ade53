"""How deep a geometry nests: GEOS follows it with the stack, and dies where that ends.

Source of the format: https://libgeos.org/specifications/wkb/
"""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa

MOST_LEVELS = 64
_SAFE_BYTES = 9 * 1024
"""A level takes nine bytes at least; GEOS bears 8,000 of them in 8 MiB of stack."""
_POINT, _POLYGON, _LINES = 1, 3, {2, 8}
_OF_PARTS = {4, 5, 6, 7, 9, 10, 11, 12}
"""Collections, and what is put together of arcs."""
_HAS_Z, _HAS_M, _HAS_SRID = 0x8000_0000, 0x4000_0000, 0x2000_0000


def first_deep_row(wkb: pa.Array, lengths: np.typing.NDArray[np.int64]) -> int | None:
    """Return the first row of a binary array that nests deeper than `MOST_LEVELS`."""
    for row in np.flatnonzero(lengths > _SAFE_BYTES):
        if wkb[row].is_valid and is_deep(wkb[row].as_buffer()):
            return int(row)
    return None


def is_deep(wkb: bytes | pa.Buffer) -> bool:
    """Whether a geometry nests deeper than `MOST_LEVELS`; what is no WKB does not."""
    try:
        return _is_deep(memoryview(wkb))
    except (IndexError, struct.error):
        return False


def _is_deep(data: memoryview) -> bool:
    position, left = 0, [1]
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        order = "<" if data[position] else ">"
        (kind,) = struct.unpack_from(f"{order}I", data, position + 1)
        position += 9 if kind & _HAS_SRID else 5
        shape, point_bytes = _shape_of(kind)
        if shape == _POINT:
            position += point_bytes
            continue
        (count,) = struct.unpack_from(f"{order}I", data, position)
        position += 4
        if shape in _LINES:
            position += count * point_bytes
        elif shape == _POLYGON:
            for _ in range(count):
                (points,) = struct.unpack_from(f"{order}I", data, position)
                position += 4 + points * point_bytes
        elif shape in _OF_PARTS and len(left) <= MOST_LEVELS:
            left.append(count)
        else:
            return shape in _OF_PARTS
    return False


def _shape_of(kind: int) -> tuple[int, int]:
    """Return the type without its dimensions, and the bytes of a point."""
    thousands, shape = divmod(kind & ~(_HAS_Z | _HAS_M | _HAS_SRID), 1000)
    has_z = bool(kind & _HAS_Z) or thousands in {1, 3}
    has_m = bool(kind & _HAS_M) or thousands in {2, 3}
    return shape, 8 * (2 + has_z + has_m)
