"""Planner input made by code: headers of generated layers, without a file."""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
from geopod.api.plan import LayerPlan, Plan, RasterHeader, VectorHeader
from geopod.partitions import (
    NodeLimits,
    RasterInput,
    VectorInput,
    make_plan,
    read_options,
)
from layer_builders import RasterSpec, raster_spec, scene_polygons, spec_30m_off_by_7m
from numpy.typing import NDArray

PLANNER = {"geopod": "test"}
NODE_COUNTS = (1, 2, 3, 7, 16, 64, 199)


def raster_input(
    spec: RasterSpec | None = None,
    key: str = "dem",
    *,
    path_id: str | None = None,
    transform: tuple[float, ...] | None = None,
    **changes: Any,
) -> RasterInput:
    """The header of a generated raster; `changes` go to `RasterInput`."""
    spec = spec or raster_spec()
    block = (1, spec.cols) if spec.block is None else (spec.block, spec.block)
    header = RasterHeader(
        crs=spec.crs or "",
        transform=transform or tuple(spec.transform)[:6],
        shape=(spec.rows, spec.cols),
        dtype=spec.dtype,
        nodata=spec.nodata,
        bands=tuple(f"b{band}" for band in range(1, spec.bands + 1)),
        band_indexes=tuple(range(1, spec.bands + 1)),
        block_shape=block,
    )
    layer = LayerPlan(
        key=key,
        path_id=path_id or f"path-{key}",
        timestamp=key,
        kind="raster",
        hrefs=(f"/layers/{key}.tif",),
        driver="GTiff",
        version={"size": "1", "mtime": "1"},
        raster=header,
    )
    return RasterInput(layer=layer, **changes)


def vector_input(
    boxes: NDArray[np.float64],
    key: str = "parcels",
    *,
    crs: str = "EPSG:32616",
    points: NDArray[np.float64] | None = None,
    empty_geometries: int = 0,
) -> VectorInput:
    """The header of a vector layer with these boxes (n, 4); (n, 2): points."""
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.shape[1] == 2:
        boxes = np.concatenate([boxes, boxes], axis=1)
    header = VectorHeader(
        crs=crs,
        columns=("id",),
        feature_count=len(boxes) + empty_geometries,
        bbox_source="scan",
    )
    layer = LayerPlan(
        key=key,
        path_id=f"path-{key}",
        timestamp=key,
        kind="vector",
        hrefs=(f"/layers/{key}.parquet",),
        driver="Parquet",
        version={"size": "1", "mtime": "1"},
        vector=header,
    )
    return VectorInput(layer=layer, boxes=boxes, points=points, empty_geometries=empty_geometries)


def frame_input(
    frame: geopandas.GeoDataFrame, key: str = "parcels", *, exact: bool = False
) -> VectorInput:
    """What a reader says of a GeoDataFrame; `exact`: with the points that decide ownership."""
    is_missing = frame.geometry.isna() | frame.geometry.is_empty
    there = frame[~is_missing]
    points = ownership_points(there) if exact else None
    return vector_input(
        there.geometry.bounds.to_numpy(),
        key,
        crs=str(frame.crs),
        points=points,
        empty_geometries=int(is_missing.sum()),
    )


def ownership_points(frame: geopandas.GeoDataFrame, crs: str | None = None) -> NDArray[np.float64]:
    """`point_on_surface` in the layer's CRS, then in `crs`; NaN where there is no geometry."""
    points = frame.geometry.representative_point()
    placed = points.to_crs(crs) if crs is not None else points
    return np.stack([placed.x.to_numpy(), placed.y.to_numpy()], axis=1)


def plan_of(
    *inputs: RasterInput | VectorInput,
    nodes: int = 4,
    limits: NodeLimits | None = None,
    files: tuple[Any, ...] = (),
    **options: Any,
) -> Plan:
    """Plan these layers; `options` as in `spec.partitioning`, camelCase."""
    return make_plan(
        inputs,
        read_options(options),
        nodes,
        files=files,
        planner=PLANNER,
        limits=limits or NodeLimits(),
    )


def sample_plan(nodes: int = 16) -> Plan:
    """A plan with every kind of layer: shifted, of another CRS, vector; halo and cover."""
    degrees = raster_spec(crs="EPSG:4326", origin=(-87.002, 36.145), pixel=0.0002)
    return plan_of(
        raster_input(),
        raster_input(spec_30m_off_by_7m(), "coarse"),
        raster_input(degrees, "degrees", resampling="cubic"),
        frame_input(scene_polygons()),
        nodes=nodes,
        overlap=4,
        features="clip",
        cover="features",
    )
