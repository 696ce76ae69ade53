"""Fixed warp grids: where a layer of another CRS, or a rotated one, is resampled to.

A warped block must be a function of (file, grid, block) alone, hence one grid per layer, the same
for every number of nodes, read in whole blocks. Source: the project's geodata design, §3 and §8.
"""

from __future__ import annotations

from math import ceil, floor, isfinite

from geopod.api.plan import WarpGrid
from geopod.partitions.crs import bounds_near, pixel_in
from geopod.partitions.grid import SAME_GRID_PX, Grid, centre, footprint
from geopod.partitions.inputs import Box, RasterInput

WARP_BLOCK_PX = 512
"""Fixed blocks of 256 or 512 px gave 0 different pixels, free windows did not (§8)."""


def warp_area(raster: RasterInput, crs: str, *, near: Box) -> Box | None:
    """Return the part of `near` (work CRS) that the raster covers; None: nothing."""
    header = raster.header
    area = footprint(header.transform, header.shape)
    return bounds_near(area, header.crs, crs, near=near)


def native_grid(raster: RasterInput, crs: str, *, area: Box, anchor: Grid) -> Grid | None:
    """Return the pixel that keeps the raster's own area, anchored on a corner of `anchor`.

    None: the raster's pixel has no size at the centre of `area`.
    """
    header = raster.header
    side = pixel_in(header.transform, header.crs, crs, centre=centre(area))
    if not isfinite(side) or side <= 0:
        return None
    return Grid(anchor.x, anchor.y, side, side, 0, 0)


def covering_grid(pixels: Grid, area: Box) -> Grid:
    """Return the grid of these pixels that covers `area` and begins at a block corner.

    Blocks are counted from the corner of `pixels`, so that they fall on the lattice of the
    reference where both have one pixel.
    """
    first_col = _block_floor((area[0] - pixels.x) / pixels.dx)
    first_row = _block_floor((pixels.y - area[3]) / pixels.dy)
    stop_col = ceil((area[2] - pixels.x) / pixels.dx - SAME_GRID_PX)
    stop_row = ceil((pixels.y - area[1]) / pixels.dy - SAME_GRID_PX)
    return pixels.resized((first_row, first_col, stop_row - first_row, stop_col - first_col))


def warp_record(grid: Grid, crs: str, resampling: str) -> WarpGrid:
    """Return the grid as it stands in the plan."""
    return WarpGrid(
        crs=crs,
        transform=grid.transform,
        shape=(grid.rows, grid.cols),
        resampling=resampling,
        block=WARP_BLOCK_PX,
    )


def _block_floor(position: float) -> int:
    return floor((position + SAME_GRID_PX) / WARP_BLOCK_PX) * WARP_BLOCK_PX
