"""Where the pixels of a raster file lie, and how the files of a mosaic lie to one another."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.control import GroundControlPoint
from rasterio.errors import TransformWarning
from rasterio.transform import RPCTransformer, from_gcps

from geopod.api.plan import corner_bounds
from geopod.errors import UnsupportedGridError
from geopod.layers.crs import Box
from geopod.layers.grids import Coefficients, Window

_SAME_LATTICE = 1e-3
"""Files whose pixels lie less than this part of a pixel apart are on one grid (rounded headers)."""

_FEWEST_POINTS = 2
_THIN = 1e-6
"""Control points whose cloud is thinner, as a part of its length, lie in a row."""

_EVEN = 1e-3
"""Steps that differ by less than this part are one step (rounded coordinates)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGrid:
    """Where the pixels of one file lie."""

    transform: Coefficients
    """North up, unless the grid is rotated or mirrored."""
    shape: tuple[int, int]
    south_up: bool = False
    """The file's rows run the other way."""
    is_rectified: bool = True
    """False: control points or RPCs place the pixels, `transform` is only fitted to them."""

    @property
    def is_north_up(self) -> bool:
        """Whether pixels can be delivered as they are."""
        a, b, _, d, e, _ = self.transform
        return self.is_rectified and a > 0.0 > e and b == d == 0.0


def read_grid(dataset: Any, *, key: str) -> FileGrid:
    """Return a file's grid; raises UnsupportedGridError if the file does not say where it lies."""
    shape = (dataset.height, dataset.width)
    _check_spacing(dataset, key=key)
    points, _ = dataset.gcps
    if not dataset.transform.is_identity:
        a, b, c, d, e, f = _with_area(dataset.transform[:6], key=key)
        if b == d == 0.0 and a > 0.0 and e > 0.0:
            flipped = (a, 0.0, c, 0.0, -e, f + shape[0] * e)
            return FileGrid(transform=flipped, shape=shape, south_up=True)
        return FileGrid(transform=(a, b, c, d, e, f), shape=shape)
    if not points and dataset.rpcs is not None:
        points = _corner_points(dataset, key=key)
    if not points:
        raise UnsupportedGridError.no_transform(key=key)
    if not _fit_a_plane(points):
        raise UnsupportedGridError.no_plane(key=key, points=len(points))
    fitted = _with_area(from_gcps(points)[:6], key=key)
    return FileGrid(transform=fitted, shape=shape, is_rectified=False)


def _with_area(transform: Coefficients, *, key: str) -> Coefficients:
    """Return a transform that gives pixels an area; raises UnsupportedGridError for another."""
    a, b, _, d, e, _ = transform
    if not all(map(math.isfinite, transform)) or not a * e - b * d:
        raise UnsupportedGridError.no_area(key=key, transform=transform)
    return transform


def _fit_a_plane(points: Sequence[GroundControlPoint]) -> bool:
    """Say whether control points fix a transform: of others `from_gcps` returns stray memory."""
    places = np.array([(point.col, point.row, point.x, point.y) for point in points], np.float64)
    if len(places) < _FEWEST_POINTS or not np.isfinite(places).all():
        return False
    spread = np.ptp(places, axis=0)
    if not (spread > 0.0).all():
        return False
    if len(places) == _FEWEST_POINTS:
        return True  # two corners, of a grid that is north up
    units = (places - places.mean(axis=0)) / spread
    thinnest = [np.linalg.svd(side, compute_uv=False)[1] for side in (units[:, :2], units[:, 2:])]
    return bool(min(thinnest) > _THIN)


def _check_spacing(dataset: Any, *, key: str) -> None:
    """Raise UnsupportedGridError for rows or columns that are not evenly apart.

    GDAL gives such a file the transform of its mean spacing, and keeps the positions beside it.
    """
    if steps := getattr(dataset, "uneven_steps", None):
        raise UnsupportedGridError.irregular(key=key, smallest=steps[0], largest=steps[1])
    if "GEOLOCATION2" not in dataset.tag_namespaces():
        return
    for values in dataset.tags(ns="GEOLOCATION2").values():
        if not values.startswith("{"):
            continue
        places = np.array([float(value) for value in values.strip("{}").split(",")])
        steps = np.abs(np.diff(places))
        if len(steps) and np.ptp(steps) > _EVEN * steps.mean():
            raise UnsupportedGridError.irregular(
                key=key, smallest=float(steps.min()), largest=float(steps.max())
            )


def join_grids(grids: Sequence[FileGrid], *, key: str) -> FileGrid:
    """Return the grid that holds all files of a mosaic, on the lattice of the first.

    Raises UnsupportedGridError if the files do not share a lattice: resampling them is a decision
    that the layer's author takes.
    """
    first = grids[0]
    if len(grids) == 1:
        return first
    for number, grid in enumerate(grids):
        _check_lattice(first, grid, number=number, key=key)
    a, _, c, _, e, f = first.transform
    edges = [footprint(grid) for grid in grids]
    left = round((min(edge[0] for edge in edges) - c) / a)
    right = round((max(edge[2] for edge in edges) - c) / a)
    top = round((max(edge[3] for edge in edges) - f) / e)
    bottom = round((min(edge[1] for edge in edges) - f) / e)
    return FileGrid(
        transform=(a, 0.0, c + left * a, 0.0, e, f + top * e),
        shape=(bottom - top, right - left),
        south_up=first.south_up,
    )


def place_grid(grid: FileGrid, transform: Coefficients) -> Window:
    """Return the window that a north-up file takes on the lattice of `transform`."""
    a, _, c, _, e, f = transform
    row, column = round((grid.transform[5] - f) / e), round((grid.transform[2] - c) / a)
    return (row, column, *grid.shape)


def footprint(grid: FileGrid) -> Box:
    """Return the bounds of a grid's corners."""
    return corner_bounds(grid.transform, grid.shape)


def _check_lattice(first: FileGrid, other: FileGrid, *, number: int, key: str) -> None:
    if not other.is_north_up:
        raise UnsupportedGridError(
            f"{key}: file {number} of a mosaic is rotated or placed by control points.",
            fixes=("warp it to a north-up grid", "one layer each"),
            details={"reason": "UnsupportedGrid", "key": key, "file": number},
        )
    a, _, c, _, e, f = first.transform
    columns = (other.transform[2] - c) / a
    rows = (other.transform[5] - f) / e
    drift = max(
        abs(other.transform[0] / a - 1.0) * other.shape[1],
        abs(other.transform[4] / e - 1.0) * other.shape[0],
        abs(columns - round(columns)),
        abs(rows - round(rows)),
    )
    if drift > _SAME_LATTICE:
        raise UnsupportedGridError(
            f"{key}: file {number} lies {drift:.3g} px off the grid of file 0 "
            f"(pixels {other.transform[0]:.6g} and {a:.6g}).",
            fixes=("resample the files to one grid", "one layer each"),
            details={"reason": "UnsupportedGrid", "key": key, "file": number, "drift": drift},
        )


def _corner_points(dataset: Any, *, key: str) -> list[GroundControlPoint]:
    """Return where the RPCs put the raster's corners."""
    rows, columns = [0, 0, dataset.height, dataset.height], [0, dataset.width, 0, dataset.width]
    try:
        with warnings.catch_warnings(), RPCTransformer(dataset.rpcs) as rpcs:
            warnings.simplefilter("ignore", TransformWarning)  # of corners that are nowhere
            x, y = rpcs.xy(rows, columns, offset="ul")
    except CPLE_BaseError as error:
        raise UnsupportedGridError.no_transform(key=key) from error
    return [
        GroundControlPoint(row=place[0], col=place[1], x=place[2], y=place[3])
        for place in zip(rows, columns, x, y, strict=True)
    ]
