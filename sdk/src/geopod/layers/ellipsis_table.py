"""Features as a service listed them → GeoParquet with typed columns, in bounded memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geopod.codecs.features import EDGES, GEOPARQUET

RAW = pa.schema([("id", pa.string()), ("geometry", pa.binary()), ("properties", pa.string())])
"""What is listed: properties as JSON."""
_ROWS = 16_384
_read_properties = msgspec.json.Decoder(dict[str, Any]).decode
_LONG = range(-(2**63), 2**63)
_TYPES: dict[frozenset[str], pa.DataType] = {
    frozenset(): pa.string(),
    frozenset({"bool"}): pa.bool_(),
    frozenset({"int"}): pa.int64(),
    frozenset({"float"}): pa.float64(),
    frozenset({"int", "float"}): pa.float64(),
    frozenset({"str"}): pa.string(),
}
"""Kinds of a column's values → its type; of others: text, what is none of it as JSON."""


def write_listing(rows: Path, target: Path) -> None:
    """Write the features in `rows` (Arrow, `RAW`) as GeoParquet, by id and each id once."""
    with pa.memory_map(str(rows)) as source:
        table = pa.ipc.open_file(source).read_all()
        order = _order(table.column("id"))
        types = _column_types(table.column("properties"))
        schema = _schema(types)
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for start in range(0, len(order), _ROWS):
                part = table.take(pa.array(order[start : start + _ROWS]))
                writer.write_table(_typed(part, types, schema))


def _order(ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the rows by id, each id once; as they were listed if any has none."""
    if ids.null_count or not len(ids):
        return np.arange(len(ids))
    order: NDArray[np.int64] = pc.sort_indices(ids).to_numpy().astype(np.int64)
    is_first = np.ones(len(order), np.bool_)
    for start in range(1, len(order), _ROWS):
        here = ids.take(pa.array(order[start : start + _ROWS]))
        before = ids.take(pa.array(order[start - 1 : start - 1 + len(here)]))
        is_first[start : start + len(here)] = pc.not_equal(here, before).to_numpy()
    return order[is_first]


def _column_types(properties: pa.ChunkedArray) -> dict[str, pa.DataType]:
    kinds: dict[str, set[str]] = {}
    for chunk in properties.chunks:
        for each in _decoded(chunk):
            for name, value in each.items():
                found = kinds.setdefault(name, set())
                if value is not None:
                    found.add(_kind(value))
    return {name: _TYPES.get(frozenset(found), pa.string()) for name, found in kinds.items()}


def _kind(value: object) -> str:
    if type(value) is not int or value in _LONG:
        return type(value).__name__
    return "float" if abs(value) <= sys.float_info.max else "beyond"


def _decoded(properties: pa.Array) -> Iterator[dict[str, Any]]:
    return (_read_properties(text) for text in properties.to_pylist())


def _schema(types: dict[str, pa.DataType]) -> pa.Schema:
    """Return the columns with a geometry and its box beside them, under names that are free."""
    geometry, box = _free("geometry", types), _free("bbox", types)
    about = {
        "encoding": "WKB",
        "geometry_types": [],
        "crs": CRS.from_epsg(4326).to_json_dict(),
        "covering": {"bbox": {edge: [box, edge] for edge in EDGES}},
    }
    geo = {"version": GEOPARQUET, "primary_column": geometry, "columns": {geometry: about}}
    edges = pa.struct([(edge, pa.float64()) for edge in EDGES])
    fields = [*types.items(), (geometry, pa.binary()), (box, edges)]
    return pa.schema(fields, metadata={b"geo": json.dumps(geo).encode()})


def _free(name: str, types: dict[str, pa.DataType]) -> str:
    while name in types:
        name += "_"
    return name


def _typed(part: pa.Table, types: dict[str, pa.DataType], schema: pa.Schema) -> pa.Table:
    properties = list(_decoded(part.column("properties").combine_chunks()))
    columns = [
        _column([each.get(name) for each in properties], kind) for name, kind in types.items()
    ]
    wkb = part.column("geometry").combine_chunks()
    boxes = shapely.bounds(shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))).T
    edges = [pa.array(edge, mask=np.isnan(edge)) for edge in boxes]
    columns += [wkb, pa.StructArray.from_arrays(edges, names=list(EDGES))]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        return pa.array([None if one is None else _text(one) for one in values], kind)
    if kind == pa.float64():
        return pa.array([None if one is None else float(one) for one in values], kind)
    return pa.array(values, kind)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
