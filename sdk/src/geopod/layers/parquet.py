"""Read GeoParquet with pyarrow: row groups by their statistics, rows by their bounding boxes.

Neither of the two GDALs in this process reads Parquet, and geopandas restarts its index after a
bounding-box read; the row number here is row-group offset + position, over all files of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geopod.errors import GeopodError, LayerAccessError
from geopod.layers.coverings import are_complete, are_plausible, group_meets, meeting, stored_boxes
from geopod.layers.crs import Box
from geopod.layers.features import Features, rows_per_batch
from geopod.layers.geoparquet import read_metadata
from geopod.layers.remote import RemoteFile

Place = Path | RemoteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetLayer:
    """What the footers of a layer's Parquet files say."""

    files: tuple[Place, ...]
    geometry: str
    columns: tuple[str, ...]
    """Attributes: no geometry, no covering, no index that pandas left without a name."""
    crs: str | None
    """WKT; None: the file says that it does not know."""
    covering: tuple[str, ...] | None
    """Paths of the four bounding-box columns in the order of a box."""
    bounds: tuple[Box | None, ...]
    """For each file, where it says that its geometries lie; None: it does not say."""
    rows: int
    schema: pa.Schema
    """Of the attributes."""
    index: frozenset[str]
    """Columns that pandas takes for the index of the rows."""


def open_parquet(files: Sequence[Place], *, path_id: str) -> ParquetLayer:
    """Return what the footers say; raises LayerAccessError for files that are not one layer."""
    parts = tuple(part for file in files for part in _members(file))
    layers = [_read_footer(part, path_id=path_id) for part in parts]
    first = layers[0]
    for other in layers[1:]:
        if words := _difference(other, first):
            raise LayerAccessError.unreachable(
                path_id=path_id,
                words=f"{_name(other.files[0])} {words}, other than {_name(first.files[0])}",
            )
    has_covering = all(layer.covering == first.covering for layer in layers)
    return ParquetLayer(
        files=parts,
        geometry=first.geometry,
        columns=first.columns,
        crs=first.crs,
        covering=first.covering if has_covering else None,
        bounds=tuple(bounds for layer in layers for bounds in layer.bounds),
        rows=sum(layer.rows for layer in layers),
        schema=first.schema,
        index=first.index,
    )


def _difference(other: ParquetLayer, first: ParquetLayer) -> str | None:
    """Return what a file has that is not the first one's; columns may be in another order."""
    if other.crs != first.crs:
        return "has another CRS"
    if other.geometry != first.geometry:
        return f"has its geometry in {other.geometry!r}"
    columns = [name for name in other.columns if name not in first.columns]
    if columns:
        return f"has columns {', '.join(columns)}"
    missing = [name for name in first.columns if name not in other.columns]
    return f"has no columns {', '.join(missing)}" if missing else None


def _name(place: Place) -> str:
    """Return a file's name with that of its folder: parts of datasets have the same names."""
    path = urlsplit(place.href).path if isinstance(place, RemoteFile) else str(place)
    return "/".join(path.split("/")[-2:])


def read_parquet(
    layer: ParquetLayer, boxes: Sequence[Box] | None, *, with_attributes: bool = True
) -> Iterator[Features]:
    """Yield the rows whose bounding box meets one of `boxes` (layer CRS); None: all rows.

    Without a covering all rows are yielded. Row order is file order.
    """
    columns = layer.columns if with_attributes else ()
    offset = 0
    for path in layer.files:
        with _open_file(path) as file:
            for group in range(file.num_row_groups):
                yield from _read_group(layer, file, group, boxes, offset, columns)
                offset += file.metadata.row_group(group).num_rows


def read_coverings(layer: ParquetLayer) -> list[NDArray[np.float64]] | None:
    """Return (rows, 4) stored bounding boxes, NaN without geometry.

    None: there are none, or some by which features would be lost.
    """
    if layer.covering is None:
        return None
    found = []
    for path, bounds in zip(layer.files, layer.bounds, strict=True):
        with _open_file(path) as file:
            for group in range(file.num_row_groups):
                stored = stored_boxes(layer.covering, file, group)[0]
                if not are_plausible(stored, bounds):
                    return None
                if not are_complete(stored, file, group, geometry=layer.geometry):
                    return None
                found.append(stored)
    return found


def _read_group(
    layer: ParquetLayer,
    file: pq.ParquetFile,
    group: int,
    boxes: Sequence[Box] | None,
    offset: int,
    attributes: Sequence[str],
) -> Iterator[Features]:
    stored, is_exact = None, False
    rows = file.metadata.row_group(group)
    if layer.covering is not None:
        if boxes is not None and not group_meets(layer.covering, rows, boxes):
            return
        stored, is_exact = stored_boxes(layer.covering, file, group)
    wanted = None
    if stored is not None and boxes is not None:
        wanted = meeting(stored, boxes)
        if not wanted.any():
            return
    size = rows_per_batch(total_bytes=rows.total_byte_size, rows=rows.num_rows)
    schema = pa.schema([layer.schema.field(name) for name in attributes])
    batches = file.iter_batches(size, row_groups=[group], columns=[*attributes, layer.geometry])
    position = 0
    for batch in batches:
        here = slice(position, position + batch.num_rows)
        features = Features(
            np.arange(offset + here.start, offset + here.stop, dtype=np.int64),
            batch.select(list(attributes)).cast(schema),
            _binary(batch.column(layer.geometry)),
            stored=None if stored is None else stored[here],
            is_exact=is_exact,
        )
        position = here.stop
        if wanted is None:
            yield features
        elif wanted[here].any():
            yield features.take(np.flatnonzero(wanted[here]))


@contextmanager
def _open_file(place: Place) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; of one elsewhere whole column chunks are fetched, neighbours at once."""
    if isinstance(place, RemoteFile):
        with place.open() as ranges, pq.ParquetFile(ranges, pre_buffer=True) as file:
            yield file
        return
    with pq.ParquetFile(place) as file:
        yield file


def _members(path: Place) -> Sequence[Place]:
    if isinstance(path, RemoteFile):
        return path.members(".parquet") if path.is_folder else [path]
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def _read_footer(place: Place, *, path_id: str) -> ParquetLayer:
    path = place.href if isinstance(place, RemoteFile) else str(place)
    try:
        with _open_file(place) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        geo = read_metadata(schema, path_id=path_id)
    except GeopodError:
        raise
    except (
        pa.ArrowException,
        AttributeError,
        OSError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise LayerAccessError.unreachable(
            path_id=path_id,
            words=f"{path} is not GeoParquet ({error})",
            details={"href": path},
        ) from error
    return ParquetLayer(
        files=(place,),
        geometry=geo.geometry,
        columns=geo.columns,
        crs=geo.crs,
        covering=geo.covering,
        bounds=(geo.bounds,),
        rows=rows,
        schema=pa.schema([_without_views(schema.field(name)) for name in geo.columns]),
        index=geo.index,
    )


def _without_views(field: pa.Field) -> pa.Field:
    """Return a field without views of text or bytes, of which pyarrow 26 cannot select rows."""
    kind = field.type
    if pa.types.is_string_view(kind):
        return field.with_type(pa.string())
    if pa.types.is_binary_view(kind):
        return field.with_type(pa.binary())
    if pa.types.is_list(kind):
        return field.with_type(pa.list_(_without_views(kind.value_field)))
    if pa.types.is_struct(kind):
        return field.with_type(pa.struct([_without_views(inner) for inner in kind.fields]))
    return field


def _binary(column: pa.Array) -> pa.Array:
    """Return plain binary values of a WKB column, whatever extension type it wears."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    return storage.cast(pa.binary())
