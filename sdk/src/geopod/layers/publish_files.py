"""Write the nodes' features as one GeoPackage, FlatGeobuf or GeoJSON, batch by batch.

GDAL writes what it can and says nothing of the rest: what a format cannot hold is refused here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
import shapely

from geopod.api.layer_report import free_name
from geopod.errors import InconsistentPartsError
from geopod.layers.crs import same_crs
from geopod.layers.features import MalformedGeometryError
from geopod.layers.parquet import ParquetLayer, read_parquet

FileFormat = Literal["gpkg", "fgb", "geojson"]
DRIVERS = {"gpkg": "GPKG", "fgb": "FlatGeobuf", "geojson": "GeoJSON"}
_NAMES = {
    0: "Point",
    1: "LineString",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
}
"""By shapely's type id."""
_LARGEST = 2**63 - 1
_ROW_NUMBER = "fid"
"""The column that GeoPackage has row numbers in unless told another one."""


def write_one_file(
    layers: Sequence[ParquetLayer], schema: pa.Schema, target: Path, *, output_format: FileFormat
) -> None:
    """Write all rows with the attributes of `schema`; raises InconsistentPartsError.

    What pyogrio raises is a RuntimeError.
    """
    first, driver = layers[0], DRIVERS[output_format]
    _check_names(schema, driver)
    _check_numbers(layers, schema, driver)
    if first.crs is None:
        raise _refused(driver, "they have no CRS; return .set_crs(…)")
    wanted = pa.schema([_writable(field) for field in schema])
    wanted = wanted.append(pa.field(first.geometry, pa.binary()))
    options: dict[str, Any] = {"geometry_type": "Unknown"}
    if output_format == "gpkg":
        options["FID"] = free_name(_ROW_NUMBER, {name.lower() for name in schema.names})
    try:
        kinds, is_whole = _read_kinds(layers)
        if output_format == "fgb":
            options |= _flat_options(kinds, is_whole=is_whole)
        pyogrio.raw.write_arrow(
            pa.RecordBatchReader.from_batches(wanted, _batches(layers, wanted)),
            target,
            driver=driver,
            layer=target.stem,
            geometry_name=first.geometry,
            crs=first.crs,
            **options,
        )
    except (RuntimeError, pa.ArrowInvalid, MalformedGeometryError) as error:
        raise _refused(driver, str(error).rstrip(".")) from error
    if output_format == "geojson":
        _check_crs(target, first.crs)


def _check_names(schema: pa.Schema, driver: str) -> None:
    """Raise InconsistentPartsError for columns of which GDAL would fill one."""
    times = Counter(name.lower() for name in schema.names)
    alike = [name for name in schema.names if times[name.lower()] > 1]
    if alike:
        raise _refused(driver, f"columns {', '.join(alike)} have one name there")


def _check_numbers(layers: Sequence[ParquetLayer], schema: pa.Schema, driver: str) -> None:
    """Raise InconsistentPartsError for whole numbers that would be written as doubles."""
    names = [field.name for field in schema if field.type == pa.uint64()]
    for layer in layers if names else ():
        for place in layer.files:
            for name, column in zip(names, pq.read_table(place, columns=names), strict=True):
                largest = pc.max(column.cast(pa.uint64())).as_py()
                if largest is not None and largest > _LARGEST:
                    words = f"{largest} in column {name!r} is beyond 2**63 - 1; return text"
                    raise _refused(driver, words)


def _writable(field: pa.Field) -> pa.Field:
    """Return the field as OGR has it, which knows no column of nothing and no 64 bits unsigned."""
    kinds: Mapping[pa.DataType, pa.DataType] = {pa.null(): pa.string(), pa.uint64(): pa.int64()}
    return field.with_type(kinds.get(field.type, field.type))


def _read_kinds(layers: Sequence[ParquetLayer]) -> tuple[set[tuple[int, bool]], bool]:
    """Return shapely's type ids, each with whether it has heights, and whether all have a place.

    Raises MalformedGeometryError: GDAL would write a row without geometry.
    """
    kinds: set[tuple[int, bool]] = set()
    is_whole = True
    for layer in layers:
        for features in read_parquet(layer, None, with_attributes=False):
            shapes = features.geometries()
            there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
            is_whole &= bool(there.all())
            pairs = np.column_stack([shapely.get_type_id(shapes), shapely.has_z(shapes)])[there]
            kinds |= {(int(kind), bool(has_z)) for kind, has_z in np.unique(pairs, axis=0)}
    return kinds, is_whole


def _flat_options(kinds: set[tuple[int, bool]], *, is_whole: bool) -> dict[str, Any]:
    """Return what FlatGeobuf must be told: its header says whether there are heights.

    A file of several types has none. One with rows without a place has no index.
    """
    options: dict[str, Any] = {} if is_whole else {"SPATIAL_INDEX": "NO"}
    names = sorted(_NAMES[kind] + " Z" * has_z for kind, has_z in kinds)
    if not any(has_z for _, has_z in kinds):
        return options
    if len(names) > 1:
        words = f"it keeps heights of one type of geometry, not of {', '.join(names)}"
        raise _refused("FlatGeobuf", words)
    return options | {"geometry_type": names[0]}


def _check_crs(target: Path, crs: str) -> None:
    """Raise InconsistentPartsError for a CRS that GeoJSON does not say: readers take another."""
    told = pyogrio.read_info(target)["crs"]
    if told is None or not same_crs(told, crs):
        raise _refused("GeoJSON", f"their CRS would be read as {told}; return .to_crs('EPSG:4326')")


def _refused(driver: str, words: str) -> InconsistentPartsError:
    return InconsistentPartsError(
        f"{driver} cannot hold the features: {words}.",
        fixes=("write_to={…, 'file': {'format': 'parquet'}}",),
        details={"driver": driver},
    )


def _batches(layers: Sequence[ParquetLayer], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    attributes = pa.schema(list(schema)[:-1])
    for layer in layers:
        for features in read_parquet(layer, None):
            columns = features.attributes.select(attributes.names).cast(attributes).columns
            yield pa.RecordBatch.from_arrays([*columns, features.wkb], schema=schema)
