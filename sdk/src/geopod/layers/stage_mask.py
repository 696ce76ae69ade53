"""Write which pixels of one node lie in the job's polygon: the raster under the key `mask`."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geopod.api.plan import Partition, Plan
from geopod.layers.crs import canonical_crs
from geopod.layers.grids import Coefficients, Window, walk_blocks
from geopod.layers.npy import NpyWriter
from geopod.layers.stage_rasters import place_record

MASK_KEY = "mask"
_BLOCK = (256, 256)
_MOST_PIXELS = 1 << 19
"""Two float64 coordinates per pixel: 8 MiB."""


def stage_mask(plan: Plan, partition: Partition, path: Path) -> dict[str, Any] | None:
    """Write 1 for work pixels whose centre lies in the polygon, else 0, and return the record.

    None: the job has no polygon, or no raster grid.
    """
    work = plan.work
    if work is None or work.polygon is None or work.transform is None:
        return None
    core, padded = _windows(work.transform, partition, overlap=int(plan.options["overlap"]))
    polygon = shapely.Polygon(work.polygon)
    shapely.prepare(polygon)
    a, _, c, _, e, f = work.transform
    shape = (1, padded[2], padded[3])
    with NpyWriter(path, shape=shape, dtype=np.dtype(np.uint8)) as target:
        for part in walk_blocks(padded, _BLOCK, phase=(0, 0), most_pixels=_MOST_PIXELS):
            row, column, height, width = part
            x = c + (np.arange(column, column + width) + 0.5) * a
            y = f + (np.arange(row, row + height) + 0.5) * e
            inside = shapely.contains_xy(polygon, *np.meshgrid(x, y))
            target.write(row - padded[0], column - padded[1], inside[None].astype(np.uint8))
    return place_record(MASK_KEY, work.transform, padded, core) | {
        "pathId": MASK_KEY,
        "timestamp": MASK_KEY,
        "date": None,
        "crs": canonical_crs(work.crs, path_id=MASK_KEY),
        "nodata": None,
        "bands": [MASK_KEY],
        "dtype": "uint8",
        "shape": list(shape),
        "fill": 0,
        "scales": [1.0],
        "offsets": [0.0],
    }


def _windows(
    transform: Coefficients, partition: Partition, *, overlap: int
) -> tuple[Window, Window]:
    """Return the core and padded windows on the work grid: the pixels whose centre is inside."""
    if partition.core is None:
        return (0, 0, 0, 0), (0, 0, 0, 0)
    a, _, c, _, e, f = transform
    x_min, y_min, x_max, y_max = partition.core
    left, right = (ceil((x - c) / a - 0.5) for x in (x_min, x_max))
    top, bottom = (ceil((y - f) / e - 0.5) for y in (y_max, y_min))
    core = (top, left, bottom - top, right - left)
    return core, (top - overlap, left - overlap, core[2] + 2 * overlap, core[3] + 2 * overlap)
