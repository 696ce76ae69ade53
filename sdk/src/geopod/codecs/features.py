"""Features as GeoParquet 1.1 with its bbox covering, written by Arrow alone.

Source: the GeoParquet 1.1.0 specification. No pandas and no geopandas: nodes encode the results
of every run, and both take a second to load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from geopod.codecs.encoded import Encoded, MalformedValueError, Source, new_file, settled
from geopod.codecs.table import one_of, read_table

GEOPARQUET = "1.1.0"
COVERING = "bbox"
"""The column that holds the covering; a user's column of that name stays, without a covering."""
EDGES = ("xmin", "ymin", "xmax", "ymax")
TYPES = (
    *("Point", "LineString", "LineString", "Polygon"),
    *("MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection"),
)
"""By shapely's type id; a ring is a line in WKB."""


@dataclass(frozen=True, slots=True)
class _Geometry:
    """One geometry column: shapes, its CRS, and what GeoParquet says of both."""

    shapes: NDArray[np.object_]
    crs: CRS | None

    @property
    def bounds(self) -> list[float] | None:
        """[xMin, yMin, xMax, yMax]; None if no row has a place."""
        if not len(self.shapes):
            return None
        numbers = [float(number) for number in shapely.total_bounds(self.shapes)]
        return None if any(np.isnan(numbers)) else numbers

    def describe(self) -> dict[str, Any]:
        """Return the column's metadata."""
        shapes = self.shapes[~shapely.is_missing(self.shapes)]
        raised = shapely.has_z(shapes)
        kinds = zip(shapely.get_type_id(shapes).tolist(), raised.tolist(), strict=True)
        crs = None if self.crs is None else _without_member_ids(self.crs.to_json_dict())
        types = sorted({TYPES[kind] + (" Z" if is_raised else "") for kind, is_raised in kinds})
        described = {"encoding": "WKB", "crs": crs, "geometry_types": types}
        return described if self.bounds is None else {**described, "bbox": self.bounds}

    def covering(self) -> pa.StructArray:
        """Return each row's box; a row without a place has none."""
        boxes = shapely.bounds(self.shapes)
        columns = [pa.array(column, mask=np.isnan(column)) for column in boxes.T]
        return pa.StructArray.from_arrays(columns, names=list(EDGES))


def encode_features(source: Source, meta: dict[str, Any], *, workdir: Path) -> Encoded:
    """Write features (geometry as WKB) as GeoParquet.

    `meta`: `type`, `geometry` (the active column), `geometries` (CRS by column; else `crs`).
    """
    table = read_table(source)
    active = str(meta["geometry"])
    wanted: Mapping[str, Any] = meta.get("geometries") or {active: meta.get("crs")}
    try:
        geometries = {name: _read(table, name, crs) for name, crs in wanted.items()}
        main = geometries[active]
        table = _written(table, geometries, active)
    except (KeyError, TypeError, ValueError, CRSError, shapely.errors.ShapelyError) as error:
        raise MalformedValueError(f"no features: {error}") from error
    path = new_file(workdir, ".parquet")
    pq.write_table(table, path, compression="zstd")
    described = {
        "type": one_of(meta, "GeoDataFrame", "GeoSeries"),
        "rows": table.num_rows,
        "geometry": active,
        "crs": main.crs and main.crs.to_string(),
        "bounds": main.bounds,
    }
    if described["type"] == "GeoSeries":
        described["name"] = meta.get("name")
    return Encoded("geoparquet", settled(path), described)


def _read(table: pa.Table, name: str, crs: Any) -> _Geometry:
    wkb = table.column(name).to_numpy()
    return _Geometry(shapely.from_wkb(wkb), None if crs is None else CRS.from_user_input(crs))


def _written(table: pa.Table, geometries: Mapping[str, _Geometry], active: str) -> pa.Table:
    """Return the table as GeoParquet says it: ISO WKB, covering, metadata."""
    columns: dict[str, dict[str, Any]] = {}
    for name, geometry in geometries.items():
        wkb = shapely.to_wkb(geometry.shapes, flavor="iso")
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(wkb, pa.binary()))
        columns[name] = geometry.describe()
    if COVERING not in table.column_names:
        table = table.append_column(COVERING, geometries[active].covering())
        columns[active]["covering"] = {"bbox": {edge: [COVERING, edge] for edge in EDGES}}
    geo = {"version": GEOPARQUET, "primary_column": active, "columns": columns}
    kept = table.schema.metadata or {}
    return table.replace_schema_metadata({**kept, b"geo": json.dumps(geo).encode()})


def _without_member_ids(crs: dict[str, Any]) -> dict[str, Any]:
    """Return a PROJJSON that PROJ before 9.1 reads: opengeospatial/geoparquet#110."""
    for key, value in crs.items():
        if isinstance(value, dict):
            _without_member_ids(value)
        elif key == "members" and isinstance(value, list):
            for member in value:
                member.pop("id", None)
    return crs
