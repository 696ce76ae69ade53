"""Read FlatGeobuf, GeoPackage, GeoJSON and Shapefile as Arrow batches through pyogrio.

Importing pyogrio imports geopandas and its own GDAL; only layers of these formats come here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

from geopod.errors import LayerAccessError
from geopod.layers.crs import Box
from geopod.layers.features import (
    Features,
    MalformedGeometryError,
    curved_rows,
    is_hollow,
    is_well_formed,
    rows_per_batch,
)
from geopod.layers.geojson import check_crs
from geopod.layers.shapefile import PARTS, cut_off, without_indexes
from geopod.layers.sources import SourceFile
from geopod.layers.vsi import gdal_path, remote_options, without_queries

FILE_NUMBER_SHIFT = 40
"""Row numbers of a layer's second file begin at 2**40: FIDs may have gaps, files never meet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OgrLayer:
    """What the headers of a layer's files say."""

    files: tuple[SourceFile, ...]
    columns: tuple[str, ...]
    crs: str | None
    has_index: bool
    """A bounding-box query need not read the whole file."""
    may_seek: bool
    """A row can be read by its number without reading those before it."""
    trees: tuple[str, ...]
    """For each file, the R-tree that answers its queries; empty: it has none."""
    rows: int
    schema: pa.Schema
    """Of the attributes."""


def open_ogr(files: Sequence[SourceFile], *, path_id: str) -> OgrLayer:
    """Return what the headers say; raises LayerAccessError for files that are not one layer."""
    opened = [_read_header(file, path_id=path_id) for file in files]
    first = opened[0]
    for other in opened[1:]:
        if (other.columns, other.crs) != (first.columns, first.crs):
            raise LayerAccessError.unreachable(
                path_id=path_id,
                words=f"{other.files[0].href} has other columns or another CRS than "
                f"{first.files[0].href}",
            )
    return OgrLayer(
        files=tuple(files),
        columns=first.columns,
        crs=first.crs,
        has_index=all(layer.has_index for layer in opened),
        may_seek=all(layer.may_seek for layer in opened),
        trees=tuple(tree for layer in opened for tree in layer.trees),
        rows=sum(layer.rows for layer in opened),
        schema=first.schema,
    )


def read_ogr(
    layer: OgrLayer, boxes: Sequence[Box] | None, *, with_attributes: bool = True
) -> Iterator[Features]:
    """Yield the rows whose bounding box meets one of `boxes` (layer CRS); None: all rows.

    A row that meets two boxes is yielded once. The order is the driver's.
    """
    columns = None if with_attributes else ()
    for number, file in enumerate(layer.files):
        seen = np.empty(0, np.int64)
        for box in boxes if boxes is not None else [None]:
            for features in _read_file(layer, file, box, columns=columns):
                fresh = np.flatnonzero(~np.isin(features.fids, seen))
                if boxes is not None and len(boxes) > 1:
                    seen = np.concatenate([seen, features.fids])
                rows = features if len(fresh) == len(features.fids) else features.take(fresh)
                yield replace(
                    rows,
                    fids=rows.fids + (number << FILE_NUMBER_SHIFT),
                    linearised=features.linearised,
                )


def _read_file(
    layer: OgrLayer, file: SourceFile, box: Box | None, *, columns: Sequence[str] | None
) -> Iterator[Features]:
    size = rows_per_batch(total_bytes=_size(file), rows=layer.rows)
    with (
        ogr_settings(file),
        _without_measures(),
        _path_to_query(file) as path,
        pyogrio.raw.open_arrow(
            path,
            bbox=box,
            columns=columns,
            return_fids=True,
            batch_size=size,
            use_pyarrow=True,
        ) as (meta, reader),
    ):
        # By position: a GeoJSON may have an attribute of the name that OGR gives the row number.
        names = reader.schema.names
        fid = names.index(meta["fid_column"] or "OGC_FID")
        geometry = len(names) - 1
        others = [number for number in range(len(names)) if number not in {fid, geometry}]
        for batch in reader:
            wkb = _storage(batch.column(geometry))
            # A row that a box found has a geometry.
            if batch.num_rows and not (box is not None and is_hollow(wkb)):
                fids = batch.column(fid).to_numpy(zero_copy_only=False).astype(np.int64)
                straight, curved = _readable(layer, path, fids, wkb)
                yield Features(fids, batch.select(others), straight, linearised=curved)


@contextmanager
def _path_to_query(file: SourceFile) -> Iterator[str]:
    if file.driver == "ESRI Shapefile" and file.remote is None:
        with without_indexes(file.path) as path:
            yield str(path)
    else:
        yield gdal_path(file)


def _readable(
    layer: OgrLayer, path: str, fids: NDArray[np.int64], wkb: pa.Array
) -> tuple[pa.Array, int]:
    """Return a batch's geometry with what Arrow hands over wrongly read again the slow way.

    Curves come back as straight pieces; how many rows had some.
    """
    if not is_well_formed(wkb):
        return pa.array(_read_again(layer, path, fids), pa.binary()), 0
    curved = curved_rows(wkb)
    if not len(curved):
        return wkb.cast(pa.binary()), 0
    values = wkb.to_numpy(zero_copy_only=False).copy()
    values[curved] = _read_again(layer, path, fids[curved])
    return pa.array(values, pa.binary()), len(curved)


def _storage(column: pa.Array) -> pa.Array:
    """Return the binary values of a geometry column, whatever extension type it wears."""
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _read_again(layer: OgrLayer, path: str, fids: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return the WKB of some rows, read one feature at a time by OGR."""
    if layer.may_seek:
        rows: NDArray[np.object_] = pyogrio.raw.read(path, fids=fids, columns=[])[2]
        return rows
    first = int(fids.min())
    count = int(fids.max()) - first + 1
    found = pyogrio.raw.read(
        path, skip_features=first, max_features=count, columns=[], return_fids=True
    )
    later_rows: NDArray[np.object_] = found[2][np.searchsorted(found[1], fids)]
    return later_rows


def check_geometries(layer: OgrLayer) -> None:
    """Raise MalformedGeometryError for what a GeoPackage has for a geometry and OGR takes for none.

    Nothing at all is no geometry; so are bytes of length 0. Reads every row: for a layer some of
    whose rows have no geometry.
    """
    for file in layer.files:
        if file.driver == "GPKG" and (words := _find_rubbish(file)):
            raise MalformedGeometryError(f"{file.href} has geometries that are none: {words}")


def _find_rubbish(file: SourceFile) -> str | None:
    path = gdal_path(file)
    with ogr_settings(file), _without_measures():
        info = pyogrio.read_info(path)
        table, column, row = (
            str(info[name]).replace('"', '""')
            for name in ("layer_name", "geometry_name", "fid_column")
        )
        query = (
            f'SELECT COUNT(*) AS count, MIN("{row}") AS first FROM "{table}" '  # noqa: S608  # quoted
            f'WHERE length("{column}") > 0 AND ST_GeometryType("{column}") IS NULL'
        )
        try:
            count, first = pyogrio.raw.read(path, sql=query, read_geometry=False)[3]
        except (DataLayerError, DataSourceError) as error:
            return without_queries(str(error))  # of a type that no geometry has
    return f"{count[0]} rows, the first is {first[0]}" if count[0] else None


def _size(file: SourceFile) -> int:
    return file.path.stat().st_size if file.remote is None else file.remote.probe().size


def _read_header(file: SourceFile, *, path_id: str) -> OgrLayer:
    path, driver = gdal_path(file), file.driver
    if driver == "GeoJSON":
        check_crs(file, path_id=path_id)
    if driver == "ESRI Shapefile" and (words := cut_off(file.place)):
        raise LayerAccessError.unreachable(path_id=path_id, words=words)
    try:
        with ogr_settings(file), _without_measures():
            if driver == "GPKG":
                _check_single(path, path_id=path_id)
            header: dict[str, Any] = pyogrio.read_info(path, force_feature_count=True)
            with pyogrio.raw.open_arrow(path, use_pyarrow=True, read_geometry=False) as stream:
                schema = stream[1].schema
    except (DataSourceError, DataLayerError, IndexError, ValueError) as error:
        # The last two: pyogrio on a header that makes no sense to it.
        raise LayerAccessError.unreachable(
            path_id=path_id, words=without_queries(str(error)), details={"href": file.href}
        ) from error
    if header["driver"] != driver:
        raise LayerAccessError.unreachable(
            path_id=path_id, words=f"{file.href} is {header['driver']}, not {driver}"
        )
    has_index = bool(header["capabilities"]["fast_spatial_filter"])
    tree = f"rtree_{header['layer_name']}_{header['geometry_name']}"
    return OgrLayer(
        files=(file,),
        columns=tuple(str(name) for name in header["fields"]),
        crs=header["crs"],
        has_index=(has_index and driver != "ESRI Shapefile") or driver == "GPKG",
        may_seek=bool(header["capabilities"]["random_read"]),
        trees=(tree if has_index and driver == "GPKG" else "",),
        rows=int(header["features"]),
        schema=schema,
    )


def _check_single(path: str, *, path_id: str) -> None:
    names = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(names) != 1:
        raise LayerAccessError.unreachable(
            path_id=path_id,
            words=f"{path} has {len(names)} layers ({', '.join(names[:8])}), not one",
        )


@contextmanager
def ogr_settings(file: SourceFile) -> Iterator[None]:
    """Set what reading a file elsewhere needs in pyogrio's own GDAL, and put it back.

    That GDAL has one set of options for all threads: a node reads one layer at a time.
    """
    if file.remote is None:
        yield
        return
    options = remote_options(file.remote) | {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
    if file.driver == "ESRI Shapefile":
        options["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = ",".join(PARTS)
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


@contextmanager
def _without_measures() -> Iterator[None]:
    """Read geometry with measures as geometry without: pyogrio says so once per call.

    What GDAL only warns of (a request that it repeats, a foreign application id) is not told.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.filterwarnings("ignore", message=r"Measured \(M\)")
        yield
