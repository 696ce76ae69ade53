"""A vector layer as one thing to read, whatever format its files have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geopod.api.plan import VectorHeader
from geopod.errors import LayerAccessError, LayerCRSError
from geopod.layers.crs import Box, canonical_crs
from geopod.layers.features import (
    Features,
    MalformedGeometryError,
    bounding_boxes,
    inner_points,
)
from geopod.layers.parquet import ParquetLayer, open_parquet, read_coverings, read_parquet
from geopod.layers.sources import PARQUET, LayerSource, SourceFile

if TYPE_CHECKING:
    from geopod.layers.ogr import OgrLayer

MOST_FEATURES = 1 << 25
"""Planning holds one box of each, 1 GiB of them; a file of no size can claim any number."""
ROW_NUMBERS = "_fid"
_BoxSource = Literal["covering", "index", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorLayer:
    """A vector layer that is ready to be read."""

    files: ParquetLayer | OgrLayer
    columns: tuple[str, ...]
    """Those that nodes get, by the source's names."""
    crs: str
    bbox_source: _BoxSource

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the attributes."""
        return self.files.schema

    def read(
        self, boxes: Sequence[Box] | None, *, with_attributes: bool = True
    ) -> Iterator[Features]:
        """Return batches of all rows whose bounding box meets one of `boxes`, and maybe more."""
        return _read_files(self.files, boxes, with_attributes=with_attributes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedVector:
    """What a vector layer's header says, and where its features lie."""

    header: VectorHeader
    boxes: NDArray[np.float64]
    """(features, 4) bounding boxes in the layer's CRS, rows without geometry or end left out."""
    points: NDArray[np.float64] | None
    """(features, 2) the points that decide ownership; None: no geometry was read for them."""
    empty_geometries: int
    linearised: int
    """Features with arcs, which are read as straight lines."""


def open_vector(source: LayerSource, files: Sequence[SourceFile]) -> VectorLayer:
    """Return a layer ready to be read; raises LayerAccessError, LayerCRSError."""
    drivers = {file.driver for file in files}
    if len(drivers) > 1:
        raise LayerAccessError.unreachable(
            path_id=source.path_id, words=f"its files are of {len(drivers)} formats"
        )
    driver = drivers.pop()
    opened: ParquetLayer | OgrLayer
    if driver == PARQUET:
        opened = open_parquet([file.place for file in files], path_id=source.path_id)
        bbox_source: _BoxSource = "covering" if opened.covering else "scan"
    else:
        from geopod.layers.ogr import open_ogr  # loads geopandas

        opened = open_ogr(files, path_id=source.path_id)
        bbox_source = "index" if opened.has_index else "scan"
    if opened.rows > MOST_FEATURES:
        raise LayerAccessError.unreachable(
            path_id=source.path_id,
            words=f"it says that it has {opened.rows:,} features, {MOST_FEATURES:,} are the limit; "
            "make it several layers",
        )
    text = opened.crs or source.crs
    if text is None:
        raise LayerCRSError.missing(
            key=source.key,
            path_id=source.path_id,
            bounds=_read_bounds(opened, path_id=source.path_id) or (),
        )
    return VectorLayer(
        files=opened,
        columns=_delivered_columns(opened),
        crs=canonical_crs(text, path_id=source.path_id),
        bbox_source=bbox_source,
    )


def read_vector_header(source: LayerSource, files: Sequence[SourceFile]) -> OpenedVector:
    """Return a layer's header with the bounding box of each feature.

    Stored boxes are taken as they are; without them every geometry is read once, and then the
    points that decide ownership are there too.
    """
    layer = open_vector(source, files)
    with told_what_is_wrong(source.path_id):
        opened, fids = _read_opened(layer)
        if opened.empty_geometries and not isinstance(layer.files, ParquetLayer):
            from geopod.layers.ogr import check_geometries  # loaded by now

            check_geometries(layer.files)
        if not isinstance(layer.files, ParquetLayer):
            _check_index(layer.files, opened, fids, path_id=source.path_id)
    found, told = opened.header.feature_count, layer.files.rows
    if files[0].driver == "FlatGeobuf" and found < told:
        # One that is cut off within its index has no feature for GDAL, and no error.
        raise LayerAccessError.unreachable(
            path_id=source.path_id,
            words=f"it says that it has {told:,} features, and has {found:,}: a file is cut off",
        )
    return opened


@contextmanager
def told_what_is_wrong(path_id: str) -> Iterator[None]:
    """Raise LayerAccessError for rows that cannot be read."""
    try:
        yield
    except (MalformedGeometryError, OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the machine: where rows are written to, there may be no room left
        raise LayerAccessError.unreachable(path_id=path_id, words=str(error)) from error


def _read_opened(layer: VectorLayer) -> tuple[OpenedVector, NDArray[np.int64]]:
    """Return a layer's header, and the row numbers of its boxes as far as rows were read."""
    boxes: list[NDArray[np.float64]] = [np.empty((0, 4))]
    points: list[NDArray[np.float64]] = [np.empty((0, 2))]
    fids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    has_points, linearised = True, 0
    stored = read_coverings(layer.files) if isinstance(layer.files, ParquetLayer) else None
    if stored is not None:
        boxes += stored
        has_points = False
    else:
        layer = without_covering(layer)
        for features in layer.read(None, with_attributes=False):
            geometries = features.geometries()
            boxes.append(bounding_boxes(geometries))
            points.append(inner_points(geometries, boxes[-1]))
            fids.append(features.fids)
            linearised += features.linearised
    all_boxes = np.concatenate(boxes)
    there = np.isfinite(all_boxes).all(axis=1)
    opened = OpenedVector(
        header=VectorHeader(
            crs=layer.crs,
            columns=layer.columns,
            feature_count=len(all_boxes),
            bbox_source=layer.bbox_source,
            bounds=_bounds(all_boxes[there]),
        ),
        boxes=all_boxes[there],
        points=np.concatenate(points)[there] if has_points else None,
        empty_geometries=int(np.count_nonzero(~there)),
        linearised=linearised,
    )
    return opened, np.concatenate(fids)[there] if has_points else fids[0]


def without_covering(layer: VectorLayer) -> VectorLayer:
    """Return the layer to be read whole if it is GeoParquet: its boxes are not to be trusted."""
    if not isinstance(layer.files, ParquetLayer):
        return layer
    return replace(layer, files=replace(layer.files, covering=None), bbox_source="scan")


def _check_index(
    files: OgrLayer, opened: OpenedVector, fids: NDArray[np.int64], *, path_id: str
) -> None:
    """Raise LayerAccessError for what would give nodes fewer features, or one of them twice."""
    from geopod.layers.feature_index import find_lost, find_repeated  # loads geopandas

    wrong = find_repeated(files, fids) or find_lost(
        files, fids, opened.boxes, has_arcs=opened.linearised > 0
    )
    if wrong is not None:
        raise LayerAccessError.unreachable(path_id=path_id, words=wrong)


def _delivered_columns(files: ParquetLayer | OgrLayer) -> tuple[str, ...]:
    """Return the attributes but for row numbers that geopod or pandas wrote as an index."""
    own = {ROW_NUMBERS} & files.index if isinstance(files, ParquetLayer) else frozenset()
    return tuple(name for name in files.columns if name not in own)


def _read_files(
    files: ParquetLayer | OgrLayer, boxes: Sequence[Box] | None, *, with_attributes: bool
) -> Iterator[Features]:
    if isinstance(files, ParquetLayer):
        return read_parquet(files, boxes, with_attributes=with_attributes)
    from geopod.layers.ogr import read_ogr  # loads geopandas

    return read_ogr(files, boxes, with_attributes=with_attributes)


def _read_bounds(files: ParquetLayer | OgrLayer, *, path_id: str) -> Box | None:
    batches = _read_files(files, None, with_attributes=False)
    with told_what_is_wrong(path_id):
        boxes = np.concatenate([bounding_boxes(features.geometries()) for features in batches])
    return _bounds(boxes[np.isfinite(boxes).all(axis=1)])


def _bounds(boxes: NDArray[np.float64]) -> Box | None:
    """Return the bounds of all boxes; None: there are none, or they have no end."""
    low, high = boxes[:, :2].min(axis=0, initial=inf), boxes[:, 2:].max(axis=0, initial=-inf)
    if not np.isfinite([low, high]).all():
        return None
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
