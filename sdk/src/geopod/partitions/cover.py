"""Growing windows to the bounds of owned features, so that zonal sums see whole zones.

Source: the project's geodata design, §3 (`cover: features`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geopod.api.plan import Partition
from geopod.partitions.cutting import Part
from geopod.partitions.inputs import Box
from geopod.partitions.placement import PlacedVector
from geopod.partitions.scene import Scene
from geopod.partitions.windows import cores_of, last_edges


def cover_features(
    scene: Scene, parts: Sequence[Part | None]
) -> tuple[NDArray[np.float64], dict[str, int]]:
    """Return the box each part's windows must reach, and the features left uncovered, by key.

    Shapes: (parts that are not None, 4), in the work CRS. Features that reach over a core's edge
    by more than `maxCover` pixels do not grow its windows, and are counted.
    """
    margin = _margin(scene)
    reach = cores_of(parts)
    uncovered = dict.fromkeys((vector.source.layer.key for vector in scene.vectors), 0)
    for row, core in enumerate(reach.copy()):
        for vector in scene.vectors:
            boxes = vector.boxes[_may_own(vector, tuple(core.tolist()), scene.extent)]
            is_near = (boxes[:, :2] >= core[:2] - margin) & (boxes[:, 2:] <= core[2:] + margin)
            near = boxes[is_near.all(axis=1)]
            covered = np.concatenate([near, reach[row : row + 1]])
            reach[row, :2], reach[row, 2:] = covered[:, :2].min(axis=0), covered[:, 2:].max(axis=0)
            uncovered[vector.source.layer.key] += len(boxes) - len(near)
    return reach, uncovered


def _margin(scene: Scene) -> NDArray[np.float64]:
    """Return how far windows may grow in x and in y, in units of the work CRS."""
    most = scene.options.max_cover
    if most is None or scene.work is None:
        return np.array([np.inf, np.inf])
    return np.array([most * scene.work.dx, most * scene.work.dy])


def _may_own(vector: PlacedVector, core: Box, extent: Box) -> NDArray[np.bool_]:
    """Say which features a core owns; by box centres alone, all that touch it might be."""
    if vector.source.points is not None:
        owner = Partition(index=0, core=core, inclusive=last_edges(core, extent))
        owned: NDArray[np.bool_] = owner.owns(vector.points[:, 0], vector.points[:, 1])
        return owned & vector.inside
    x_min, y_min, x_max, y_max = vector.boxes.T
    touching: NDArray[np.bool_] = (
        (x_min <= core[2]) & (x_max >= core[0]) & (y_min <= core[3]) & (y_max >= core[1])
    )
    return touching
