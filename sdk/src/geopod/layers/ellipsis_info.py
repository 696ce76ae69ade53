"""What Ellipsis Drive says of a timestamp: its kind, zoom, bands and version; no pixel is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from geopod.layers.ellipsis import EllipsisPlace

TILE = 256
"""Side of a tile, in pixels."""
HALF_EARTH = 20037508.342789244
"""Half the width of Web Mercator's square, in metres; its grids begin at its upper left corner."""
_MOST_ZOOM = 26
_MOST_BANDS = 256
_WEST, _SOUTH = -180.0, -90.0
_MOST_LATITUDE = 85.0511287798066
DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_KINDS = ("raster", "vector")
_UNSTABLE = frozenset({"availability", "description", "styles"})
"""What is said of a timestamp and may change while its data do not."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(T[0-9:.]{1,20}Z?)?")
_SLACK = 1e-6
"""An edge that lies closer to a tile's, in tiles, lies on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EllipsisInfo:
    """One timestamp that may be read."""

    kind: Literal["raster", "vector"]
    timestamp: str
    date: str | None
    version: str
    zoom: int = 0
    """Of a raster: its native one."""
    bands: tuple[str, ...] = ()
    """Of a raster; the last one of several says where there are pixels."""
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class TileBox:
    """Tiles of one zoom: the first column and row, and how many there are."""

    x: int
    y: int
    columns: int
    rows: int


def read_info(place: EllipsisPlace) -> EllipsisInfo:
    """Ask what a timestamp is; without one named, the newest active one.

    Raises LayerAccessError for a path of another type, and for a timestamp that is not there,
    not active or cannot be told from what the API answers.
    """
    about, kind = _read_path(place)
    stamps = _stamps(place, about)
    if place.timestamp:
        stamp = next((one for one in stamps if one["id"].lower() == place.timestamp), None)
        if stamp is None:
            raise place.refused(f"the {kind} has no such timestamp, but {_named(stamps)}")
    else:
        active = [one for one in stamps if _why_not(one) is None]
        if not active:
            raise place.refused(f"none of the {kind}'s {len(stamps)} timestamps is active")
        stamp = max(active, key=_date)
    if why := _why_not(stamp):
        raise place.refused(f"timestamp {stamp['id']} {why}")
    try:
        return _info(kind, about, stamp)
    except (KeyError, TypeError, ValueError) as error:
        raise place.refused(f"what it says of itself cannot be read: {error}") from error


def list_timestamps(place: EllipsisPlace) -> tuple[str, list[tuple[str, str | None]]]:
    """Return a path's kind and its active timestamps with their dates, oldest first."""
    about, kind = _read_path(place)
    active = sorted((one for one in _stamps(place, about) if _why_not(one) is None), key=_date)
    return kind, [(stamp["id"], _date(stamp) or None) for stamp in active]


def read_tile_box(place: EllipsisPlace, info: EllipsisInfo) -> TileBox:
    """Ask where a raster lies; returns the whole tiles of its zoom around it."""
    geometry = place.ask_object(f"/raster/timestamp/{info.timestamp}/bounds")
    try:
        return tiles_around(geometry, info.zoom)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise place.refused(f"its bounds cannot be read: {error}") from error


def _read_path(place: EllipsisPlace) -> tuple[dict[str, Any], str]:
    path = place.ask_object("")
    kind = path.get("type")
    about = path.get(kind) if kind in _KINDS else None
    if not isinstance(about, dict):
        raise place.refused(f"it is of type {str(kind)[:40]!r}, a layer is raster or vector")
    if path.get("trashed"):
        raise place.refused("it is in the trash")
    return about, str(kind)


def _stamps(place: EllipsisPlace, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = about.get("timestamps")
    if not isinstance(found, list) or not all(
        isinstance(one, dict) and isinstance(one.get("id"), str) for one in found
    ):
        raise place.refused("it does not say which timestamps it has")
    return found


def _why_not(stamp: Mapping[str, Any]) -> str | None:
    """Return why a timestamp cannot be read."""
    status = stamp.get("status", "active")
    availability = stamp.get("availability")
    if stamp.get("trashed"):
        return "is in the trash"
    if status != "active":
        return f"is {str(status)[:40]!r}; activate it in Ellipsis Drive"
    if isinstance(availability, dict) and availability.get("blocked"):
        return f"is blocked ({str(availability.get('reason', 'no reason is given'))[:80]})"
    return None


def _info(kind: str, about: Mapping[str, Any], stamp: Mapping[str, Any]) -> EllipsisInfo:
    told = {name: value for name, value in stamp.items() if name not in _UNSTABLE}
    if kind == "vector":
        return EllipsisInfo(
            kind="vector", timestamp=stamp["id"], date=_date(stamp) or None, version=_digest(told)
        )
    zoom, bands, dtype = stamp["zoom"], about["bands"], about["format"]
    if not isinstance(zoom, int) or not 0 <= zoom <= _MOST_ZOOM:
        raise ValueError(f"zoom {zoom!r} is not 0 to {_MOST_ZOOM}")
    if dtype not in DTYPES:
        raise ValueError(f"format {dtype!r} is not one of {', '.join(DTYPES)}")
    if not isinstance(bands, list) or not 1 <= len(bands) <= _MOST_BANDS:
        raise ValueError(f"it has not 1 to {_MOST_BANDS} bands")
    return EllipsisInfo(
        kind="raster",
        timestamp=stamp["id"],
        date=_date(stamp) or None,
        version=_digest([told, bands, dtype]),
        zoom=zoom,
        bands=tuple(_band_name(band, number) for number, band in enumerate(bands, 1)),
        dtype=dtype,
    )


def _band_name(band: object, number: int) -> str:
    name = band.get("name") if isinstance(band, dict) else band
    return name if isinstance(name, str) and name else str(number)


def _digest(told: object) -> str:
    return f"sha256 {sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}"


def _date(stamp: Mapping[str, Any]) -> str:
    """Return when a timestamp's data begin, as ISO 8601; empty: it does not say."""
    date = stamp.get("date")
    begin = date.get("from") if isinstance(date, dict) else date
    text = begin.replace(" ", "T") if isinstance(begin, str) else ""
    return text if _DATE.fullmatch(text) else ""


def _named(stamps: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(stamp["id"])[:36] for stamp in stamps[:5]) or "none"


def tiles_around(geometry: Mapping[str, Any], zoom: int) -> TileBox:
    """Return the tiles around a GeoJSON geometry in degrees."""
    longitudes, latitudes = zip(*_positions(geometry["coordinates"]), strict=True)
    west, east = min(longitudes), max(longitudes)
    south, north = min(latitudes), max(latitudes)
    if not (_WEST <= west <= east <= -_WEST and _SOUTH <= south <= north <= -_SOUTH):
        raise ValueError(f"{(west, south, east, north)} are no degrees")
    side = 1 << zoom
    left, right = (side * (degrees / 360.0 + 0.5) for degrees in (west, east))
    top, bottom = (side * _mercator(degrees) for degrees in (north, south))
    x, end = _whole(left, right, side)
    y, stop = _whole(top, bottom, side)
    return TileBox(x, y, end - x, stop - y)


def _whole(low: float, high: float, side: int) -> tuple[int, int]:
    """Return the whole tiles between two edges, at least one, inside the square."""
    first = min(max(math.floor(low + _SLACK), 0), side - 1)
    return first, min(max(math.ceil(high - _SLACK), first + 1), side)


def _mercator(latitude: float) -> float:
    """Return how far down Web Mercator's square a latitude lies: 0 to 1."""
    within = math.radians(min(max(latitude, -_MOST_LATITUDE), _MOST_LATITUDE))
    return 0.5 - math.asinh(math.tan(within)) / (2.0 * math.pi)


def _positions(coordinates: Any) -> list[tuple[float, float]]:
    if coordinates and isinstance(coordinates[0], (int, float)):
        return [(float(coordinates[0]), float(coordinates[1]))]
    return [position for part in coordinates for position in _positions(part)]
