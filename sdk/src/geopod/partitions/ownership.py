"""How many features each partition owns, of layers whose points are known: what nodes must find."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from geopod.api.plan import Partition
from geopod.partitions.placement import PlacedVector
from geopod.partitions.scene import Scene


def with_owned(scene: Scene, partitions: Sequence[Partition]) -> tuple[Partition, ...]:
    """Return the partitions with the number of features that each owns of each such layer."""
    known = [vector for vector in scene.vectors if vector.source.points is not None]
    if not known:
        return tuple(partitions)
    counts = {vector.source.layer.key: _count_owned(vector, partitions) for vector in known}
    return tuple(
        partition
        if partition.core is None
        else msgspec.structs.replace(
            partition, owned={key: int(found[row]) for key, found in counts.items()}
        )
        for row, partition in enumerate(partitions)
    )


def _count_owned(vector: PlacedVector, partitions: Sequence[Partition]) -> NDArray[np.int64]:
    """Count by the rule that nodes follow; cores are compared with the points in their columns."""
    points = vector.points[vector.inside]
    x, y = points[np.argsort(points[:, 0], kind="stable")].T
    counts = np.zeros(len(partitions), np.int64)
    for row, partition in enumerate(partitions):
        if partition.core is None:
            continue
        first = np.searchsorted(x, partition.core[0], side="left")
        stop = np.searchsorted(x, partition.core[2], side="right")
        counts[row] = np.count_nonzero(partition.owns(x[first:stop], y[first:stop]))
    return counts
