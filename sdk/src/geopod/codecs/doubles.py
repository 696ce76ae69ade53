"""Which whole numbers a double holds: GDAL warps in doubles, and rasterio takes nodata as one."""

from __future__ import annotations

from typing import Any

import numpy as np

EXACT = 1 << 53
"""Up to here, on both sides of zero, doubles hold every whole number."""
_EXACT_BYTES = 4


def may_round(dtype: np.dtype[Any]) -> bool:
    """Say whether a type has whole numbers beyond `EXACT`."""
    return dtype.kind in "iu" and dtype.itemsize > _EXACT_BYTES
