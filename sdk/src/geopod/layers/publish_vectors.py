"""Put the nodes' features together: one GeoParquet dataset, or one file of another format."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geopod.errors import InconsistentPartsError
from geopod.layers.parquet import ParquetLayer, open_parquet, read_parquet

VectorFormat = Literal["parquet", "gpkg", "fgb", "geojson"]
_DRIVERS = {"gpkg": "GPKG", "fgb": "FlatGeobuf", "geojson": "GeoJSON"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorPart:
    """The GeoParquet file that one node's features were encoded as."""

    node: int
    path: Path


def write_vector(
    parts: Sequence[VectorPart], target: Path, *, output_format: VectorFormat = "parquet"
) -> Path:
    """Write the parts, in node order, as one layer at `target`.

    `parquet`: a folder with one file per node; else one file, streamed batch by batch. Raises
    InconsistentPartsError (E312) if the parts differ in columns, types or CRS, or if one `_fid`
    is in two of them.
    """
    if not parts:
        raise ValueError("a vector layer of no parts")
    ordered = sorted(parts, key=lambda part: part.node)
    layers = [open_parquet([part.path], path_id=target.stem) for part in ordered]
    _check_alike(ordered, layers)
    _check_fids(ordered, layers)
    if output_format == "parquet":
        target.mkdir(parents=True, exist_ok=True)
        for part in ordered:
            shutil.copyfile(part.path, target / f"part-{part.node:05d}.parquet")
    else:
        _write_one_file(layers, target, driver=_DRIVERS[output_format])
    return target


def _check_alike(parts: Sequence[VectorPart], layers: Sequence[ParquetLayer]) -> None:
    first = _traits(layers[0])
    wrong = [number for number, layer in enumerate(layers) if _traits(layer) != first]
    if wrong:
        raise InconsistentPartsError.differ(
            wrong=len(wrong),
            total=len(parts),
            node=parts[wrong[0]].node,
            has=_traits(layers[wrong[0]]),
            first=first,
        )


def _traits(layer: ParquetLayer) -> dict[str, Any]:
    columns = {field.name: str(field.type) for field in layer.schema}
    return {"schema": columns, "crs": layer.crs, "geometry": layer.geometry}


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


def _write_one_file(layers: Sequence[ParquetLayer], target: Path, *, driver: str) -> None:
    import pyogrio  # loads geopandas

    first = layers[0]
    geometry = first.geometry
    schema = pa.schema([*first.schema, pa.field(geometry, pa.binary())])
    pyogrio.raw.write_arrow(
        pa.RecordBatchReader.from_batches(schema, _batches(layers, schema)),
        target,
        driver=driver,
        layer=target.stem,
        geometry_name=geometry,
        geometry_type="Unknown",
        crs=first.crs,
    )


def _batches(layers: Sequence[ParquetLayer], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for layer in layers:
        for features in read_parquet(layer, None):
            columns = [*features.attributes.columns, features.wkb]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
