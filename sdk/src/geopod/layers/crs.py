"""Coordinate reference systems as text, and boxes and points carried from one to another."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geopod.errors import LayerCRSError

Box = tuple[float, float, float, float]

_DENSIFY_POINTS = 21
# Between the points that `transform_bounds` samples an edge may bulge outwards. A query may find
# too many features, never too few.
_QUERY_MARGIN = 0.01
_TURN = 360.0
_NEARLY = 1e-6
"""Degrees, 0.1 m: edges of a world map are seldom exact."""


@lru_cache(maxsize=64)
def parse_crs(text: str) -> CRS:
    """Return the CRS that `text` (authority code, WKT, PROJ string) names; raises CRSError."""
    return CRS.from_user_input(text)


def canonical_crs(text: str, *, path_id: str) -> str:
    """Return `EPSG:n` if the CRS is exactly that entry, else its WKT2.

    Raises LayerCRSError for one that PROJ does not know or cannot transform.
    """
    try:
        crs = parse_crs(text)
        # Identification of exact entries alone: a similar one would move pixels by metres.
        authority = crs.to_authority(min_confidence=100)
        if authority is not None:
            name = ":".join(authority)
            if parse_crs(name).equals(crs, ignore_axis_order=True):
                return name
        if not (crs.is_geographic or crs.is_projected or crs.is_bound):
            raise LayerCRSError.unsupported(
                crs=crs.name, path_id=path_id, words=f"a {crs.type_name} has no place on the Earth"
            )
    except CRSError as error:
        raise LayerCRSError.unsupported(crs=text, path_id=path_id, words=str(error)) from error
    return crs.to_wkt()


def same_crs(first: str, second: str) -> bool:
    """Say whether coordinates mean the same in both; axis order as all GIS software stores it."""
    return first == second or parse_crs(first).equals(parse_crs(second), ignore_axis_order=True)


@lru_cache(maxsize=64)
def crs_around(crs: str, left: float, right: float) -> str:
    """Return the CRS to warp a raster from, whose longitudes may be written from 0 to 360.

    PROJ answers with -180 to 180 unless it is told around which longitude it shall count. GDAL's
    own tools tell it; a `WarpedVRT` of rasterio does not, and would find nothing past 180.
    """
    middle = middle_longitude(crs, left, right)
    if middle is None or (left >= -_TURN / 2 - _NEARLY and right <= _TURN / 2 + _NEARLY):
        return crs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that such a string says less: it says what warping needs
        words = parse_crs(crs).to_proj4()
    return f"{words} +lon_wrap={middle} +wktext"


def middle_longitude(crs: str, left: float, right: float) -> float | None:
    """Return around which longitude a raster counts; None: it has none, or more than one turn."""
    parsed = parse_crs(crs)
    has_turns = parsed.is_geographic and parsed.axis_info[0].unit_name == "degree"
    return (left + right) / 2 if has_turns and right - left <= _TURN + 1.0 else None


def turned(x: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """Return longitudes as they are counted around another one: half a turn to either side."""
    west = middle - _TURN / 2
    return (x - west) % _TURN + west


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> Transformer:
    """Return the transformation between two CRSs, x before y on both sides."""
    return Transformer.from_crs(parse_crs(source), parse_crs(target), always_xy=True)


def transform_points(points: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Return (n, 2) points in `target`; a point that has no image there is infinite."""
    if source == target or not len(points):
        return points
    x, y = transformer(source, target).transform(points[:, 0], points[:, 1])
    return np.column_stack([x, y])


def query_boxes(box: Box, source: str, target: str, *, within: Box | None) -> list[Box] | None:
    """Return boxes in `target` that hold everything of `box` (given in `source`).

    Two boxes where it crosses the antimeridian of a geographic target, and the same a turn away
    if the data (`within`) are written from 0 to 360. None: no box can be named, read everything.
    """
    if source == target:
        return [box]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left, bottom, right, top = transformer(source, target).transform_bounds(
            *box, densify_pts=_DENSIFY_POINTS
        )
    if not all(map(math.isfinite, (left, bottom, right, top))):
        return None
    if not parse_crs(target).is_geographic:
        return [_widen((left, bottom, right, top))]
    halves = [(left, right)] if left <= right else [(left, 180.0), (-180.0, right)]
    boxes = [_widen((west, bottom, east, top)) for west, east in halves]
    return _turned(boxes, within)


def boxes_meet(first: Box, second: Box) -> bool:
    """Say whether two closed boxes share a point."""
    return (
        first[0] <= second[2]
        and second[0] <= first[2]
        and first[1] <= second[3]
        and second[1] <= first[3]
    )


def _widen(box: Box) -> Box:
    margin_x = (box[2] - box[0]) * _QUERY_MARGIN
    margin_y = (box[3] - box[1]) * _QUERY_MARGIN
    return (box[0] - margin_x, box[1] - margin_y, box[2] + margin_x, box[3] + margin_y)


def _turned(boxes: Iterable[Box], within: Box | None) -> list[Box]:
    """Return the boxes, and those a full turn away that the data reach."""
    turned = []
    for west, south, east, north in boxes:
        for turn in (0.0, _TURN, -_TURN):
            box = (west + turn, south, east + turn, north)
            if turn == 0.0 or (within is not None and boxes_meet(box, within)):
                turned.append(box)
    return turned
