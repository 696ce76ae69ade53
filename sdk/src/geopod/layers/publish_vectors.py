"""Put the nodes' features together: one GeoParquet dataset, or one file of another format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geopod.errors import InconsistentPartsError
from geopod.layers.crs import parse_crs
from geopod.layers.parquet import ParquetLayer, open_parquet

# GDAL reads a GeoJSON's numbers as the smallest type that holds those of this file.
_HELD_BY: Mapping[pa.DataType, tuple[pa.DataType, ...]] = {
    pa.string(): (pa.large_string(),),
    pa.binary(): (pa.large_binary(),),
    pa.int8(): (pa.int16(), pa.int32(), pa.int64(), pa.float64()),
    pa.int16(): (pa.int32(), pa.int64(), pa.float64()),
    pa.int32(): (pa.int64(), pa.float64()),
    pa.uint8(): (pa.uint16(), pa.uint32(), pa.uint64(), pa.float64()),
    pa.uint16(): (pa.uint32(), pa.uint64(), pa.float64()),
    pa.uint32(): (pa.uint64(), pa.float64()),
    pa.float32(): (pa.float64(),),
}
"""Types by one whose values they hold, all of them and all their digits."""
VectorFormat = Literal["parquet", "gpkg", "fgb", "geojson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorPart:
    """The GeoParquet file that one node's features were encoded as."""

    node: int
    path: Path


def write_vector(
    parts: Sequence[VectorPart], target: Path, *, output_format: VectorFormat = "parquet"
) -> Path:
    """Write the parts, in node order, as one layer at `target`.

    `parquet`: a folder with one file per node; else one file, streamed batch by batch. A part
    without rows has nothing to say of the layer, a column without values nothing of its type.
    Raises InconsistentPartsError (E312) if the parts differ in columns, types or CRS, if one `_fid`
    is in two of them, and for what the format cannot hold.
    """
    if not parts:
        raise ValueError("a vector layer of no parts")
    ordered = sorted(parts, key=lambda part: part.node)
    opened = [(part, open_parquet([part.path], path_id=target.stem)) for part in ordered]
    opened = [(part, layer) for part, layer in opened if layer.rows] or opened[:1]
    layers = [layer for _, layer in opened]
    schema = _common_schema([part for part, _ in opened], layers)
    _check_fids([part for part, _ in opened], layers)
    if output_format == "parquet":
        target.mkdir(parents=True, exist_ok=True)
        for part, layer in opened:
            file = target / f"part-{part.node:05d}.parquet"
            if layer.schema.equals(schema):
                shutil.copyfile(part.path, file)
            else:
                _write_alike(part.path, layer, schema, file)
    else:
        from geopod.layers.publish_files import write_one_file  # loads geopandas

        write_one_file(layers, schema, target, output_format=output_format)
    return target


def _common_schema(parts: Sequence[VectorPart], layers: Sequence[ParquetLayer]) -> pa.Schema:
    """Return the attributes in the first part's order, each of the type that holds all parts'."""
    schema = layers[0].schema
    for layer in layers[1:]:
        for place, field in enumerate(schema):
            if field.name in layer.columns:
                kind = _wider(field.type, layer.schema.field(field.name).type)
                schema = schema.set(place, field.with_type(kind))
    first = _traits(layers[0], schema)
    wrong = [
        (part, found)
        for part, layer in zip(parts, layers, strict=True)
        if (found := _traits(layer, schema)) != first
    ]
    if wrong:
        part, found = wrong[0]
        raise InconsistentPartsError.differ(
            wrong=len(wrong),
            total=len(parts),
            node=part.node,
            has=_difference(found, first),
            first=_difference(first, found),
        )
    return schema


def _wider(first: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds all values of both, the first one if neither does."""
    for narrow, wide in ((first, other), (other, first)):
        if pa.types.is_null(narrow) or wide in _HELD_BY.get(narrow, ()):
            return wide
    return first


def _traits(layer: ParquetLayer, schema: pa.Schema) -> dict[str, Any]:
    """Return what must be equal in all parts, types that `schema` widens as it has them."""
    types = {}
    for field in layer.schema:
        wanted = schema.field(field.name).type if field.name in schema.names else field.type
        types[field.name] = str(wanted if _wider(field.type, wanted) == wanted else field.type)
    return {"columns": types, "crs": layer.crs, "geometry": layer.geometry}


def _difference(traits: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return what of the traits is not in the others: of columns these alone, of a CRS its name."""
    told = {key: value for key, value in traits.items() if value != other[key]}
    if "columns" in told:
        told["columns"] = dict(sorted(told["columns"].items() - other["columns"].items()))
    if told.get("crs"):
        told["crs"] = parse_crs(told["crs"]).to_string()[:80]
    return told


def _check_fids(parts: Sequence[VectorPart], layers: Sequence[ParquetLayer]) -> None:
    """Raise InconsistentPartsError if a `_fid` is in two parts: those rows are one feature."""
    if "_fid" not in layers[0].columns:
        return
    fids = [pq.read_table(part.path, columns=["_fid"]).column("_fid").to_numpy() for part in parts]
    values, counts = np.unique(np.concatenate(fids), return_counts=True)
    repeated = values[counts > 1]
    if len(repeated):
        nodes = [
            part.node
            for part, numbers in zip(parts, fids, strict=True)
            if (numbers == repeated[0]).any()
        ]
        raise InconsistentPartsError(
            f"{len(repeated)} features are in more than one part: _fid {repeated[0]} came from "
            f"nodes {', '.join(map(str, nodes))}.",
            fixes=("return the rows where _owned is true", "features='owned'"),
            details={"fid": int(repeated[0]), "nodes": nodes, "count": len(repeated)},
        )


def _write_alike(source: Path, layer: ParquetLayer, schema: pa.Schema, target: Path) -> None:
    """Copy a part with its attributes in the order and of the types of `schema`."""
    with pq.ParquetFile(source) as file:
        others = [name for name in file.schema_arrow.names if name not in layer.columns]
        fields = [*schema, *(file.schema_arrow.field(name) for name in others)]
        wanted = pa.schema(fields, metadata=file.schema_arrow.metadata)
        with pq.ParquetWriter(target, wanted, compression="zstd") as writer:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group).select(wanted.names)
                writer.write_table(rows.cast(wanted))
