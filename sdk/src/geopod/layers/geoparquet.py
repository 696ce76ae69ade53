"""What a GeoParquet file says of itself, taken for true only where its columns bear it out.

Source: https://geoparquet.org/releases/v1.1.0/
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyproj.exceptions import CRSError

from geopod.errors import LayerCRSError
from geopod.layers.crs import Box, parse_crs

_EDGES = ("xmin", "ymin", "xmax", "ymax")
_ENDLESS = 1e300
"""Coordinates beyond it are no place, nor are NaN and infinities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoMetadata:
    """Which columns hold what."""

    geometry: str
    columns: tuple[str, ...]
    """Attributes: no geometry, no covering, no index that pandas left without a name."""
    crs: str | None
    """WKT; None: the file says that it does not know."""
    covering: tuple[str, ...] | None
    """Paths of the four bounding-box columns in the order of a box."""
    bounds: Box | None
    """Where the file says that all of its geometries lie; None: it does not say."""
    index: frozenset[str]
    """Columns that pandas takes for the index of the rows."""


def read_metadata(schema: pa.Schema, *, path_id: str) -> GeoMetadata:
    """Return what a file's schema says; raises LayerCRSError, and ValueError for what is no layer.

    AttributeError, KeyError and TypeError, too: for JSON of another shape.
    """
    geo = json.loads(schema.metadata[b"geo"])
    geometry = geo["primary_column"]
    about = geo["columns"][geometry]
    if about.get("encoding") != "WKB":
        raise ValueError(f"its geometry is encoded as {about.get('encoding')}, not WKB")
    name, times = Counter(schema.names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"it has {times} columns named {name!r}")
    if not _is_binary(schema.field(geometry).type):
        raise ValueError(f"column {geometry!r} is {schema.field(geometry).type}, not WKB")
    covering = _covering(schema, about)
    hidden = {geometry, *(column.partition(".")[0] for column in covering or ())}
    return GeoMetadata(
        geometry=geometry,
        columns=tuple(
            name
            for name in schema.names
            if name not in hidden and not name.startswith("__index_level_")
        ),
        crs=_crs_text(about, path_id=path_id),
        covering=covering,
        bounds=_bounds(about.get("bbox")),
        index=_index(schema),
    )


def _covering(schema: pa.Schema, about: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the paths of the bounding boxes; raises ValueError for columns that hold none."""
    box = about.get("covering", {}).get("bbox")
    if not box:
        return None
    for edge in _EDGES:
        column, field = box[edge]
        kind = schema.field(column).type
        place = kind.get_field_index(field) if pa.types.is_struct(kind) else -1
        if place < 0 or not pa.types.is_floating(kind.field(place).type):
            raise ValueError(
                f"its bounding boxes shall lie in {column}.{field}, which is no number"
            )
    return tuple(".".join(box[edge]) for edge in _EDGES)


def _bounds(told: Any) -> Box | None:
    """Return the bounds of x and y; None: there are none, or they run over the antimeridian."""
    if not isinstance(told, list) or len(told) not in {4, 6}:
        return None
    if not all(isinstance(edge, int | float) and abs(edge) < _ENDLESS for edge in told):
        return None
    upper = len(told) // 2
    x_min, y_min, x_max, y_max = told[0], told[1], told[upper], told[upper + 1]
    return (x_min, y_min, x_max, y_max) if x_min <= x_max else None


def _crs_text(about: Mapping[str, Any], *, path_id: str) -> str | None:
    """Return the CRS as WKT: PROJJSON in the file, longitude and latitude if it says nothing."""
    if "crs" not in about:
        return "OGC:CRS84"
    told = about["crs"]
    if told is None:
        return None
    try:
        return parse_crs(json.dumps(told)).to_wkt()
    except CRSError as error:
        raise LayerCRSError.unsupported(
            crs=json.dumps(told)[:80], path_id=path_id, words=str(error)
        ) from error


def _index(schema: pa.Schema) -> frozenset[str]:
    """Return the index columns that pandas left a note of; a range is none."""
    try:
        told = json.loads(schema.metadata.get(b"pandas", b"{}")).get("index_columns", ())
        return frozenset(name for name in told if isinstance(name, str))
    except (AttributeError, TypeError, ValueError):
        return frozenset()


def _is_binary(kind: pa.DataType) -> bool:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return any(
        is_one(kind)
        for is_one in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    )
