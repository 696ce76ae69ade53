"""The cost lattice: what each cell of the work grid costs a node, in integer bytes.

Source: the project's geodata design, §3 (lattice, cost, balance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geopod.partitions.grid import Grid, own_axis
from geopod.partitions.placement import PlacedRaster
from geopod.partitions.scene import Scene

CELLS_PER_NODE = 8
"""With fewer cells to choose from the parts come out uneven."""
SMALLEST_UNIT_PX = 16
MOST_CELLS = 1 << 22
"""A header may claim any size, and each cell takes some 40 bytes of the planner: cells grow."""
LARGEST_BLOCK_PX = 1024
PLAIN_UNIT_PX = 256
"""For strips, and for blocks too large to balance with."""
UNWRITTEN_SHARE = 64
"""A block that was never written is known from the header alone: 1/64 of its bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Cells between lines in the work CRS; row 0 at the top."""

    unit: int
    """Cell side in work pixels; 0: cells of a job without pixels."""
    x: NDArray[np.float64]
    """(cols + 1,) ascending"""
    y: NDArray[np.float64]
    """(rows + 1,) descending"""
    cost: NDArray[np.int64]
    """(rows, cols)"""
    features: NDArray[np.int64]
    """(rows, cols): points owned, all vector layers"""
    is_job: NDArray[np.bool_]
    """(rows, cols): False where the job polygon does not reach."""


def build_lattice(scene: Scene, nodes: int) -> Lattice:
    """Return the cells of a job and what each costs, fine enough for `nodes` parts."""
    unit, x, y = _lines(scene, nodes)
    features = np.zeros((len(y) - 1, len(x) - 1), np.int64)
    for vector in scene.vectors:
        features += count_points(vector.points[vector.inside], x, y)
    is_job = _job_cells(scene, x, y)
    cost = np.where(is_job, _cost(scene, x, y, features), 0)
    return Lattice(unit, x, y, cost, features, is_job)


def first_unit(block: tuple[int, int], cols: int) -> int:
    """Return the cell side that fits the reference's blocks, before any halving.

    A block as wide as the raster and not square is a strip.
    """
    height, width = block
    is_strip = width >= cols and height != width
    if is_strip or max(height, width) > LARGEST_BLOCK_PX or max(height, width) < 1:
        return PLAIN_UNIT_PX
    return max(height, width)


def count_points(
    points: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return how many points each cell owns; all points lie in the lattice.

    A point on a line belongs to the cell on its right and below it, on the last line to the last
    cell.
    """
    rows, cols = cells_of(points, x, y)
    shape = (len(y) - 1, len(x) - 1)
    counts = np.bincount(rows * shape[1] + cols, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.int64)


def cells_of(
    points: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row and column of the cell that owns each point."""
    cols = np.searchsorted(x[1:-1], points[:, 0], side="right")
    rows = np.searchsorted(-y[1:-1], -points[:, 1], side="right")
    return rows.astype(np.int64), cols.astype(np.int64)


def written_pixels(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    written: NDArray[np.bool_],
    block: tuple[int, int],
) -> NDArray[np.int64]:
    """Return the pixels of written blocks in each cell, (len(rows) - 1, len(cols) - 1).

    `rows` and `cols` are pixel positions of the cell lines; the sum over any rectangle is exact,
    whether or not cells and blocks fit.
    """
    table = written.astype(np.int64)
    for positions, size in ((rows, block[0]), (cols, block[1])):
        padded = np.concatenate([table, np.zeros_like(table[:1])])
        before = np.concatenate([np.zeros_like(table[:1]), table.cumsum(axis=0)]) * size
        index, rest = np.divmod(positions, size)
        table = np.diff(before[index] + rest[:, None] * padded[index], axis=0).T
    return table


def _lines(scene: Scene, nodes: int) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    if scene.work is None or scene.lattice_origin is None:
        return _even_lines(scene, nodes)
    work, origin = scene.work, scene.lattice_origin
    unit = first_unit(scene.block, origin.cols)
    width, height = scene.extent[2] - scene.extent[0], scene.extent[3] - scene.extent[1]
    while (width / origin.dx / unit) * (height / work.dy / unit) > MOST_CELLS:
        unit *= 2
    while True:
        x = _axis_lines(scene.extent[0], scene.extent[2], origin.x, origin.dx, unit)
        y = -_axis_lines(-scene.extent[3], -scene.extent[1], -origin.y, work.dy, unit)
        if unit <= SMALLEST_UNIT_PX or (len(x) - 1) * (len(y) - 1) >= CELLS_PER_NODE * nodes:
            return unit, x, y
        unit //= 2


def _axis_lines(
    low: float, high: float, origin: float, step: float, unit: int
) -> NDArray[np.float64]:
    """Return the extent's edges and, between them, every `unit`-th line of the grid."""
    first, stop = own_axis([low, high], origin, step)
    positions = np.arange(first // unit + 1, -(-stop // unit)) * unit
    return np.concatenate([[low], origin + positions * step, [high]])


def _even_lines(scene: Scene, nodes: int) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Return lines that split an extent without pixels evenly."""
    side = 1
    while side * side < CELLS_PER_NODE * nodes:
        side *= 2
    x_min, y_min, x_max, y_max = scene.extent
    return 0, np.linspace(x_min, x_max, side + 1), np.linspace(y_max, y_min, side + 1)


def _cost(
    scene: Scene, x: NDArray[np.float64], y: NDArray[np.float64], features: NDArray[np.int64]
) -> NDArray[np.int64]:
    options = scene.options
    if options.balance == "features" and features.any():
        return features
    if options.balance in ("area", "features"):
        return _pixels_between(scene.work, x, y) if scene.work else np.ones_like(features)
    cost = np.zeros_like(features)
    for raster in scene.rasters:
        cost += _raster_bytes(raster, x, y)
    if options.balance == "mixed":
        cost += features * (options.feature_weight * scene.reference_bytes)
    return cost


def _pixels_between(
    grid: Grid, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.int64]:
    cols = own_axis(x, grid.x, grid.dx)
    rows = own_axis(-y, -grid.y, grid.dy)
    pixels: NDArray[np.int64] = np.outer(np.diff(rows), np.diff(cols))
    return pixels


def _raster_bytes(
    raster: PlacedRaster, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.int64]:
    grid = raster.grid
    cols = np.clip(own_axis(x, grid.x, grid.dx), 0, grid.cols)
    rows = np.clip(own_axis(-y, -grid.y, grid.dy), 0, grid.rows)
    pixels: NDArray[np.int64] = np.outer(np.diff(rows), np.diff(cols))
    if raster.written is None:
        return pixels * raster.pixel_bytes
    full = written_pixels(rows, cols, raster.written, raster.block)
    return (full * UNWRITTEN_SHARE + (pixels - full)) * raster.pixel_bytes // UNWRITTEN_SHARE


def _job_cells(scene: Scene, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    shape = (len(y) - 1, len(x) - 1)
    if scene.polygon is None:
        return np.ones(shape, np.bool_)
    from shapely import Polygon, box, intersects, prepare  # a polygon only

    polygon = Polygon(scene.polygon)
    prepare(polygon)
    left, top = np.meshgrid(x[:-1], y[:-1])
    right, bottom = np.meshgrid(x[1:], y[1:])
    found: NDArray[np.bool_] = intersects(polygon, box(left, bottom, right, top))
    return found
