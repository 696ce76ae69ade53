"""Coordinates between reference systems, by pyproj: pure computation, imported at first use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import isfinite, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geopod.errors import LayerCRSError
from geopod.partitions.grid import Transform, intersection, union
from geopod.partitions.inputs import Box

if TYPE_CHECKING:
    from pyproj import CRS, Transformer

LONGITUDE_LATITUDE = "OGC:CRS84"
TURN_DEG = 360.0
DENSIFY_POINTS = 21
"""Points per edge when bounds are transformed: a straight edge becomes a curve."""


def is_same_crs(one: str, other: str) -> bool:
    """Say whether two texts name one CRS; equal texts need no PROJ."""
    return one == other or _crs(one).equals(_crs(other), ignore_axis_order=True)


def is_geographic(crs: str) -> bool:
    """Say whether coordinates are angles."""
    return bool(_crs(crs).is_geographic)


def wkt_of(crs: str) -> str:
    """Return a CRS as WKT2, the form that needs no database to be read."""
    return str(_crs(crs).to_wkt())


def refuse_unusable_crs(crs: str, target: str, *, path_id: str) -> None:
    """Raise `LayerCRSError` with PROJ's words if it cannot bring `crs` to `target`."""
    if crs == target:
        return
    from pyproj.exceptions import ProjError  # a plan in one CRS needs no PROJ

    try:
        _transformer(crs, target)
    except ProjError as error:
        raise LayerCRSError.unsupported(crs=crs, path_id=path_id, words=str(error)) from error


def points_in(points: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Return points (n, 2) in another CRS; those that have no place in it are infinite."""
    if len(points) == 0 or is_same_crs(source, target):
        return points
    x, y = _transformer(source, target).transform(points[:, 0], points[:, 1])
    return np.stack([x, y], axis=1)


def bounds_in(box: Box, source: str, target: str) -> Box | None:
    """Return bounds in another CRS, cut to its area of use where it must be; None: no place in it.

    In a geographic target, left > right says that the box lies across the antimeridian.
    """
    if is_same_crs(source, target):
        return box
    bounds = _transformed_turns(box, source, target)
    area = _crs(target).area_of_use
    if area is None:
        return bounds
    usable = (area.west, area.south, area.east, area.north)
    if bounds is not None and not _is_far_outside(bounds, usable, target):
        return bounds
    local = _transformed(usable, LONGITUDE_LATITUDE, source)
    shared = None if local is None else intersection(box, local)
    return None if shared is None else _transformed(shared, source, target)


def bounds_near(box: Box, source: str, target: str, *, near: Box) -> Box | None:
    """Return the part of a layer's bounds in another CRS that lies in `near`; None: nothing does.

    Only the neighbourhood is transformed: a world map has no bounds in a zone of 6 degrees. Where
    the neighbourhood lies across the antimeridian of the source, it is returned whole.
    """
    if is_same_crs(source, target):
        return intersection(box, near)
    local = _transformed(near, target, source)
    if local is None:
        return near
    if local[0] > local[2]:
        return near if local[1] <= box[3] and local[3] >= box[1] else None
    found: Box | None = None
    for part in _parts_within(local, box, source):
        back = _transformed(part, source, target)
        if back is None or back[0] > back[2]:
            return near
        found = back if found is None else union(found, back)
    return None if found is None else intersection(found, near)


def pixel_in(
    transform: Transform, source: str, target: str, *, centre: tuple[float, float]
) -> float:
    """Return the side of a square pixel in `target` that has the area of the source's pixel.

    Measured at `centre`, given in `target`; infinite or 0 where the CRS has no place for it.
    """
    if is_same_crs(source, target):
        a, b, _, d, e, _ = transform
        return sqrt(abs(a * e - b * d))
    corners = points_in(_pixel_at(transform, target, source, centre), source, target)
    (ux, uy), (vx, vy) = corners[1] - corners[0], corners[2] - corners[0]
    return float(sqrt(abs(ux * vy - uy * vx)))


def ground_pixel_m(
    transform: Transform, crs: str, *, place: tuple[float, float], place_crs: str
) -> float:
    """Return the side in metres of a square with the area of a raster's pixel at `place`."""
    corners = points_in(_pixel_at(transform, place_crs, crs, place), crs, LONGITUDE_LATITUDE)
    if not np.isfinite(corners).all():
        return float("inf")
    geod = _crs(crs).get_geod()
    if geod is None:
        return float("inf")
    (x, y), ends = corners[0], corners[1:]
    _, _, sides = geod.inv([x, x], [y, y], ends[:, 0], ends[:, 1])
    return float(sqrt(sides[0] * sides[1]))


def _pixel_at(
    transform: Transform, place_crs: str, crs: str, place: tuple[float, float]
) -> NDArray[np.float64]:
    """Return three corners of the pixel whose corner is `place`: itself, one col, one row on."""
    a, b, _, d, e, _ = transform
    x, y = points_in(np.array([place], dtype=np.float64), place_crs, crs)[0]
    return np.array([(x, y), (x + a, y + d), (x + b, y + e)])


def _transformed_turns(box: Box, source: str, target: str) -> Box | None:
    """Return bounds of a box that may be written from 0 to 360: PROJ samples past its seam."""
    half = TURN_DEG / 2
    is_usual = box[0] >= -half and box[2] <= half
    if is_usual or is_geographic(target) or not _has_turns(source):
        return _transformed(box, source, target)
    found: Box | None = None
    for part in _parts_within((-half, box[1], half, box[3]), box, source):
        bounds = _transformed(part, source, target)
        if bounds is not None:
            found = bounds if found is None else union(found, bounds)
    return found


def _parts_within(area: Box, box: Box, crs: str) -> Iterator[Box]:
    """Yield what `area` shares with a box, and with the same box a whole turn away."""
    for degrees in (0.0, -TURN_DEG, TURN_DEG) if _has_turns(crs) else (0.0,):
        part = intersection(area, (box[0] + degrees, box[1], box[2] + degrees, box[3]))
        if part is not None and (part[0] < part[2] or box[0] == box[2]):
            yield part


@cache
def _has_turns(crs: str) -> bool:
    """Say whether coordinates are degrees, where one place has the same name a turn away."""
    return is_geographic(crs) and _crs(crs).axis_info[0].unit_name == "degree"


def _transformed(box: Box, source: str, target: str) -> Box | None:
    from pyproj.exceptions import ProjError  # a plan in one CRS needs no PROJ

    try:
        found = _transformer(source, target).transform_bounds(*box, densify_pts=DENSIFY_POINTS)
    except ProjError:
        return None
    x_min, y_min, x_max, y_max = (float(value) for value in found)
    bounds = (x_min, y_min, x_max, y_max)
    return bounds if all(isfinite(value) for value in bounds) else None


def _is_far_outside(bounds: Box, area_of_use: Box, crs: str) -> bool:
    """Say whether bounds leave the area of use by more than its size: poles in Mercator do."""
    usable = _transformed(area_of_use, LONGITUDE_LATITUDE, crs)
    if usable is None:
        return False
    width, height = usable[2] - usable[0], usable[3] - usable[1]
    return (
        bounds[0] < usable[0] - width
        or bounds[1] < usable[1] - height
        or bounds[2] > usable[2] + width
        or bounds[3] > usable[3] + height
    )


@cache
def _crs(text: str) -> CRS:
    from pyproj import CRS  # a plan in one CRS needs no PROJ

    return CRS.from_user_input(text)


@cache
def _transformer(source: str, target: str) -> Transformer:
    from pyproj import Transformer  # a plan in one CRS needs no PROJ

    return Transformer.from_crs(_crs(source), _crs(target), always_xy=True)
