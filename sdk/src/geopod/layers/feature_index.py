"""Whether a file's own spatial index knows all of its features: queries lose those it does not.

An index is stale after rows were written past it, as is a count of rows. The `.qix` and `.sbn` of a
Shapefile are files of their own that other software forgets; they are never used (`ogr`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyogrio
from numpy.typing import NDArray

from geopod.layers.ogr import FILE_NUMBER_SHIFT, OgrLayer, ogr_settings
from geopod.layers.sources import SourceFile
from geopod.layers.vsi import gdal_path

_ARC_SLACK = 1e-9
"""Of a coordinate: by how much an arc's straight pieces may leave the arc's own box."""

_ROW_BITS = (1 << FILE_NUMBER_SHIFT) - 1
_FIX = "write it anew: ogr2ogr new.gpkg old.gpkg"


def find_lost(
    layer: OgrLayer, fids: NDArray[np.int64], boxes: NDArray[np.float64], *, has_arcs: bool
) -> str | None:
    """Return which features a query by bounding boxes would lose; None: it finds all.

    Shapes: `fids` (features,) as `read_ogr` yields them, `boxes` (features, 4) without NaN.
    """
    inner = boxes
    if has_arcs:
        inner = boxes + _ARC_SLACK * np.abs(boxes) * np.array([1.0, 1.0, -1.0, -1.0])
    if not len(fids):
        return None
    for number, (file, tree) in enumerate(zip(layer.files, layer.trees, strict=True)):
        if not tree:
            continue
        rows = np.flatnonzero(fids >> FILE_NUMBER_SHIFT == number)
        own = fids[rows] & _ROW_BITS
        lost = own[~_is_known(file, tree, own, inner[rows])]
        if len(lost):
            return (
                f"the spatial index of {file.href} does not know {len(lost):,} of its "
                f"{len(own):,} features, or not where they are (the first is row {lost.min()}); "
                f"{_FIX}"
            )
    return None


def find_repeated(layer: OgrLayer, fids: NDArray[np.int64]) -> str | None:
    """Return which rows were read twice; None: each was read once.

    GDAL 3.12 fills up what it reads of a GeoPackage to the count of rows that the file keeps.
    """
    if (np.diff(fids) > 0).all():
        return None
    rows, times = np.unique(fids, return_counts=True)
    repeated = rows[times > 1]
    if not len(repeated):
        return None
    file = layer.files[int(repeated[0]) >> FILE_NUMBER_SHIFT]
    row = int(repeated[0]) & _ROW_BITS
    return (
        f"{len(repeated):,} of the {len(rows):,} features of {file.href} are there twice (the "
        f"first is row {row}), as when it keeps a count that is stale; {_FIX}"
    )


def _is_known(
    file: SourceFile, tree: str, fids: NDArray[np.int64], boxes: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say for which features the R-tree of a GeoPackage has a box around theirs."""
    order = np.argsort(fids, kind="stable")
    ordered = fids[order]
    is_known = np.zeros(len(fids), np.bool_)
    for ids, stored in _read_tree(file, tree):
        places = np.searchsorted(ordered, ids)
        is_row = ordered.take(places, mode="clip") == ids
        rows = order[places[is_row]]
        box = boxes[rows]
        is_known[rows] = (stored[:2, is_row] <= box[:, :2].T).all(axis=0) & (
            stored[2:, is_row] >= box[:, 2:].T
        ).all(axis=0)
    return is_known


def _read_tree(
    file: SourceFile, tree: str
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield row numbers and (4, rows) boxes of an R-tree."""
    name = tree.replace('"', '""')
    query = f'SELECT id, minx, miny, maxx, maxy FROM "{name}"'  # noqa: S608  # quoted
    with (
        ogr_settings(file),
        pyogrio.raw.open_arrow(
            gdal_path(file), sql=query, read_geometry=False, use_pyarrow=True
        ) as (_, reader),
    ):
        for batch in reader:
            edges = [batch.column(name).to_numpy() for name in ("minx", "miny", "maxx", "maxy")]
            yield batch.column("id").to_numpy(), np.stack(edges)
