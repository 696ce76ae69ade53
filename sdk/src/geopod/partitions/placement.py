"""Each layer on the grid and in the CRS that nodes get it in.

Source: the project's geodata design, §3 (pixel ownership, other-CRS layers, timestamps of a path).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import msgspec
import numpy as np
from numpy.typing import NDArray

from geopod.api.plan import LayerPlan, RasterHeader
from geopod.errors import UnsupportedGridError
from geopod.partitions.crs import is_same_crs, points_in
from geopod.partitions.extent import Ring, boxes_in
from geopod.partitions.frame import WorkFrame
from geopod.partitions.grid import SAME_GRID_PX, Grid, is_north_up
from geopod.partitions.inputs import Box, RasterInput, VectorInput
from geopod.partitions.options import PartitionOptions
from geopod.partitions.warp import (
    WARP_BLOCK_PX,
    covering_grid,
    native_grid,
    warp_area,
    warp_record,
)


@dataclass(frozen=True, slots=True, eq=False)
class PlacedRaster:
    """A raster on the grid that nodes get it in."""

    layer: LayerPlan
    """With its warp grid, if it has one."""
    grid: Grid
    halo: tuple[int, int]
    """Rows, columns."""
    pixel_bytes: int
    """All delivered bands of one pixel."""
    block: tuple[int, int]
    """(rows, cols) of what is read at once."""
    written: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True, eq=False)
class PlacedVector:
    """A vector layer in the work CRS."""

    source: VectorInput
    points: NDArray[np.float64]
    """(features, 2)"""
    boxes: NDArray[np.float64]
    """(features, 4); NaN: the box has no place in the work CRS."""
    inside: NDArray[np.bool_]
    """(features,): which points the job owns."""


class RasterPlacer:
    """Gives each raster its delivered grid; timestamps of one path share the first one's."""

    def __init__(self, frame: WorkFrame, work: Grid, reach: Box, options: PartitionOptions) -> None:
        self._frame = frame
        self._work = work
        self._reach = reach
        self._options = options
        self._homes: dict[str, Grid] = {}

    def place(self, rasters: Sequence[RasterInput]) -> tuple[PlacedRaster, ...]:
        """Return the rasters in the order given; a path's first timestamp decides its grid."""
        return tuple(self._place(raster) for raster in rasters)

    def _place(self, raster: RasterInput) -> PlacedRaster:
        header = raster.header
        wanted = self._wanted_pixels(raster)
        own = self._own_grid(raster)
        if own is not None and (wanted is None or own.is_on(wanted)):
            grid, warp, block = own, None, header.block_shape
        else:
            grid = self._warp_grid(raster, wanted)
            warp = warp_record(grid, self._frame.crs, raster.resampling)
            block = (WARP_BLOCK_PX, WARP_BLOCK_PX)
            _check_nodata(raster)
        self._homes.setdefault(raster.layer.path_id, grid)
        return PlacedRaster(
            layer=msgspec.structs.replace(
                raster.layer, raster=msgspec.structs.replace(header, warp=warp)
            ),
            grid=grid,
            halo=self._halo(grid),
            pixel_bytes=pixel_bytes(header, self._options),
            block=block,
            written=raster.written if warp is None else None,
        )

    def _wanted_pixels(self, raster: RasterInput) -> Grid | None:
        """Return the pixels that a raster must be on; None: its own, or of its own size."""
        home = self._homes.get(raster.layer.path_id)
        if home is not None:
            return home
        if self._options.align:
            return self._work
        if raster is not self._frame.reference:
            return None
        has_preset = self._options.grid is not None and self._options.grid.preset is not None
        return self._work if has_preset or self._own_grid(raster) is None else None

    def _own_grid(self, raster: RasterInput) -> Grid | None:
        header = raster.header
        is_plain = raster.is_rectified and is_north_up(header.transform)
        if is_plain and is_same_crs(header.crs, self._frame.crs):
            return Grid.of(header.transform, header.shape)
        return None

    def _warp_grid(self, raster: RasterInput, wanted: Grid | None) -> Grid:
        nothing = self._work.resized((0, 0, 0, 0))
        area = warp_area(raster, self._frame.crs, near=self._reach)
        if area is None:
            return nothing
        pixels = wanted or native_grid(raster, self._frame.crs, area=area, anchor=self._work)
        return nothing if pixels is None else covering_grid(pixels, area)

    def _halo(self, grid: Grid) -> tuple[int, int]:
        overlap = self._options.overlap
        return (
            ceil(overlap * self._work.dy / grid.dy - SAME_GRID_PX),
            ceil(overlap * self._work.dx / grid.dx - SAME_GRID_PX),
        )


def _check_nodata(raster: RasterInput) -> None:
    """Raise UnsupportedGridError for a nodata that warping, which is in doubles, would round."""
    nodata, key = raster.header.nodata, raster.layer.key
    if not isinstance(nodata, int) or int(float(nodata)) == nodata:
        return
    raise UnsupportedGridError(
        f"{key}: nodata {nodata} of {raster.header.dtype} cannot be warped: GDAL counts in "
        f"doubles there, and the nearest is {int(float(nodata))}.",
        fixes=(
            f"partitioning={{'grid': {{'like': {key!r}}}}} leaves it on its own grid",
            "write it with a nodata between -2**53 and 2**53",
        ),
        details={"reason": "UnsupportedGrid", "key": key, "nodata": nodata},
    )


def pixel_bytes(header: RasterHeader, options: PartitionOptions) -> int:
    """Return the bytes of one delivered pixel, all bands; the preset adds a validity band."""
    has_validity_band = options.grid is not None and options.grid.preset == "ellipsis"
    return (len(header.band_indexes) + has_validity_band) * np.dtype(header.dtype).itemsize


def place_vector(vector: VectorInput, crs: str, extent: Box, polygon: Ring | None) -> PlacedVector:
    """Return a vector layer in the work CRS; `polygon`: ring of the job, None: all of `extent`."""
    points = points_in(vector.planning_points, vector.header.crs, crs)
    x, y = points[:, 0], points[:, 1]
    x_min, y_min, x_max, y_max = extent
    inside = (x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max)
    if polygon is not None:
        from shapely import Polygon, contains_xy  # only a polygon needs it

        inside &= contains_xy(Polygon(polygon), x, y)
    boxes = boxes_in(vector.boxes, vector.header.crs, crs)
    return PlacedVector(vector, points, boxes, inside)
