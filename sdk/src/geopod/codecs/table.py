"""Tables: Arrow files as they are; with geometry GeoParquet 1.1 with its bbox covering.

pandas' own metadata in the Arrow schema carries index, categories, time zones and column labels.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from geopod.codecs.encoded import Encoded, MalformedValueError, Source, new_file, settled

GEOPARQUET = "1.1.0"
COVERING = "bbox"
"""The column that geopandas writes for the covering; a user's column of that name stays."""


def encode_table(source: Source, meta: dict[str, Any]) -> Encoded:
    """Pass an Arrow file on after checking every buffer: a client reads it without checks."""
    table = _read(source)
    described = {"type": _one_of(meta, "DataFrame", "Series", "Table"), "rows": table.num_rows}
    if described["type"] == "Series":
        described["name"] = meta.get("name")
    return Encoded("arrow", source, described)


def decode_table(source: Source, meta: dict[str, Any]) -> Any:
    """Return the DataFrame, Series or Arrow table that `f` returned."""
    table = _read(source)
    if meta.get("type") == "Table":
        return table
    frame = table.to_pandas()
    if meta.get("type") != "Series":
        return frame
    return frame[frame.columns[0]].rename(meta.get("name"))


def encode_features(source: Source, meta: dict[str, Any], *, workdir: Path) -> Encoded:
    """Write features (geometry as WKB) as GeoParquet.

    `meta`: `type`, `geometry` (the active column), `geometries` (CRS by column; else `crs`).
    """
    import geopandas as gpd  # DataFrames are encoded without it
    import shapely  # DataFrames are encoded without it

    frame = _read(source).to_pandas()
    active = str(meta["geometry"])
    try:
        columns = {
            name: gpd.GeoSeries.from_wkb(frame[name].to_numpy(), index=frame.index, crs=crs)
            for name, crs in (meta.get("geometries") or {active: meta.get("crs")}).items()
        }
        features = gpd.GeoDataFrame(frame.assign(**columns), geometry=active)
    except (KeyError, TypeError, ValueError, RuntimeError, shapely.errors.ShapelyError) as error:
        raise MalformedValueError(f"no features: {error}") from error
    path = new_file(workdir, ".parquet")
    features.to_parquet(
        path,
        compression="zstd",
        schema_version=GEOPARQUET,
        write_covering_bbox=COVERING not in features.columns,
    )
    described = {
        "type": _one_of(meta, "GeoDataFrame", "GeoSeries"),
        "rows": len(features),
        "geometry": active,
        "crs": features.crs and features.crs.to_string(),
        "bounds": _bounds(features.total_bounds),
    }
    if described["type"] == "GeoSeries":
        described["name"] = meta.get("name")
    return Encoded("geoparquet", settled(path), described)


def decode_features(source: Source, meta: dict[str, Any]) -> Any:
    """Return the GeoDataFrame or GeoSeries that `f` returned."""
    import geopandas as gpd  # DataFrames are decoded without it

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        features = gpd.read_parquet(file)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise MalformedValueError(f"no GeoParquet: {error}") from error
    return (
        features.geometry.rename(meta.get("name")) if meta.get("type") == "GeoSeries" else features
    )


def _read(source: Source) -> pa.Table:
    try:
        file = pa.BufferReader(source) if isinstance(source, bytes) else pa.memory_map(str(source))
        table = pa.ipc.open_file(file).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise MalformedValueError(f"no Arrow file: {error}") from error
    return table


def _one_of(meta: dict[str, Any], *types: str) -> str:
    found = meta.get("type")
    if found not in types:
        raise MalformedValueError(f"a table of type {found!r}; known: {', '.join(types)}")
    return str(found)


def _bounds(bounds: Any) -> list[float] | None:
    """Return [xMin, yMin, xMax, yMax]; None if no row has a place."""
    numbers = [float(number) for number in bounds]
    return None if any(number != number for number in numbers) else numbers  # noqa: PLR0124  # NaN
