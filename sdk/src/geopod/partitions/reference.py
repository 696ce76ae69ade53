"""Which raster is the reference: the one with the smallest ground pixel, or the one asked for.

Source: the project's geodata design, §3 (work grid, antimeridian).
"""

from __future__ import annotations

from collections.abc import Sequence

from geopod.errors import InvalidInputError
from geopod.partitions.crs import (
    LONGITUDE_LATITUDE,
    bounds_in,
    ground_pixel_m,
    is_geographic,
    is_same_crs,
    pixel_in,
    refuse_unusable_crs,
    wkt_of,
)
from geopod.partitions.grid import centre, footprint, intersection
from geopod.partitions.inputs import Box, RasterInput, VectorInput
from geopod.partitions.options import PartitionOptions

WEB_MERCATOR = "EPSG:3857"
SAME_SIZE = 1e-6
"""Pixels whose sides differ by a smaller share are a tie, which the first layer wins."""


def choose_reference(
    rasters: Sequence[RasterInput], vectors: Sequence[VectorInput], options: PartitionOptions
) -> tuple[RasterInput | None, str]:
    """Return the reference raster (None: there is no raster) and the work CRS.

    Raises `LayerCRSError` for a CRS that PROJ cannot use, `InvalidInputError` for a `grid.like`
    that names no raster.
    """
    _refuse_unusable([*rasters, *vectors], options)
    reference = _asked_or_smallest(rasters, options)
    default = reference.header.crs if reference is not None else vectors[0].header.crs
    if options.grid is not None and options.grid.preset == "ellipsis":
        return reference, wkt_of(WEB_MERCATOR)
    if options.crs != "native":
        is_default = is_same_crs(options.crs, default)
        return reference, default if is_default else wkt_of(options.crs)
    crossing = _crossing_crs(rasters, vectors, default)
    if crossing is None:
        return reference, default
    own = [raster for raster in rasters if is_same_crs(raster.header.crs, crossing)]
    return (_smallest(own, options) if own else reference), crossing


def _refuse_unusable(
    layers: Sequence[RasterInput | VectorInput], options: PartitionOptions
) -> None:
    """Raise `LayerCRSError` for a CRS that PROJ cannot use, if the job has more than one."""
    named = {options.crs} - {"native"} | {options.extent.crs} - {None}
    has_preset = options.grid is not None and options.grid.preset is not None
    if len({layer.header.crs for layer in layers} | named) == 1 and not has_preset:
        return
    for layer in layers:
        refuse_unusable_crs(layer.header.crs, LONGITUDE_LATITUDE, path_id=layer.layer.path_id)
    for crs in named:
        refuse_unusable_crs(str(crs), LONGITUDE_LATITUDE, path_id="(spec.partitioning)")


def _asked_or_smallest(
    rasters: Sequence[RasterInput], options: PartitionOptions
) -> RasterInput | None:
    like = options.grid.like if options.grid else None
    if like is None:
        return _smallest(rasters, options) if rasters else None
    for raster in rasters:
        if raster.layer.key == like:
            return raster
    raise InvalidInputError.value(
        name="grid.like",
        value=like,
        why="is not the timestampId of a raster layer of this environment",
        fix=f"one of {', '.join(raster.layer.key for raster in rasters) or 'none'}",
    )


def _smallest(rasters: Sequence[RasterInput], options: PartitionOptions) -> RasterInput:
    """Return the raster with the smallest ground pixel at the job centre; tie: the first."""
    sizes = _pixel_sizes(rasters, options)
    best = 0
    for index, size in enumerate(sizes):
        if size < sizes[best] * (1 - SAME_SIZE):
            best = index
    return rasters[best]


def _pixel_sizes(rasters: Sequence[RasterInput], options: PartitionOptions) -> list[float]:
    first = rasters[0].header.crs
    if all(is_same_crs(raster.header.crs, first) for raster in rasters):
        return [
            pixel_in(raster.header.transform, first, first, centre=(0.0, 0.0)) for raster in rasters
        ]
    place, crs = _job_centre(rasters, options)
    return [
        ground_pixel_m(raster.header.transform, raster.header.crs, place=place, place_crs=crs)
        for raster in rasters
    ]


def _job_centre(
    rasters: Sequence[RasterInput], options: PartitionOptions
) -> tuple[tuple[float, float], str]:
    """Return the centre of the given bbox, else of the part that the rasters share."""
    named = None if options.crs == "native" else options.crs
    crs = options.extent.crs or named
    if options.extent.bbox is not None and crs is not None:
        return centre(options.extent.bbox), crs
    first = rasters[0].header
    shared = footprint(first.transform, first.shape)
    for raster in rasters[1:]:
        header = raster.header
        bounds = bounds_in(footprint(header.transform, header.shape), header.crs, first.crs)
        if bounds is not None and bounds[0] <= bounds[2]:
            shared = intersection(shared, bounds) or shared
    return centre(shared), first.crs


def _crossing_crs(
    rasters: Sequence[RasterInput], vectors: Sequence[VectorInput], default: str
) -> str | None:
    """Return the projected CRS of a layer that lies across the antimeridian of `default`."""
    both: list[RasterInput | VectorInput] = [*rasters, *vectors]
    layers = [layer for layer in both if layer.header.crs != default]
    if not layers or not is_geographic(default):
        return None
    for layer in layers:
        box = layer_bounds(layer)
        bounds = None if box is None else bounds_in(box, layer.header.crs, default)
        if bounds is not None and bounds[0] > bounds[2]:
            return layer.header.crs
    return None


def layer_bounds(layer: RasterInput | VectorInput) -> Box | None:
    """Return a layer's bounds in its own CRS; None: no feature has a geometry."""
    if isinstance(layer, RasterInput):
        return footprint(layer.header.transform, layer.header.shape)
    return layer.bounds
