"""Which rows of a vector layer a node gets, and in what form. No I/O.

Source of the rules: the project's geodata design, §3 (feature ownership): the point on a feature's
surface, taken in the layer's CRS and carried to the work CRS, decides who owns the feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geopod.api.plan import Partition, Plan
from geopod.layers.coverings import check_boxes, check_vertices
from geopod.layers.crs import Box, query_boxes, same_crs, transform_points, transformer
from geopod.layers.features import Features, bounding_boxes, inner_points

Mode = Literal["owned", "intersects", "clip"]
Geometries = NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What one partition takes from vector layers."""

    partition: Partition
    crs: str
    """Work CRS."""
    mode: Mode
    halo: Box
    """The core with its halo, in the work CRS."""
    polygon: Any = None
    """Prepared shapely polygon of the job in the work CRS; None: the job is its extent."""
    keeps_empty: bool = False
    """This partition takes the rows without geometry."""
    keeps_layer_crs: bool = False
    """Geometry is delivered in the layer's own CRS."""

    def owns(self, points: NDArray[np.float64], crs: str) -> NDArray[np.bool_]:
        """Say which points (n, 2) in `crs` belong to the partition; NaN belongs to none."""
        placed = transform_points(points, crs, self.crs)
        x, y = placed[:, 0], placed[:, 1]
        owned: NDArray[np.bool_] = self.partition.owns(x, y)
        return owned if self.polygon is None else owned & shapely.contains_xy(self.polygon, x, y)


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The rows of one batch that a node gets; all arrays in the order of `rows`."""

    rows: NDArray[np.int64]
    """Positions in the batch."""
    geometries: Geometries | None
    """In the delivered CRS; None: the batch's own WKB as it is."""
    owned: NDArray[np.bool_]
    fraction: NDArray[np.float64] | None
    """With mode `clip`: which part of the feature's area, length or points lies in the core."""
    placed: int = 0
    """How many features with a place the partition owns, whatever it gets of them."""


def region_of(plan: Plan, partition: Partition) -> Region:
    """Return what `partition` takes from vector layers; it must have a core."""
    work = plan.work
    if work is None or partition.core is None:
        raise ValueError(f"partition {partition.index} has no core")
    x_min, y_min, x_max, y_max = partition.core
    margin_x = margin_y = 0.0
    if work.transform is not None:
        margin_x = plan.options["overlap"] * work.transform[0]
        margin_y = plan.options["overlap"] * -work.transform[4]
    polygon = None
    if work.polygon is not None:
        polygon = shapely.Polygon(work.polygon)
        shapely.prepare(polygon)
    return Region(
        partition=partition,
        crs=work.crs,
        mode=plan.options["features"],
        halo=(x_min - margin_x, y_min - margin_y, x_max + margin_x, y_max + margin_y),
        polygon=polygon,
        keeps_empty=bool(plan.options["keepEmpty"]) and partition.index == 0,
        keeps_layer_crs=plan.options["vectorCrs"] == "native",
    )


def choose_rows(features: Features, region: Region, *, crs: str) -> Chosen:
    """Return the rows of a batch (in `crs`) that the region's partition gets.

    Raises MalformedGeometryError for geometry that cannot be read, or lies out of its stored box.
    """
    if region.mode == "owned" and same_crs(crs, region.crs):
        return _choose_by_boxes(features, region, crs=crs)
    geometries = features.geometries()
    boxes = bounding_boxes(geometries)
    check_boxes(features, boxes)
    is_there = np.isfinite(boxes).all(axis=1)
    owned = region.owns(inner_points(geometries, boxes), crs)
    placed_rows = int(np.count_nonzero(owned))
    owned |= ~is_there & region.keeps_empty
    if region.mode == "owned":
        rows = np.flatnonzero(owned)
        chosen = _deliver(rows, geometries[rows], owned[rows], region, crs=crs)
        return replace(chosen, placed=placed_rows)
    candidates = np.flatnonzero(owned | is_there)
    placed, share = _place(geometries[candidates], region, crs=crs)
    if region.mode == "intersects":
        meets = shapely.intersects(placed, shapely.box(*region.halo)) | owned[candidates]
        rows = candidates[meets]
        chosen = _deliver(rows, geometries[rows], owned[rows], region, crs=crs)
    else:
        chosen = _clip(candidates, placed, owned[candidates], region, crs=crs, share=share)
    return replace(chosen, placed=placed_rows)


def count_owned(features: Features, region: Region, *, crs: str) -> int:
    """Return how many rows of a batch the region's partition owns."""
    return int(np.count_nonzero(choose_rows(features, region, crs=crs).owned))


def _choose_by_boxes(features: Features, region: Region, *, crs: str) -> Chosen:
    """Decide by boxes where these leave no doubt; by the point on the surface for other features.

    A box with two opposite corners in a core holds its whole surface there. Where boxes are stored
    only the geometries in doubt are parsed.
    """
    geometries = None
    if features.stored is not None and features.is_exact:
        boxes = features.stored
        check_vertices(features)
    else:
        geometries = features.geometries()
        boxes = bounding_boxes(geometries)
        check_boxes(features, boxes)
    owned = region.owns(boxes[:, :2], crs) & region.owns(boxes[:, 2:], crs)
    if region.polygon is not None:
        owned[:] = False
    x_min, y_min, x_max, y_max = region.partition.core or (0.0, 0.0, 0.0, 0.0)
    doubtful = np.flatnonzero(
        ~owned
        & (boxes[:, 0] <= x_max)
        & (boxes[:, 2] >= x_min)
        & (boxes[:, 1] <= y_max)
        & (boxes[:, 3] >= y_min)
    )
    if len(doubtful):
        if geometries is None:
            doubted = features.take(doubtful)
            unsure = doubted.geometries()
            check_boxes(doubted, bounding_boxes(unsure))
        else:
            unsure = geometries[doubtful]
        owned[doubtful] = region.owns(inner_points(unsure, boxes[doubtful]), crs)
    placed = int(np.count_nonzero(owned))
    if region.keeps_empty:
        owned |= ~np.isfinite(boxes).all(axis=1)
    rows = np.flatnonzero(owned)
    return Chosen(rows, None, owned[rows], None, placed)


def _deliver(
    rows: NDArray[np.int64],
    geometries: Geometries,
    owned: NDArray[np.bool_],
    region: Region,
    *,
    crs: str,
) -> Chosen:
    change = None if region.keeps_layer_crs else _between(crs, region.crs)
    return Chosen(rows, None if change is None else _project(geometries, change), owned, None)


def _place(
    geometries: Geometries, region: Region, *, crs: str
) -> tuple[Geometries, NDArray[np.float64]]:
    """Return geometries in the work CRS, and which share of each of them that is.

    Vertices without a place in the work CRS (Antarctica in a UTM zone) would make a geometry
    infinite: of such a one only the neighbourhood of the core is carried over.
    """
    change = _between(crs, region.crs)
    placed = _project(geometries, change)
    share = np.ones(len(placed))
    if change is None:
        return placed, share
    endless = np.flatnonzero(np.isinf(bounding_boxes(placed)).any(axis=1))
    boxes = query_boxes(region.halo, region.crs, crs, within=None)
    if len(endless) and boxes is not None:
        far = geometries[endless]
        far = np.where(shapely.is_valid(far), far, shapely.make_valid(far))
        near = shapely.intersection(far, shapely.union_all(shapely.box(*np.array(boxes).T)))
        placed[endless] = _project(near, change)
        with np.errstate(invalid="ignore", divide="ignore"):
            share[endless] = np.nan_to_num(_measure(near) / _measure(far), nan=1.0)
    return placed, share


def _clip(
    rows: NDArray[np.int64],
    placed: Geometries,
    owned: NDArray[np.bool_],
    region: Region,
    *,
    crs: str,
    share: NDArray[np.float64],
) -> Chosen:
    """Cut geometries (work CRS) at the core, without its halo: fractions of a feature sum to 1."""
    valid = np.where(shapely.is_valid(placed), placed, shapely.make_valid(placed))
    core = shapely.box(*(region.partition.core or (0.0, 0.0, 0.0, 0.0)))
    cut = shapely.intersection(valid, core)
    whole, part = _measure(valid), _measure(cut)
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = np.where(whole > 0.0, part / whole * share, 0.0)
    # Without a size (points, collapsed shapes) the owner has all of it; a line along the border
    # of two cores has its surface point in one of them.
    has_size = whole > 0.0
    inside = region.owns(inner_points(cut, bounding_boxes(cut)), region.crs)
    is_line = shapely.get_dimensions(valid) == 1
    kept = np.where(has_size, (fraction > 0.0) & (~is_line | inside), owned)
    fraction[~has_size & owned] = 1.0
    chosen = np.flatnonzero(kept)
    pieces = np.where(has_size[chosen], cut[chosen], valid[chosen])
    if region.keeps_layer_crs:
        pieces = _project(pieces, _between(region.crs, crs))
    return Chosen(rows[chosen], pieces, owned[chosen], fraction[chosen])


def _measure(geometries: Geometries) -> NDArray[np.float64]:
    """Return areas; lengths of lines; the number of points of points; 0 for nothing."""
    dimensions = shapely.get_dimensions(geometries)
    counts = shapely.get_num_geometries(geometries)
    points = np.where(shapely.is_empty(geometries) | (counts == 1), 0, counts)
    sizes: NDArray[np.float64] = np.select(
        [dimensions == 2, dimensions == 1, dimensions == 0],  # noqa: PLR2004  # surfaces
        [shapely.area(geometries), shapely.length(geometries), points],
        default=0.0,
    )
    return sizes


def _between(source: str, target: str) -> Transformer | None:
    return None if same_crs(source, target) else transformer(source, target)


def _project(geometries: Geometries, change: Transformer | None) -> Geometries:
    """Return geometries with x and y transformed and z kept; measures are dropped."""
    if change is None:
        return geometries
    flat = np.where(shapely.has_m(geometries), shapely.force_2d(geometries), geometries)
    is_high = shapely.has_z(flat)
    moved = flat.copy()
    for chosen, include_z in ((is_high, True), (~is_high, False)):
        if chosen.any():
            moved[chosen] = shapely.transform(flat[chosen], _moving(change), include_z=include_z)
    return moved


def _moving(change: Transformer) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    def move(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = change.transform(coordinates[:, 0], coordinates[:, 1])
        return np.column_stack([x, y, *coordinates[:, 2:].T])

    return move
