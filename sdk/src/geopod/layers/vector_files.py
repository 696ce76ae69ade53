"""Vector files that functions wrote themselves (GeoPackage, FlatGeobuf, GeoJSON) → GeoParquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from geopod.codecs import features
from geopod.layers.ogr import OgrLayer, open_ogr, read_ogr
from geopod.layers.parquet import open_parquet
from geopod.layers.sources import PARQUET, find_source

GEOMETRY = "geometry"


def as_geoparquet(path: Path, *, workdir: Path) -> Path:
    """Return a vector file as GeoParquet: itself, or a copy in `workdir`; its FIDs are left out.

    Raises LayerAccessError for a file that no layer may have.
    """
    source = find_source(str(path.resolve()), path_id=path.stem)
    if source.driver == PARQUET:
        open_parquet([source.place], path_id=path.stem)
        return path
    layer = open_ogr([source], path_id=path.stem)
    schema = pa.schema([*layer.schema, pa.field(GEOMETRY, pa.binary())])
    rows = workdir / f"{path.stem}.arrow"
    with pa.ipc.new_file(pa.OSFile(str(rows), "wb"), schema) as writer:
        for batch in _batches(layer, schema):
            writer.write_batch(batch)
    meta = {"type": "GeoDataFrame", "geometry": GEOMETRY, "crs": layer.crs}
    encoded = features.encode_features(rows, meta, workdir=workdir)
    if isinstance(encoded.data, Path):
        return encoded.data
    target = workdir / f"{path.stem}-features.parquet"
    target.write_bytes(encoded.data)
    return target


def _batches(layer: OgrLayer, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for found in read_ogr(layer, None):
        columns = [*found.attributes.columns, found.wkb]
        yield pa.RecordBatch.from_arrays(columns, names=schema.names).cast(schema)
