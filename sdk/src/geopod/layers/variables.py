"""One variable of a netCDF file or Zarr store: which a uri names, and what its steps are called.

`<file>.nc#<variable>@<step>`: without a step all of them are bands, named by their time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

ZARR = ".zarr"
ZARR_2 = "Zarr"
"""GDAL's driver."""
ZARR_3 = "Zarr3"
HDF5 = "HDF5"
"""Our own names for what GDAL does not open: arrays of our own readers."""
STORES = frozenset({ZARR_2, ZARR_3})
"""Their version is that of their metadata: chunks may change without a sign."""
ARRAYS = frozenset({ZARR_3, HDF5})
MOST_CHUNK_BYTES = 1 << 30
"""A chunk is decoded whole, whatever is read of it."""
MOST_COORDINATES = 10_000_000
"""Of one dimension: they are read whole."""
MOST_BANDS = 65_536
"""As many as GDAL reads of one dataset."""
_SUFFIXES = frozenset({".nc", ".nc3", ".nc4", ".cdf", ".h5", ".hdf5", ".he5", ZARR})
_SINCE = re.compile(r"(second|minute|hour|day)s? since (.+)", re.IGNORECASE)
_CALENDARS = frozenset({"standard", "gregorian", "proleptic_gregorian", ""})
"""Those whose days are the ones we count."""
_MIDNIGHT = "T00:00:00Z"
_ONE_DIGIT = re.compile(r"(?<![\d.])\d(?!\d)")
_HALF_SECOND = timedelta(seconds=0.5)
"""An hour is no whole part of a day: a time may lie just before the second it means."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What is read of a file that holds several rasters."""

    name: str
    step: str = ""
    """Beginning of the names of the bands that are meant; empty: all."""
    crs: str | None = None
    """What its coordinates say, where GDAL does not find it by itself."""


def split_variable(href: str) -> tuple[str, Variable | None]:
    """Return a uri without the variable that it names; the uri of another format as it is."""
    address, mark, fragment = href.partition("#")
    bare = address.rstrip("/")
    path = urlsplit(bare).path if "://" in bare else bare
    if PurePosixPath(path).suffix.lower() not in _SUFFIXES:
        return href, None
    if not mark:
        return bare, None
    name, _, step = unquote(fragment).partition("@")
    return bare, Variable(name, step)


def step_names(dataset: Any) -> tuple[str, ...] | None:
    """Return what the bands of an open dataset are steps of; None: they are no steps.

    Times as ISO dates, other dimensions as `level=500`; several with commas.
    """
    tags = dataset.tags()
    bands = [_coordinates(dataset.tags(number), tags) for number in dataset.indexes]
    if not all(bands):
        return None
    columns = [_column(name, [band[name] for band in bands]) for name in bands[0]]
    return tuple(",".join(parts) for parts in zip(*columns, strict=True))


def _coordinates(
    band: Mapping[str, str], tags: Mapping[str, str]
) -> dict[str, tuple[str, str, str]]:
    """Return dimension -> (value, unit, calendar) of one band, by Zarr's tags or netCDF's."""
    found = {}
    for tag, value in band.items():
        if tag.startswith("DIM_") and tag.endswith("_VALUE"):
            name = tag[4:-6]
            found[name] = (value, band.get(f"DIM_{name}_UNIT", ""), "")
        elif tag.startswith("NETCDF_DIM_"):
            name = tag[11:]
            units, calendar = tags.get(f"{name}#units", ""), tags.get(f"{name}#calendar", "")
            found[name] = (value, units, calendar)
    return found


def _column(name: str, found: Sequence[tuple[str, str, str]]) -> list[str]:
    times = [_time(*one) for one in found]
    if not all(times):
        return [f"{name}={value}" for value, _, _ in found]
    dates = [time for time in times if time]
    are_days = all(time.endswith(_MIDNIGHT) for time in dates)
    return [time.removesuffix(_MIDNIGHT) for time in dates] if are_days else dates


def _time(value: str, unit: str, calendar: str) -> str | None:
    """Return a CF time as ISO 8601 in UTC; None for what is no time, or of another calendar.

    Source: https://cfconventions.org/cf-conventions/cf-conventions.html#time-coordinate
    """
    since = _SINCE.fullmatch(unit.strip())
    if since is None or calendar.lower() not in _CALENDARS:
        return None
    try:
        text = _ONE_DIGIT.sub(r"0\g<0>", since[2].strip().removesuffix(" UTC"))
        start = datetime.fromisoformat(text)
        start = start if start.tzinfo else start.replace(tzinfo=UTC)
        time = start + timedelta(**{f"{since[1].lower()}s": float(value)}) + _HALF_SECOND
    except (ValueError, OverflowError):
        return None
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
