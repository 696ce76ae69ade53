"""Rows of a vector layer as they are read: row numbers, attributes, geometry as WKB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geopod.layers.nesting import MOST_LEVELS, first_deep_row

BATCH_BYTES = 16 << 20
"""About what one batch of rows may hold."""
_MOST_ROWS = 16_384
_FEWEST_ROWS = 64
# ISO and extended WKB write the dimensions beside the type: 1000s in the first, high bits in the
# second. CircularString to Triangle, the types that are not made of straight lines.
_DIMENSION_BITS = 0x1FFFFFFF
_SHORTEST_WKB = 9
"""Byte order, type, and a count of nothing."""
_CURVED = np.array([8, 9, 10, 11, 12, 13, 14])
_FIRST_VERTEX = np.array([0, 5, 9, 13, 14, 18, 22, 0])
"""Where the first vertex begins, by type up to MultiPolygon, if nothing in the geometry is empty
and there is no SRID: behind byte order, type and count of each level."""
_VERTEX_BYTES = 16


class MalformedGeometryError(ValueError):
    """A row's geometry cannot be read; says which and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """One batch of rows."""

    fids: NDArray[np.int64]
    """Stable row numbers of the source."""
    attributes: pa.RecordBatch
    """All columns but the geometry."""
    wkb: pa.Array
    """Binary; null: no geometry."""
    stored: NDArray[np.float64] | None = None
    """(rows, 4) bounding boxes from the file, NaN without geometry; None: not stored."""
    is_exact: bool = False
    """Stored boxes end where the features do; ones rounded to float32 say where to look."""
    linearised: int = 0
    """How many of the rows as they were read had arcs, which are straight lines by now."""

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Return some rows, in the order given."""
        indices = pa.array(rows)
        return Features(
            self.fids[rows],
            self.attributes.take(indices),
            self.wkb.take(indices),
            None if self.stored is None else self.stored[rows],
            self.is_exact,
        )

    def geometries(self) -> NDArray[np.object_]:
        """Return shapely geometries, None where there is none; raises MalformedGeometryError."""
        deep = first_deep_row(self.wkb, np.diff(_offsets(self.wkb)))
        if deep is not None:
            raise self._malformed(deep, f"it nests deeper than {MOST_LEVELS} levels")
        values = self.wkb.to_numpy(zero_copy_only=False)
        try:
            geometries: NDArray[np.object_] = shapely.from_wkb(values)
        except NotImplementedError as error:
            words = "it has arcs; write them as straight lines, or the layer as GeoPackage"
            raise self._malformed(int(curved_rows(self.wkb)[0]), words) from error
        except shapely.errors.ShapelyError as error:
            read = shapely.from_wkb(values, on_invalid="ignore")
            wrong = shapely.is_missing(read) & self.wkb.is_valid().to_numpy(zero_copy_only=False)
            raise self._malformed(int(wrong.argmax()), str(error)) from error
        return geometries

    def _malformed(self, row: int, words: str) -> MalformedGeometryError:
        return MalformedGeometryError(
            f"the geometry of row {self.fids[row]} cannot be read: {words}"
        )


def rows_per_batch(*, total_bytes: int, rows: int) -> int:
    """Return how many rows of a source of `total_bytes` one batch may have."""
    if rows <= 0:
        return _MOST_ROWS
    average = max(1, total_bytes // rows)
    return max(_FEWEST_ROWS, min(_MOST_ROWS, BATCH_BYTES // average))


def is_well_formed(wkb: pa.Array) -> bool:
    """Say whether every row of a binary array that is not null can be WKB.

    GDAL 3.12's FlatGeobuf reader neither marks nor measures rows without geometry, and then lays
    later rows over earlier ones.
    """
    lengths = np.diff(_offsets(wkb))
    present = wkb.is_valid().to_numpy(zero_copy_only=False)
    return bool((lengths >= 0).all() and (lengths[present] >= _SHORTEST_WKB).all())


def is_hollow(wkb: pa.Array) -> bool:
    """Say whether no row of a binary array has a byte.

    GDAL 3.12's FlatGeobuf reader answers a query that finds nothing with one full batch of rows
    that were never filled in, row numbers included.
    """
    offsets = _offsets(wkb)
    return not len(wkb) or bool((offsets == offsets[0]).all())


def curved_rows(wkb: pa.Array) -> NDArray[np.int64]:
    """Return the rows whose geometry has arcs, which GEOS cannot read."""
    present = np.flatnonzero(wkb.is_valid().to_numpy(zero_copy_only=False))
    if not len(present):
        return present
    data = np.frombuffer(wkb.buffers()[2], np.uint8)
    starts = _offsets(wkb)[present]
    digits = data[starts[:, None] + np.arange(1, 5)].astype(np.int64)
    is_big_endian = data[starts] == 0
    digits[is_big_endian] = digits[is_big_endian, ::-1]
    types = digits @ np.array([1, 1 << 8, 1 << 16, 1 << 24])
    curved: NDArray[np.int64] = present[np.isin((types & _DIMENSION_BITS) % 1000, _CURVED)]
    return curved


def first_vertices(wkb: pa.Array) -> NDArray[np.float64]:
    """Return (rows, 2) the first vertex of plain little-endian geometry; any numbers of other."""
    offsets = _offsets(wkb)
    starts, stops = offsets[:-1], offsets[1:]
    vertices = np.full((len(wkb), 2), np.nan)
    rows = np.flatnonzero(stops - starts >= _SHORTEST_WKB)
    if not len(rows):
        return vertices
    data = np.frombuffer(wkb.buffers()[2], np.uint8)
    kinds = (data[starts[rows] + 1] + data[starts[rows] + 2] * np.int64(256)) % 1000
    places = starts[rows] + _FIRST_VERTEX[np.minimum(kinds, len(_FIRST_VERTEX) - 1)]
    fits = places + _VERTEX_BYTES <= stops[rows]
    digits = data[places[fits, np.newaxis] + np.arange(_VERTEX_BYTES)]
    vertices[rows[fits]] = digits.view("<f8")
    return vertices


def bounding_boxes(geometries: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return (rows, 4) xMin, yMin, xMax, yMax; NaN for a missing or empty geometry."""
    boxes: NDArray[np.float64] = shapely.bounds(geometries).reshape(-1, 4)
    return boxes


def inner_points(
    geometries: NDArray[np.object_], boxes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (rows, 2) the point that decides who owns each feature.

    `point_on_surface`; the middle of the bounding box where GEOS finds none (a polygon without
    area). NaN for a missing or empty geometry, and for one without an end.
    """
    has_end = np.isfinite(boxes).all(axis=1)
    ended = geometries
    if not has_end.all():
        ended = geometries.copy()
        ended[~has_end] = None
    points = shapely.point_on_surface(ended)
    points[shapely.is_empty(points)] = None  # GEOS refuses to say where an empty point lies
    coordinates = np.column_stack([shapely.get_x(points), shapely.get_y(points)])
    lost = has_end & np.isnan(coordinates).any(axis=1)
    coordinates[lost] = (boxes[lost, :2] + boxes[lost, 2:]) / 2.0
    return coordinates


def _offsets(wkb: pa.Array) -> NDArray[np.int64]:
    width = np.int64 if pa.types.is_large_binary(wkb.type) else np.int32
    offsets = np.frombuffer(wkb.buffers()[1], width)[wkb.offset : wkb.offset + len(wkb) + 1]
    return offsets.astype(np.int64)
