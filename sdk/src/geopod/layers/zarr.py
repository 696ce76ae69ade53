"""What a Zarr store says of one array, checked before GDAL opens it.

GDAL follows what the metadata names: a dimension, a coordinate or a separator of chunks that is a
path would lead it out of the store. So only plain names pass, each dimension has its coordinates
in the store, and consolidated metadata are not used: what was checked is what GDAL reads.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geopod.errors import LayerAccessError
from geopod.errors.wording import size_text
from geopod.layers.remote import RemoteFile
from geopod.layers.variables import ZARR, Variable
from geopod.layers.web import SourceRefusedError

MOST_CHUNK_BYTES = 1 << 30
"""A chunk is decoded whole, whatever is read of it."""
_MOST_COORDINATES = 10_000_000
_MOST_METADATA = 1 << 20
_MISSING = 404
_STORE = (".zgroup", ".zarray", "zarr.json")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. -]*[A-Za-z0-9_-])?")
_PATH = re.compile(rf"{_NAME.pattern}(?:/{_NAME.pattern})*")
_DTYPE = re.compile(r"[<>|][biufc]([0-9]{1,2})")
_KEYS = frozenset(
    {
        "zarr_format",
        "shape",
        "chunks",
        "dtype",
        "compressor",
        "fill_value",
        "filters",
        "order",
        "dimension_separator",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Array:
    """The metadata of one array."""

    shape: tuple[int, ...]
    dimensions: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Store:
    """A store that is being read, and the metadata files that were."""

    place: Path | RemoteFile
    path_id: str
    read: list[str] = field(default_factory=list)

    def get(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object of the store; None: it is not there."""
        data = _read(self.place, name)
        if data is None:
            return None
        self.read.append(name)
        if len(data) > _MOST_METADATA:
            raise self.refused(f"{name} has more than {size_text(_MOST_METADATA)}")
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.refused(f"{name} is not JSON ({error})") from error
        if not isinstance(found, dict):
            raise self.refused(f"{name} is not a JSON object")
        return found

    def refused(self, words: str) -> LayerAccessError:
        """Return the error that says what is wrong with the store."""
        href = self.place.href if isinstance(self.place, RemoteFile) else str(self.place)
        return LayerAccessError.unreachable(
            path_id=self.path_id, words=f"{href}: {words}", details={"href": href}
        )


def is_store(place: Path | RemoteFile) -> bool:
    """Say whether a place is a Zarr store; one elsewhere says so by its name."""
    if isinstance(place, RemoteFile):
        return place.name.lower().endswith(ZARR)
    return place.is_dir() and any((place / name).is_file() for name in _STORE)


def read_variable(
    place: Path | RemoteFile, wanted: Variable | None, *, path_id: str
) -> tuple[Variable, tuple[str, ...]]:
    """Return the variable as its store describes it, and the names of the metadata that did.

    Raises LayerAccessError for one that is not there, and for one that leads out of the store.
    """
    store = _Store(place, path_id)
    if wanted is None or not _PATH.fullmatch(wanted.name):
        arrays = _arrays(place)
        there = f" ({', '.join(arrays[:16])})" if arrays else ""
        raise store.refused(f"name one of its arrays{there}: {place.name}#<array>")
    _check_groups(store, wanted.name)
    array = _read_array(store, wanted.name)
    if array is None:
        raise store.refused(f"there is no array {wanted.name!r}")
    group = wanted.name.rpartition("/")[0]
    crs = _grid_mapping(store, group, array)
    units = [_check_coordinates(store, group, array, axis) for axis in range(len(array.shape))]
    if crs is None and units[-2:] == ["degrees_north", "degrees_east"]:
        crs = "EPSG:4326"
    return replace(wanted, crs=crs), tuple(store.read)


def _check_groups(store: _Store, name: str) -> None:
    """Raise LayerAccessError unless the groups down to an array are of version 2 and nothing else.

    GDAL reads the codecs of version 3 from 3.11 on; the wheels of Python 3.11 have 3.10.
    """
    parts = name.split("/")
    for depth in range(len(parts)):
        group = "/".join(parts[:depth])
        if store.get(_beside(group, "zarr.json")) is not None:
            raise store.refused("it is Zarr 3; write it with zarr_format=2")
        found = store.get(_beside(group, ".zgroup"))
        if found != {"zarr_format": 2} or store.get(_beside(group, ".zarray")) is not None:
            raise store.refused(f"{group or 'it'} is not a plain group of Zarr 2")


def _read(place: Path | RemoteFile, name: str) -> bytes | None:
    if not isinstance(place, RemoteFile):
        try:
            with (place / name).open("rb") as file:
                return file.read(_MOST_METADATA + 1)
        except OSError:
            return None
    inside = member(place, name)
    try:
        return inside.probe(_MOST_METADATA + 1).body
    except LayerAccessError as error:
        cause = error.__cause__
        if isinstance(cause, SourceRefusedError) and cause.status == _MISSING:
            return None
        raise


def member(place: RemoteFile, name: str) -> RemoteFile:
    """Return an object of a store."""
    return replace(place, href=f"{place.href}/{name}", key=f"{place.key}/{name}")


def _arrays(place: Path | RemoteFile) -> list[str]:
    """Return the arrays of a store of this machine that may be rasters."""
    if isinstance(place, RemoteFile):
        return []
    return sorted(path.parent.name for path in place.glob("*/.zarray"))


def _read_array(store: _Store, name: str) -> _Array | None:
    """Return an array's metadata, every part of them one that GDAL takes for what it is."""
    said = store.get(f"{name}/.zarray")
    if said is None:
        return None
    attributes = store.get(f"{name}/.zattrs") or {}
    try:
        _check_keys(said)
        _check_separator(said.get("dimension_separator", "."))
        _check_chunk(said["chunks"], said["dtype"])
        array = _Array(
            shape=tuple(map(int, said["shape"])),
            dimensions=tuple(attributes["_ARRAY_DIMENSIONS"]),
            attributes=attributes,
        )
        _check_dimensions(array)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise store.refused(f"array {name!r} cannot be read: {error}") from error
    return array


def _check_keys(said: Mapping[str, Any]) -> None:
    if strange := sorted(set(said) - _KEYS):
        raise ValueError(f"{', '.join(strange)} is not known")


def _check_separator(separator: object) -> None:
    if separator not in {".", "/"}:
        raise ValueError(f"the separator {separator!r} of its chunks is neither '.' nor '/'")


def _check_chunk(shape: list[int], dtype: str) -> None:
    number = _DTYPE.fullmatch(dtype)
    if number is None:
        raise ValueError(f"{dtype!r} is no type of numbers")
    size = math.prod(map(int, shape)) * int(number[1])
    if not 0 < size <= MOST_CHUNK_BYTES:
        limit = size_text(MOST_CHUNK_BYTES)
        raise ValueError(f"one chunk takes {size_text(size)} to decode, {limit} is the limit")


def _check_dimensions(array: _Array) -> None:
    """Raise ValueError for a dimension without a name of its own, and for names that are paths."""
    sizes = len(array.shape), len(array.dimensions), len(set(array.dimensions))
    if len(set(sizes)) != 1 or not array.shape:
        raise ValueError(f"dimensions {array.dimensions} of shape {array.shape}")
    others = f"{array.attributes.get('coordinates', '')} {array.attributes.get('grid_mapping', '')}"
    for name in (*array.dimensions, *others.split()):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name")


def _check_coordinates(store: _Store, group: str, array: _Array, axis: int) -> str:
    """Return the unit of a dimension, whose coordinates lie beside the array."""
    name = array.dimensions[axis]
    coordinates = _read_array(store, _beside(group, name))
    if coordinates is None:
        # GDAL would look for them in the folders above.
        raise store.refused(f"dimension {name!r} has no coordinates; add them: assign_coords")
    size = array.shape[axis]
    if coordinates.shape != (size,) or coordinates.dimensions != (name,):
        raise store.refused(f"dimension {name!r} of {size} has other coordinates")
    if size > _MOST_COORDINATES:
        raise store.refused(f"dimension {name!r} has {size} steps, {_MOST_COORDINATES} at most")
    return str(coordinates.attributes.get("units", ""))


def _grid_mapping(store: _Store, group: str, array: _Array) -> str | None:
    """Return the CRS of the variable that the array's `grid_mapping` names."""
    name = array.attributes.get("grid_mapping")
    if not name:
        return None
    found = store.get(f"{_beside(group, str(name))}/.zattrs") or {}
    text = found.get("crs_wkt") or found.get("spatial_ref")
    return text if isinstance(text, str) else None


def _beside(group: str, name: str) -> str:
    return f"{group}/{name}" if group else name
