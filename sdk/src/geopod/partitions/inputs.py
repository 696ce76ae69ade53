"""What the planner is given: headers, a few arrays, the limits of a node. No file, no handle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geopod.api.plan import LayerPlan, RasterHeader, VectorHeader

Box = tuple[float, float, float, float]
"""xMin, yMin, xMax, yMax."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RasterInput:
    """A raster layer whose header was read; `layer.raster.warp` is still None."""

    layer: LayerPlan
    resampling: str = "nearest"
    """How the layer is warped, if the plan says that it must be."""
    is_rectified: bool = True
    """False: control points or RPCs place the pixels, `transform` is only the fitted affine."""
    written: NDArray[np.bool_] | None = None
    """(block rows, block cols), north up: which blocks hold bytes. None: all do."""

    @property
    def header(self) -> RasterHeader:
        """What the raster's header says."""
        assert self.layer.raster is not None  # noqa: S101  # a raster layer has a raster header
        return self.layer.raster


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorInput:
    """A vector layer whose header was read; rows of null and empty geometries are counted only."""

    layer: LayerPlan
    boxes: NDArray[np.float64]
    """(features, 4) bounding boxes in the layer's CRS."""
    points: NDArray[np.float64] | None = None
    """(features, 2) points that decide ownership, in the layer's CRS, in the order of `boxes`.

    None: planned by the centres of the boxes, so that the plan's counts are close, not exact.
    """
    empty_geometries: int = 0
    linearised: int = 0
    """Features with arcs, which nodes get as straight lines."""

    @property
    def header(self) -> VectorHeader:
        """What the layer's header says."""
        assert self.layer.vector is not None  # noqa: S101  # a vector layer has a vector header
        return self.layer.vector

    @property
    def planning_points(self) -> NDArray[np.float64]:
        """(features, 2): the ownership points, else the centres of the boxes."""
        if self.points is not None:
            return self.points
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @property
    def bounds(self) -> Box | None:
        """Bounds of all features in the layer's CRS; None: no feature has a geometry."""
        if len(self.boxes) == 0:
            return None
        x_min, y_min = self.boxes[:, :2].min(axis=0)
        x_max, y_max = self.boxes[:, 2:].max(axis=0)
        return (float(x_min), float(y_min), float(x_max), float(y_max))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLimits:
    """What one node may use, in bytes; None: nothing is checked."""

    memory: int | None = None
    """Of the runner's container."""
    scratch: int | None = None
    """Of the runner's container (`ephemeralStorage`)."""
    agent_memory: int | None = None
