"""The job extent: which part of the layers the job covers, as a box in the work CRS.

Source: the project's geodata design, §3 (job extent).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geopod.errors import InvalidInputError, NoOverlapError
from geopod.partitions.crs import bounds_in, bounds_near, points_in
from geopod.partitions.frame import WorkFrame
from geopod.partitions.grid import intersection, union
from geopod.partitions.inputs import Box, RasterInput, VectorInput
from geopod.partitions.options import ExtentOptions, Point
from geopod.partitions.reference import layer_bounds

Layers = Sequence[RasterInput | VectorInput]
Ring = tuple[Point, ...]


def job_extent(frame: WorkFrame, layers: Layers, options: ExtentOptions) -> Box:
    """Return the box of the job; raises `NoOverlapError` where the layers share nothing."""
    ring = polygon_in_work(frame, options)
    extent = _extent_of_mode(frame, layers, options)
    if ring is None:
        return extent
    from shapely import Polygon, box  # only a polygon needs it

    polygon = Polygon(ring)
    x_min, y_min, x_max, y_max = polygon.bounds
    shared = intersection(extent, (x_min, y_min, x_max, y_max))
    if shared is None or not polygon.intersects(box(*shared)):
        raise no_overlap(layers[0], polygon.bounds)
    return shared


def polygon_in_work(frame: WorkFrame, options: ExtentOptions) -> Ring | None:
    """Return the job polygon's ring in the work CRS; None: the job is a box."""
    if options.polygon is None:
        return None
    ring = np.array(options.polygon, dtype=np.float64).reshape(-1, 2)
    placed = points_in(ring, options.crs or frame.crs, frame.crs)
    if len(ring) < 3 or not np.isfinite(placed).all():  # noqa: PLR2004  # corners of a triangle
        raise InvalidInputError.value(
            name="extent.polygon",
            value=options.polygon,
            why=f"must have three corners or more, with a place in {frame.crs}",
        )
    return tuple((float(x), float(y)) for x, y in placed)


def no_overlap(layer: RasterInput | VectorInput, extent: Box) -> NoOverlapError:
    """Return the error of a layer that has nothing in the job extent."""
    if isinstance(layer, RasterInput):
        rows, cols = layer.header.shape
        count, unit = rows * cols, "pixels"
    else:
        count, unit = layer.header.feature_count, "features"
    return NoOverlapError.outside(
        key=layer.layer.key,
        bounds=layer_bounds(layer) or (),
        crs=layer.header.crs,
        extent=extent,
        count=count,
        unit="pixels" if unit == "pixels" else "features",
    )


def boxes_in(boxes: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Return feature boxes (n, 4) in another CRS, from their four corners.

    Corners without a place in `target` do not count; a box without any is all NaN.
    """
    if source == target:
        return boxes
    corners = np.concatenate([boxes[:, [i, j]] for i in (0, 2) for j in (1, 3)])
    placed = points_in(corners, source, target).reshape(4, -1, 2)
    is_placed = np.isfinite(placed)
    lowest = np.where(is_placed, placed, np.inf).min(axis=0)
    highest = np.where(is_placed, placed, -np.inf).max(axis=0)
    found = np.concatenate([lowest, highest], axis=1)
    return np.where(np.isfinite(found).all(axis=1, keepdims=True), found, np.nan)


def _extent_of_mode(frame: WorkFrame, layers: Layers, options: ExtentOptions) -> Box:
    if options.mode == "bbox":
        return _bbox(frame, options)
    extent = frame.extent
    if extent is None:
        return (0.0, 0.0, 0.0, 0.0)
    for layer in layers if options.mode != "reference" else ():
        bounds = layer_bounds(layer)
        if bounds is None:
            continue
        if options.mode == "union":
            placed = bounds_in(bounds, layer.header.crs, frame.crs)
            extent = extent if placed is None else union(extent, placed)
            continue
        shared = bounds_near(bounds, layer.header.crs, frame.crs, near=extent)
        if shared is None:
            raise no_overlap(layer, extent)
        extent = shared
    return extent


def _bbox(frame: WorkFrame, options: ExtentOptions) -> Box:
    box = options.bbox
    if box is None or not (box[0] < box[2] and box[1] < box[3]):
        raise InvalidInputError.value(
            name="extent.bbox", value=box, why="must be xMin, yMin, xMax, yMax with area"
        )
    placed = bounds_in(box, options.crs or frame.crs, frame.crs)
    if placed is None or placed[0] > placed[2]:
        raise InvalidInputError.value(
            name="extent.bbox", value=box, why=f"has no place in the work CRS {frame.crs}"
        )
    return placed
