"""One core per node: the lattice or the points of a scene, bisected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geopod.partitions.bisection import Rectangle, bisect, rectangle_sum, summed_area
from geopod.partitions.features import split_points
from geopod.partitions.inputs import Box
from geopod.partitions.lattice import Lattice, build_lattice
from geopod.partitions.scene import Scene


@dataclass(frozen=True, slots=True)
class Part:
    """What one node owns."""

    core: Box
    """Edges in the work CRS; neighbours share the same floats."""
    cost: int
    features: int
    """Points inside, all vector layers."""


def cut_scene(scene: Scene, nodes: int) -> tuple[int, list[Part | None]]:
    """Return the lattice unit (pixels; 0: none) and one part per node; None: nothing is left.

    The cores tile the job extent; cells outside the job polygon may belong to none.
    """
    if scene.work is None and scene.options.balance != "area":
        points = [vector.points[vector.inside] for vector in scene.vectors]
        found = split_points(np.concatenate(points), scene.extent, nodes)
        return 0, [None if part is None else Part(part[0], part[1], part[1]) for part in found]
    lattice = build_lattice(scene, nodes)
    rectangles = bisect(lattice.cost, nodes)
    if scene.polygon is not None:
        rectangles = [rectangle and _shrunk(lattice, rectangle) for rectangle in rectangles]
    costs, features = summed_area(lattice.cost), summed_area(lattice.features)
    return lattice.unit, [
        rectangle
        and Part(
            core=_core(lattice, rectangle),
            cost=rectangle_sum(costs, rectangle),
            features=rectangle_sum(features, rectangle),
        )
        for rectangle in rectangles
    ]


def _core(lattice: Lattice, rectangle: Rectangle) -> Box:
    r0, r1, c0, c1 = rectangle
    return (
        float(lattice.x[c0]),
        float(lattice.y[r1]),
        float(lattice.x[c1]),
        float(lattice.y[r0]),
    )


def _shrunk(lattice: Lattice, rectangle: Rectangle) -> Rectangle | None:
    """Return the part of a rectangle that the job polygon reaches; None: it does not."""
    r0, r1, c0, c1 = rectangle
    is_job = lattice.is_job[r0:r1, c0:c1]
    rows, cols = np.flatnonzero(is_job.any(axis=1)), np.flatnonzero(is_job.any(axis=0))
    if len(rows) == 0:
        return None
    return (r0 + int(rows[0]), r0 + int(rows[-1]) + 1, c0 + int(cols[0]), c0 + int(cols[-1]) + 1)
