"""Tables: Arrow files as they are; GeoParquet is read here and written by `features`.

pandas' own metadata in the Arrow schema carries index, categories, time zones and column labels.
"""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from geopod.codecs.encoded import Encoded, MalformedValueError, Source


def encode_table(source: Source, meta: dict[str, Any]) -> Encoded:
    """Pass an Arrow file on after checking every buffer: a client reads it without checks."""
    table = read_table(source)
    described = {"type": one_of(meta, "DataFrame", "Series", "Table"), "rows": table.num_rows}
    if described["type"] == "Series":
        described["name"] = meta.get("name")
    return Encoded("arrow", source, described)


def decode_table(source: Source, meta: dict[str, Any]) -> Any:
    """Return the DataFrame, Series or Arrow table that `f` returned."""
    table = read_table(source)
    if meta.get("type") == "Table":
        return table
    frame = table.to_pandas()
    if meta.get("type") != "Series":
        return frame
    return frame[frame.columns[0]].rename(meta.get("name"))


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


def read_table(source: Source) -> pa.Table:
    """Return the table of an Arrow file, every buffer checked."""
    try:
        file = pa.BufferReader(source) if isinstance(source, bytes) else pa.memory_map(str(source))
        table = pa.ipc.open_file(file).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise MalformedValueError(f"no Arrow file: {error}") from error
    return table


def one_of(meta: dict[str, Any], *types: str) -> str:
    """Return the type that a value's description names, if it is one of these."""
    found = meta.get("type")
    if found not in types:
        raise MalformedValueError(f"a table of type {found!r}; known: {', '.join(types)}")
    return str(found)
