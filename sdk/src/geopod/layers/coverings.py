"""The bounding boxes that a GeoParquet file says its features have: where to look, until they lie.

A node parses no more geometry than it must: of a feature whose stored box decides who owns it one
vertex is looked at, and the whole of it if that lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geopod.layers.crs import Box, boxes_meet
from geopod.layers.features import Features, MalformedGeometryError, bounding_boxes, first_vertices

Boxes = NDArray[np.float64]
# Relative size of what rounding to float32 may have cut off a box.
_FLOAT32_SLACK = 1e-6


def group_meets(covering: Sequence[str], rows: Any, boxes: Sequence[Box]) -> bool:
    """Say whether a row group's statistics leave room for a feature in one of the boxes."""
    statistics = {
        rows.column(number).path_in_schema: rows.column(number).statistics
        for number in range(rows.num_columns)
        if rows.column(number).path_in_schema in covering
    }
    edges: list[Any] = [statistics.get(path) for path in covering]
    if any(edge is None or not edge.has_min_max for edge in edges):
        return True
    extent = _padded((edges[0].min, edges[1].min, edges[2].max, edges[3].max))
    return any(boxes_meet(extent, box) for box in boxes)


def stored_boxes(covering: Sequence[str], file: pq.ParquetFile, group: int) -> tuple[Boxes, bool]:
    """Return the stored bounding boxes of a row group, and whether they are exact."""
    table = file.read_row_group(group, columns=list(covering))
    edges = []
    is_exact = True
    for path in covering:
        struct, _, field = path.partition(".")
        column = table.column(struct).combine_chunks()
        edge = column.flatten()[column.type.get_field_index(field)]
        is_exact &= pa.types.is_float64(edge.type)
        edges.append(edge.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.column_stack(edges), is_exact


def meeting(stored: Boxes, boxes: Sequence[Box]) -> NDArray[np.bool_]:
    """Say which stored boxes share a point with one of `boxes`, rounding allowed for."""
    met = np.zeros(len(stored), np.bool_)
    for box in boxes:
        x_min, y_min, x_max, y_max = _padded(box)
        met |= (
            (stored[:, 0] <= x_max)
            & (stored[:, 2] >= x_min)
            & (stored[:, 1] <= y_max)
            & (stored[:, 3] >= y_min)
        )
    return met


def are_plausible(stored: Boxes, bounds: Box | None) -> bool:
    """Say whether boxes can be what they should be, of features that lie within `bounds`.

    They are no boxes to compare where one runs over the antimeridian, from east to west.
    """
    there = stored[np.isfinite(stored).all(axis=1)]
    if (there[:, :2] > there[:, 2:]).any():
        return False
    if bounds is None:
        return True
    return bool(_are_within(there, np.tile(np.array(bounds), (len(there), 1))).all())


def are_complete(stored: Boxes, file: pq.ParquetFile, group: int, *, geometry: str) -> bool:
    """Say whether a row group has a box for every geometry that has a place."""
    nowhere = ~np.isfinite(stored).all(axis=1)
    if not nowhere.any():
        return True
    # Most have no geometry either, or an empty one.
    wkb = file.read_row_group(group, columns=[geometry]).column(geometry).combine_chunks()
    storage = wkb.storage if isinstance(wkb, pa.ExtensionArray) else wkb
    unsure = storage.filter(pa.array(nowhere)).drop_null().cast(pa.binary())
    fids = np.flatnonzero(nowhere & wkb.is_valid().to_numpy(zero_copy_only=False))
    nothing = pa.RecordBatch.from_arrays([], names=[])
    shapes = Features(fids, nothing, unsure).geometries()
    return not np.isfinite(bounding_boxes(shapes)).all(axis=1).any()


def check_boxes(features: Features, boxes: Boxes) -> None:
    """Raise MalformedGeometryError for geometry that reaches out of the box stored for it.

    Shapes: `boxes` (rows, 4) of the geometries themselves.
    """
    stored = features.stored
    if stored is None:
        return
    wrong = np.isfinite(stored).all(axis=1) & ~_are_within(boxes, stored)
    if wrong.any():
        row = int(wrong.argmax())
        raise MalformedGeometryError(
            f"the geometry of row {features.fids[row]} lies in {_words(boxes[row])}, the bounding "
            f"box that the file has for it is {_words(stored[row])} ({np.count_nonzero(wrong):,} "
            f"such rows among {len(stored):,} that were looked at); write it anew"
        )


def check_vertices(features: Features) -> None:
    """Raise what `check_boxes` raises, for features one vertex of which shows it."""
    stored = features.stored
    if stored is None:
        return
    vertices = np.tile(first_vertices(features.wkb), 2)
    unsure = np.flatnonzero(~_are_within(vertices, stored))
    if len(unsure):
        doubted = features.take(unsure)
        check_boxes(doubted, bounding_boxes(doubted.geometries()))


def _are_within(boxes: Boxes, stored: Boxes) -> NDArray[np.bool_]:
    slack = np.abs(stored).max(axis=1, initial=0.0)[:, np.newaxis] * _FLOAT32_SLACK
    within: NDArray[np.bool_] = (boxes[:, :2] >= stored[:, :2] - slack).all(axis=1) & (
        boxes[:, 2:] <= stored[:, 2:] + slack
    ).all(axis=1)
    return within


def _words(box: NDArray[np.float64]) -> str:
    if np.isnan(box).any():
        return "no place"
    return ", ".join(f"{edge:.10g}" for edge in box)


def _padded(box: Box) -> Box:
    slack = max(abs(edge) for edge in box) * _FLOAT32_SLACK
    return (box[0] - slack, box[1] - slack, box[2] + slack, box[3] + slack)
