"""The filters of HDF5 that layers may have: what undoes them, and what is refused by name.

Source: https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from geopod.layers.filters import (
    Filter,
    undo_blosc,
    undo_fletcher32,
    undo_shuffle,
    undo_zlib,
    undo_zstd,
)

_SHUFFLE = 2
_FILTERS: Mapping[int, Filter] = {
    1: undo_zlib,
    3: undo_fletcher32,
    32_001: undo_blosc,
    32_015: undo_zstd,
}
_NAMES = {
    4: "szip", 5: "nbit", 6: "scaleoffset", 32_000: "LZF", 32_004: "LZ4", 32_008: "bitshuffle",
    32_013: "ZFP", 32_017: "SZ", 32_026: "Blosc2",
}  # fmt: skip


def read_filters(pipeline: Iterable[Mapping[str, Any]], item_bytes: int) -> list[Filter]:
    """Return what undoes each filter of an array, in the order they were applied.

    `pipeline`: as `pyfive` reads it. Raises ValueError for one that we have not got.
    """
    filters: list[Filter] = []
    for one in pipeline:
        number = int(one["filter_id"])
        if number == _SHUFFLE:
            filters.append(undo_shuffle(item_bytes))
        elif number in _FILTERS:
            filters.append(_FILTERS[number])
        else:
            name = _NAMES.get(number, "one that is not known")
            raise ValueError(f"filter {number} is {name}; write it with deflate or zstd")
    return filters
