"""Copy one node's window of a raster layer into a `.npy` file, in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopod.api.plan import LayerPlan, Partition, Plan, RasterHeader
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.crs import canonical_crs
from geopod.layers.grids import (
    Coefficients,
    Window,
    intersect,
    shift_transform,
    slices_within,
    window_extent,
)
from geopod.layers.npy import NpyWriter
from geopod.layers.raster import delivered_grid, open_raster
from geopod.layers.raster_files import fill_value, nodata_value

PART_BYTES = 16 << 20
"""What is read at once: large enough to keep GDAL busy, small beside the agent's memory."""
_NOTHING: Window = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class StagedLayer:
    """A layer's entry in DONE, and whether its core holds anything but nodata."""

    record: dict[str, Any]
    has_data: bool
    """True where nobody asks (`skipNodata`)."""


def stage_raster(
    layer: LayerPlan,
    plan: Plan,
    partition: Partition,
    path: Path,
    *,
    access: Access = OWN_MACHINE,
) -> StagedLayer:
    """Write the padded window of `layer` to `path` and return its record.

    Raises LayerAccessError.
    """
    header = _header(layer)
    padded = partition.padded.get(layer.key, _NOTHING)
    core = partition.windows.get(layer.key, _NOTHING)
    with_validity = has_validity_band(plan)
    has_data = not plan.options.get("skipNodata")
    with open_raster(layer, window=padded, with_validity=with_validity, access=access) as raster:
        shape = (raster.count + with_validity, padded[2], padded[3])
        with NpyWriter(path, shape=shape, dtype=raster.dtype) as target:
            for first, part, pixels in raster.pieces(padded, most_bytes=PART_BYTES):
                target.write(part[0] - padded[0], part[1] - padded[1], pixels, first_band=first)
                if first < raster.count and not has_data:
                    has_data = _core_has_data(pixels, part, core, raster.fill)
    record = _record(layer, header, padded, core, with_validity=with_validity)
    return StagedLayer(record, has_data)


def has_validity_band(plan: Plan) -> bool:
    """Say whether rasters get a last band that says where they have pixels."""
    grid = plan.options.get("grid")
    return grid is not None and grid.get("preset") == "ellipsis"


def _record(
    layer: LayerPlan, header: RasterHeader, padded: Window, core: Window, *, with_validity: bool
) -> dict[str, Any]:
    transform, _, crs = delivered_grid(header)
    count = len(header.band_indexes) + with_validity
    return place_record(layer.key, transform, padded, core) | {
        "pathId": layer.path_id,
        "timestamp": layer.timestamp,
        "date": layer.date,
        "crs": canonical_crs(crs, path_id=layer.path_id),
        "nodata": nodata_value(header),
        "bands": [*header.bands, *(["validity"] if with_validity else [])],
        "dtype": header.dtype,
        "shape": [count, padded[2], padded[3]],
        "fill": fill_value(header),
        "scales": [*header.scales, *([1.0] if with_validity else [])],
        "offsets": [*header.offsets, *([0.0] if with_validity else [])],
    }


def place_record(key: str, transform: Coefficients, padded: Window, core: Window) -> dict[str, Any]:
    """Return the part of a record that says where the array lies."""
    rows, columns = slices_within(core, padded)
    return {
        "key": key,
        "kind": "raster",
        "extent": list(window_extent(transform, padded)),
        "transform": list(shift_transform(transform, row=padded[0], column=padded[1])),
        "core": [rows.start, rows.stop, columns.start, columns.stop],
        "coreExtent": list(window_extent(transform, core)),
    }


def _core_has_data(pixels: NDArray[Any], part: Window, core: Window, fill: float) -> bool:
    """Say whether a part's pixels hold anything but nodata inside the core."""
    inside = intersect(part, core)
    if inside is None:
        return False
    rows, columns = slices_within(inside, part)
    return _has_data(pixels[:, rows, columns], fill)


def _has_data(pixels: NDArray[Any], fill: float) -> bool:
    return bool((~np.isnan(pixels) if math.isnan(fill) else pixels != fill).any())


def _header(layer: LayerPlan) -> RasterHeader:
    if layer.raster is None:
        raise ValueError(f"{layer.key} is not a raster layer")
    return layer.raster
