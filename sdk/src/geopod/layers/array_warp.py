"""An array on another grid: each block of it is warped by GDAL from a copy of what it needs.

GDAL warps datasets, and an array is none. So the pixels around one fixed block of the target are
read, put into a dataset in memory, and warped by the same `WarpedVRT` that a file gets. What is
read is a function of the grids and the block alone, so a block is the same whoever reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterioWindow

from geopod.api.plan import RasterHeader, WarpGrid
from geopod.layers.arrays import ArrayDataset
from geopod.layers.crs import middle_longitude, transform_points, turned
from geopod.layers.grids import Window, intersect

_MARGIN = 32
"""Source pixels around a block that GDAL's kernels, and its own rounding, may take in."""
_KERNEL = 8
"""The same in pixels of the target, for a target that is coarser than the source."""
_SAMPLES = 33
"""Points along each side of a block, and as many across it: a pole may lie inside."""
_MOST_BYTES = 16 << 20
"""Of bands that are warped together."""
_MOST_SOURCE_BYTES = 64 << 20
"""Of one band below a block: a coarse grid over fine pixels would ask for any number."""

Open = Callable[[Any], tuple[Any, ...]]
"""A dataset -> views of it, the last one on the target grid."""


class WarpedArray:
    """A view of an array on a plan's grid, which is read in whole blocks."""

    def __init__(
        self, dataset: ArrayDataset, header: RasterHeader, warp: WarpGrid, warped: Open
    ) -> None:
        self._dataset = dataset
        self._header = header
        self._warp = warp
        self._warped = warped
        # Without a value for what is not there, GDAL's view has a band for it, the last one.
        has_mask = header.nodata is None
        self.count = dataset.count + has_mask
        self.dtypes = [dataset.dtypes[0]] * self.count
        self.bands_together = dataset.bands_together

    def read(self, indexes: Sequence[int], window: RasterioWindow) -> NDArray[Any]:
        """Return (band, row, column) of a whole block."""
        dtype = np.dtype(self.dtypes[0])
        shape = (len(indexes), int(window.height), int(window.width))
        block = (int(window.row_off), int(window.col_off), shape[1], shape[2])
        part = self._source_window(block)
        if part is not None and part[2] * part[3] * dtype.itemsize > _MOST_SOURCE_BYTES:
            raise self._dataset.refused(
                f"one block of the work grid takes {part[2]} x {part[3]} of its pixels; plan on a "
                "finer grid, or write the array coarser"
            )
        if part is None:
            absent = 0 if self._header.nodata is None else float(self._header.nodata)
            return np.full(shape, absent, dtype)
        pixels = np.empty(shape, dtype)
        at_once = max(1, _MOST_BYTES // (part[2] * part[3] * dtype.itemsize))
        for first in range(0, len(indexes), at_once):
            some = slice(first, first + at_once)
            pixels[some] = self._warp_bands(indexes[some], part, window)
        return pixels

    def close(self) -> None:
        """Nothing is kept open."""

    def _warp_bands(
        self, indexes: Sequence[int], part: Window, window: RasterioWindow
    ) -> NDArray[Any]:
        """Return bands of one block; a band past the last is the mask, which is every band's."""
        is_mask = indexes[0] > self._dataset.count
        values = self._dataset.read_bands((1,) if is_mask else indexes, part)
        count, height, width = values.shape
        with MemoryFile() as memory:
            with memory.open(
                driver="GTiff",
                interleave="band",
                count=count,
                height=height,
                width=width,
                dtype=values.dtype,
                crs=self._header.crs,
                transform=self._dataset.transform @ Affine.translation(part[1], part[0]),
            ) as copy:
                copy.write(values)
            with memory.open() as copy:
                views = self._warped(copy)
                try:
                    bands = [count + 1] if is_mask else list(range(1, count + 1))
                    return np.asarray(views[-1].read(bands, window=window))
                finally:
                    for view in reversed(views):
                        view.close()

    def _source_window(self, block: Window) -> Window | None:
        """Return the array's own pixels that a block takes values from; None: it takes none."""
        rows, columns = (
            np.linspace(start, start + size, _SAMPLES)
            for start, size in ((block[0], block[2]), (block[1], block[3]))
        )
        corners = np.array(np.meshgrid(columns, rows)).reshape(2, -1)
        x, y = Affine(*self._warp.transform) @ (corners[0], corners[1])
        places = transform_points(np.column_stack([x, y]), self._warp.crs, self._header.crs)
        places = places[np.isfinite(places).all(axis=1)]
        if not len(places):
            return None
        column, row = ~self._dataset.transform @ (self._turned(places[:, 0]), places[:, 1])
        top, bottom = _grown(row, block[2])
        left, right = _grown(column, block[3])
        shape = (0, 0, self._dataset.height, self._dataset.width)
        return intersect((top, left, bottom - top, right - left), shape)

    def _turned(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return longitudes as the array has them, who may count from 0 to 360."""
        left, _, right, _ = self._dataset.bounds
        middle = middle_longitude(self._header.crs, left, right)
        return x if middle is None else turned(x, middle)


def _grown(places: NDArray[np.float64], size: int) -> tuple[int, int]:
    """Return the first and last (exclusive) pixel along one axis, with what lies around them."""
    low, high = float(places.min()), float(places.max())
    margin = _MARGIN + math.ceil(_KERNEL * max(1.0, (high - low) / size))
    return math.floor(low) - margin, math.ceil(high) + margin
