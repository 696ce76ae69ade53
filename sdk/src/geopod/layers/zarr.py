"""What a Zarr store says of one array, checked before GDAL opens it.

GDAL follows what the metadata names: a dimension, a coordinate or a separator of chunks that is a
path would lead it out of the store. So only plain names pass, each dimension has its coordinates
in the store, and consolidated metadata are not used: what was checked is what GDAL reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from geopod.errors.wording import size_text
from geopod.layers.remote import RemoteFile
from geopod.layers.variables import (
    MOST_CHUNK_BYTES,
    MOST_COORDINATES,
    ZARR,
    ZARR_2,
    ZARR_3,
    Variable,
)
from geopod.layers.zarr_files import NAME, PATH, StoreFiles, beside

_STORE = (".zgroup", ".zarray", "zarr.json")
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


def is_store(place: Path | RemoteFile) -> bool:
    """Say whether a place is a Zarr store; one elsewhere says so by its name."""
    if isinstance(place, RemoteFile):
        return place.name.lower().endswith(ZARR)
    return place.is_dir() and any((place / name).is_file() for name in _STORE)


class Described(NamedTuple):
    """An array as its store describes it."""

    driver: str
    variable: Variable
    version: str
    """Of the metadata that say so."""


def read_variable(place: Path | RemoteFile, wanted: Variable | None, *, path_id: str) -> Described:
    """Return the variable as its store describes it, whichever version that is.

    Raises LayerAccessError for one that is not there, and for one that leads out of the store.
    """
    store = StoreFiles(place, path_id)
    if wanted is None or not PATH.fullmatch(wanted.name):
        arrays = _arrays(place)
        there = f" ({', '.join(arrays[:16])})" if arrays else ""
        raise store.refused(f"name one of its arrays{there}: {place.name}#<array>")
    if store.get("zarr.json") is None:
        return Described(ZARR_2, _read_variable_2(store, wanted), store.version)
    from geopod.layers.zarr3 import Zarr3Store  # loads numpy

    Zarr3Store(place, path_id=path_id, files=store).check(wanted.name)
    return Described(ZARR_3, wanted, store.version)


def _read_variable_2(store: StoreFiles, wanted: Variable) -> Variable:
    _check_groups(store, wanted.name)
    array = _read_array(store, wanted.name)
    if array is None:
        raise store.refused(f"there is no array {wanted.name!r}")
    group = wanted.name.rpartition("/")[0]
    crs = _grid_mapping(store, group, array)
    units = [_check_coordinates(store, group, array, axis) for axis in range(len(array.shape))]
    if crs is None and units[-2:] == ["degrees_north", "degrees_east"]:
        crs = "EPSG:4326"
    return replace(wanted, crs=crs)


def _check_groups(store: StoreFiles, name: str) -> None:
    """Raise LayerAccessError unless the groups down to an array are of version 2 alone."""
    parts = name.split("/")
    for depth in range(len(parts)):
        group = "/".join(parts[:depth])
        others = [store.get(beside(group, other)) for other in (".zarray", "zarr.json")]
        if store.get(beside(group, ".zgroup")) != {"zarr_format": 2} or any(others):
            raise store.refused(f"{group or 'it'} is not a plain group of Zarr 2")


def _arrays(place: Path | RemoteFile) -> list[str]:
    """Return the arrays of a store of this machine that may be rasters."""
    if isinstance(place, RemoteFile):
        return []
    found = [*place.glob("*/.zarray"), *place.glob("*/zarr.json")]
    return sorted({path.parent.name for path in found})


def _read_array(store: StoreFiles, name: str) -> _Array | None:
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
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name")


def _check_coordinates(store: StoreFiles, group: str, array: _Array, axis: int) -> str:
    """Return the unit of a dimension, whose coordinates lie beside the array."""
    name = array.dimensions[axis]
    coordinates = _read_array(store, beside(group, name))
    if coordinates is None:
        # GDAL would look for them in the folders above.
        raise store.refused(f"dimension {name!r} has no coordinates; add them: assign_coords")
    size = array.shape[axis]
    if coordinates.shape != (size,) or coordinates.dimensions != (name,):
        raise store.refused(f"dimension {name!r} of {size} has other coordinates")
    if size > MOST_COORDINATES:
        raise store.refused(f"dimension {name!r} has {size} steps, {MOST_COORDINATES} at most")
    return str(coordinates.attributes.get("units", ""))


def _grid_mapping(store: StoreFiles, group: str, array: _Array) -> str | None:
    """Return the CRS of the variable that the array's `grid_mapping` names."""
    name = array.attributes.get("grid_mapping")
    if not name:
        return None
    found = store.get(f"{beside(group, str(name))}/.zattrs") or {}
    text = found.get("crs_wkt") or found.get("spatial_ref")
    return text if isinstance(text, str) else None
