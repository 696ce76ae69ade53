"""Write the nodes' features as one GeoPackage, FlatGeobuf or GeoJSON, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyogrio

from geopod.layers.parquet import ParquetLayer, read_parquet

FileFormat = Literal["gpkg", "fgb", "geojson"]
DRIVERS = {"gpkg": "GPKG", "fgb": "FlatGeobuf", "geojson": "GeoJSON"}


def write_one_file(
    layers: Sequence[ParquetLayer], schema: pa.Schema, target: Path, *, output_format: FileFormat
) -> None:
    """Write all rows with the attributes of `schema`."""
    first = layers[0]
    wanted = pa.schema([_writable(field) for field in schema])
    wanted = wanted.append(pa.field(first.geometry, pa.binary()))
    pyogrio.raw.write_arrow(
        pa.RecordBatchReader.from_batches(wanted, _batches(layers, wanted)),
        target,
        driver=DRIVERS[output_format],
        layer=target.stem,
        geometry_name=first.geometry,
        geometry_type="Unknown",
        crs=first.crs,
    )


def _writable(field: pa.Field) -> pa.Field:
    """Return the field as OGR has it, which knows no column of nothing."""
    return field.with_type(pa.string()) if pa.types.is_null(field.type) else field


def _batches(layers: Sequence[ParquetLayer], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    attributes = pa.schema(list(schema)[:-1])
    for layer in layers:
        for features in read_parquet(layer, None):
            columns = features.attributes.select(attributes.names).cast(attributes).columns
            yield pa.RecordBatch.from_arrays([*columns, features.wkb], schema=schema)
