"""The job's layers on their delivered grids: everything about a plan that no node count changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geopod.api.plan import LayerPlan
from geopod.partitions.extent import Ring, job_extent, no_overlap, polygon_in_work
from geopod.partitions.frame import WorkFrame, choose_frame
from geopod.partitions.grid import Grid, union
from geopod.partitions.inputs import Box, RasterInput, VectorInput
from geopod.partitions.options import PartitionOptions
from geopod.partitions.placement import (
    PlacedRaster,
    PlacedVector,
    RasterPlacer,
    pixel_bytes,
    place_vector,
)
from geopod.partitions.warp import WARP_BLOCK_PX


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A job before it is split."""

    crs: str
    extent: Box
    polygon: Ring | None
    work: Grid | None
    """The pixels of the extent; None: there is no raster grid to cut on."""
    lattice_origin: Grid | None
    """Block corner of the reference: lattice lines are counted from here."""
    block: tuple[int, int]
    """Of the reference; (0, 0): no raster."""
    reference_bytes: int
    """Of one delivered pixel of the reference; 1: no raster."""
    rasters: tuple[PlacedRaster, ...]
    vectors: tuple[PlacedVector, ...]
    layers: tuple[LayerPlan, ...]
    """All layers in the order given."""
    options: PartitionOptions


def place_layers(inputs: Sequence[RasterInput | VectorInput], options: PartitionOptions) -> Scene:
    """Return the layers of a job in its work CRS; at least one is given.

    Raises `NoOverlapError` for a layer that has nothing in the job extent, `LayerCRSError` and
    `InvalidInputError` for a CRS, grid or extent that cannot be used.
    """
    rasters = [layer for layer in inputs if isinstance(layer, RasterInput)]
    vectors = [layer for layer in inputs if isinstance(layer, VectorInput)]
    frame = choose_frame(rasters, vectors, options)
    extent = job_extent(frame, inputs, options.extent)
    polygon = polygon_in_work(frame, options.extent)
    work = None
    if frame.pixels is not None:
        row, col, rows, cols = frame.pixels.windows(extent)[0]
        work = frame.pixels.resized((int(row), int(col), int(rows), int(cols)))
    placed_vectors = tuple(place_vector(one, frame.crs, extent, polygon) for one in vectors)
    placed_rasters: tuple[PlacedRaster, ...] = ()
    if work is not None and rasters:
        placer = RasterPlacer(frame, work, _reach(extent, work, placed_vectors, options), options)
        placed_rasters = placer.place(rasters)
    _refuse_outsiders(placed_rasters, placed_vectors, rasters, extent)
    by_key = {raster.layer.key: raster.layer for raster in placed_rasters}
    return Scene(
        crs=frame.crs,
        extent=extent,
        polygon=polygon,
        work=work,
        lattice_origin=frame.pixels if frame.is_native else work,
        block=_lattice_block(frame),
        reference_bytes=pixel_bytes(frame.reference.header, options) if frame.reference else 1,
        rasters=placed_rasters,
        vectors=placed_vectors,
        layers=tuple(by_key.get(layer.layer.key, layer.layer) for layer in inputs),
        options=options,
    )


def _reach(
    extent: Box, work: Grid, vectors: Sequence[PlacedVector], options: PartitionOptions
) -> Box:
    """Return the box that windows may reach: the extent with its halo, and covered features."""
    x, y = options.overlap * work.dx, options.overlap * work.dy
    reach = (extent[0] - x, extent[1] - y, extent[2] + x, extent[3] + y)
    if options.cover != "features":
        return reach
    for vector in vectors:
        owned = vector.boxes[vector.inside]
        owned = owned[np.isfinite(owned).all(axis=1)]
        if len(owned):
            (x_min, y_min), (x_max, y_max) = owned[:, :2].min(axis=0), owned[:, 2:].max(axis=0)
            reach = union(reach, (float(x_min), float(y_min), float(x_max), float(y_max)))
    return reach


def _lattice_block(frame: WorkFrame) -> tuple[int, int]:
    if frame.reference is None:
        return (0, 0)
    return frame.reference.header.block_shape if frame.is_native else (WARP_BLOCK_PX,) * 2


def _refuse_outsiders(
    placed: Sequence[PlacedRaster],
    vectors: Sequence[PlacedVector],
    rasters: Sequence[RasterInput],
    extent: Box,
) -> None:
    """Raise `NoOverlapError` for a layer without a pixel or a feature's box in the extent."""
    for source, raster in zip(rasters, placed, strict=True):
        window = raster.grid.inside(raster.grid.windows(extent))[0]
        if window[2] * window[3] == 0:
            raise no_overlap(source, extent)
    for vector in vectors:
        if len(vector.boxes) and not vector.inside.any() and not _touches(vector, extent):
            raise no_overlap(vector.source, extent)


def _touches(vector: PlacedVector, extent: Box) -> bool:
    x_min, y_min, x_max, y_max = vector.boxes.T
    is_touching = (
        (x_min <= extent[2]) & (x_max >= extent[0]) & (y_min <= extent[3]) & (y_max >= extent[1])
    )
    return bool(is_touching.any())
