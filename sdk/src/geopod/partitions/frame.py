"""The work grid: in which CRS and pixels the job is cut, and how far the reference reaches.

Source: the project's geodata design, §3 (work grid).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log2, pi

from geopod.errors import InvalidInputError, LayerCRSError
from geopod.partitions.crs import bounds_in, is_same_crs, pixel_in
from geopod.partitions.grid import Grid, centre, is_north_up
from geopod.partitions.inputs import Box, RasterInput, VectorInput
from geopod.partitions.options import GridOptions, PartitionOptions
from geopod.partitions.reference import SAME_SIZE, choose_reference, layer_bounds

WORLD_EDGE = pi * 6_378_137.0
"""Half the width of the Web Mercator square: corner of the zoom grid."""
ZOOM_TILE_PX = 256
MOST_PIXELS_IN_ONE = 1024
"""Reference pixels along the side of an asked one: a node's part has 16 of these on a side or more
(`lattice.SMALLEST_UNIT_PX`), and reads 1 GiB of each float32 band for that many already."""


@dataclass(frozen=True, slots=True)
class WorkFrame:
    """The grid of the job before its extent is known."""

    crs: str
    pixels: Grid | None
    """Origin and pixel of the lattice; rows and columns are the reference's. None: no raster."""
    reference: RasterInput | None
    is_native: bool
    """The pixels are the reference layer's own."""
    extent: Box | None
    """The reference's extent in `crs`, raster or vector; None: nothing has bounds."""


def choose_frame(
    rasters: Sequence[RasterInput], vectors: Sequence[VectorInput], options: PartitionOptions
) -> WorkFrame:
    """Return CRS, pixels and reference extent of a job.

    Raises `LayerCRSError` for a layer that has no place in the work CRS, `InvalidInputError` for
    pixels that are too large for the reference, and what `choose_reference` raises.
    """
    reference, crs = choose_reference(rasters, vectors, options)
    if reference is None:
        return _vector_frame(crs, vectors, options.grid)
    if _is_plain(reference, crs) and not _has_own_pixels(options.grid):
        pixels = Grid.of(reference.header.transform, reference.header.shape)
        return WorkFrame(crs, pixels, reference, is_native=True, extent=pixels.bounds)
    extent = _bounds_in_work(reference, crs)
    assert extent is not None  # noqa: S101  # a raster has bounds
    pixels = _made_pixels(reference, crs, extent, options.grid or GridOptions())
    return WorkFrame(crs, pixels, reference, is_native=False, extent=_snapped(extent, pixels))


def _vector_frame(crs: str, vectors: Sequence[VectorInput], grid: GridOptions | None) -> WorkFrame:
    extents = (_bounds_in_work(vector, crs) for vector in vectors)
    extent = next((extent for extent in extents if extent is not None), None)
    pixels = None
    if grid is not None and grid.resolution is not None:
        x, y = grid.anchor or (0.0, 0.0)
        pixels = Grid(x, y, grid.resolution, grid.resolution, 0, 0)
    return WorkFrame(crs, pixels, None, is_native=False, extent=extent)


def _made_pixels(reference: RasterInput, crs: str, extent: Box, options: GridOptions) -> Grid:
    """Return pixels that no layer has: of the asked size, of the zoom grid, or like the native."""
    header = reference.header
    native = pixel_in(header.transform, header.crs, crs, centre=centre(extent))
    (x, y), size = options.anchor or (0.0, 0.0), options.resolution
    if size is not None:
        _check_resolution(size, reference, native=native, extent=extent)
    if options.preset == "ellipsis":
        x, y = -WORLD_EDGE, WORLD_EDGE
        size = zoom_pixel(native)
    return Grid(x, y, size or native, size or native, 0, 0)


def _check_resolution(
    resolution: float, reference: RasterInput, *, native: float, extent: Box
) -> None:
    """Raise `InvalidInputError` for a pixel that takes in too much of the reference, or all of it.

    Nodes get whole pixels of the job, and so windows far larger than the layer: its size in metres,
    given where the work CRS counts degrees, would be one.
    """
    width, height = extent[2] - extent[0], extent[3] - extent[1]
    largest = min(MOST_PIXELS_IN_ONE * native, max(width, height))
    if not resolution > largest * (1 + SAME_SIZE):
        return
    side = resolution / native
    raise InvalidInputError.value(
        name="grid.resolution",
        value=resolution,
        why=f"takes {side:.6g} x {side:.6g} pixels of {reference.layer.key} into one; it has "
        f"{height / native:.6g} x {width / native:.6g}, and {MOST_PIXELS_IN_ONE} on a side are "
        "the most",
        fix=f"at most {largest:.7g}, in units of the work CRS",
    )


def zoom_pixel(native: float) -> float:
    """Return the pixel of the coarsest Web Mercator zoom that is not coarser than `native`."""
    whole = 2 * WORLD_EDGE / ZOOM_TILE_PX
    return whole / 2.0 ** max(0, ceil(log2(whole / native) - SAME_SIZE))


def _snapped(extent: Box, pixels: Grid) -> Box:
    """Return an extent widened to whole pixels."""
    left, right = (extent[0] - pixels.x) / pixels.dx, (extent[2] - pixels.x) / pixels.dx
    top, bottom = (pixels.y - extent[3]) / pixels.dy, (pixels.y - extent[1]) / pixels.dy
    return (
        pixels.x + floor(left + SAME_SIZE) * pixels.dx,
        pixels.y - ceil(bottom - SAME_SIZE) * pixels.dy,
        pixels.x + ceil(right - SAME_SIZE) * pixels.dx,
        pixels.y - floor(top + SAME_SIZE) * pixels.dy,
    )


def _bounds_in_work(layer: RasterInput | VectorInput, crs: str) -> Box | None:
    """Return a layer's bounds in the work CRS; None: no feature has a geometry.

    Raises `LayerCRSError` where they have no place in it or lie across its antimeridian.
    """
    box = layer_bounds(layer)
    if box is None:
        return None
    bounds = bounds_in(box, layer.header.crs, crs)
    if bounds is None:
        words = f"{layer.layer.key} with bounds {box} has no place in it"
        raise LayerCRSError.unsupported(crs=crs, path_id=layer.layer.path_id, words=words)
    if bounds[0] > bounds[2]:
        words = f"{layer.layer.key} lies across its antimeridian, take a projected CRS"
        raise LayerCRSError.unsupported(crs=crs, path_id=layer.layer.path_id, words=words)
    return bounds


def _is_plain(raster: RasterInput, crs: str) -> bool:
    """Say whether the raster's own pixels can be the work grid."""
    return (
        is_same_crs(raster.header.crs, crs)
        and raster.is_rectified
        and is_north_up(raster.header.transform)
    )


def _has_own_pixels(grid: GridOptions | None) -> bool:
    return grid is not None and (grid.resolution is not None or grid.preset is not None)
