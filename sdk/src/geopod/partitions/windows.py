"""From cores to partitions: owned and padded windows of every raster, bytes, features.

Source: the project's geodata design, §3 (pixel ownership, halo, cover).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geopod.api.plan import Partition
from geopod.partitions.cutting import Part
from geopod.partitions.inputs import Box
from geopod.partitions.placement import PlacedRaster
from geopod.partitions.scene import Scene

FEATURE_BYTES = 1000
"""What one feature takes in memory: the rule of thumb of the plan-time guards."""

Windows = NDArray[np.int64]
"""(cores, 4): row, col, height, width on a layer's delivered grid."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowTable:
    """The windows of all cores, by layer key."""

    owned: dict[str, Windows]
    """As if the layers had no end: all layers of a node cover its whole core."""
    padded: dict[str, Windows]
    staged_bytes: NDArray[np.int64]
    """(cores,)"""


def table_windows(
    scene: Scene, cores: NDArray[np.float64], reach: NDArray[np.float64] | None = None
) -> WindowTable:
    """Return the windows of `cores` (n, 4) on every raster.

    `reach` (n, 4): boxes that the padded windows must cover too, where the layer has pixels.
    """
    owned, padded = {}, {}
    staged = np.zeros(len(cores), np.int64)
    for raster in scene.rasters:
        windows = raster.grid.windows(cores)
        wide = with_halo(windows, raster.halo)
        if reach is not None:
            wide = _joined(wide, raster.grid.touching(reach))
        owned[raster.layer.key], padded[raster.layer.key] = windows, wide
        staged += wide[:, 2] * wide[:, 3] * raster.pixel_bytes
    return WindowTable(owned, padded, staged)


def describe_parts(
    scene: Scene, parts: Sequence[Part | None], reach: NDArray[np.float64] | None = None
) -> tuple[Partition, ...]:
    """Return one partition per part; `reach` as in `table_windows`, for the parts that are."""
    table = table_windows(scene, cores_of(parts), reach)
    partitions: list[Partition] = []
    row = 0
    for index, part in enumerate(parts):
        if part is None:
            partitions.append(Partition(index=index, core=None))
            continue
        staged = int(table.staged_bytes[row])
        partitions.append(
            Partition(
                index=index,
                core=part.core,
                inclusive=last_edges(part.core, scene.extent),
                windows=_row(table.owned, row),
                padded=_row(table.padded, row),
                cost=part.cost,
                est_bytes=staged + FEATURE_BYTES * part.features,
                est_features=part.features,
            )
        )
        row += 1
    return tuple(partitions)


def cores_of(parts: Sequence[Part | None]) -> NDArray[np.float64]:
    """Return the cores (n, 4) of the parts that are not None."""
    cores = [part.core for part in parts if part is not None]
    return np.array(cores, dtype=np.float64).reshape(-1, 4)


def last_edges(core: Box, extent: Box) -> tuple[bool, bool]:
    """Say whether the core's right and bottom edges are the extent's own.

    A point there counts as just inside: no other core could own it.
    """
    return (core[2] == extent[2], core[1] == extent[1])


def with_halo(windows: Windows, halo: tuple[int, int]) -> Windows:
    """Return windows grown by `halo` (rows, cols) on each side; they may leave the layer."""
    rows, cols = halo
    grown: Windows = windows + np.array([-rows, -cols, 2 * rows, 2 * cols])
    return grown


def decoded_blocks(raster: PlacedRaster, windows: Windows) -> int:
    """Return how many blocks are read for all windows, those read twice counted twice."""
    height, width = raster.block
    row, col, rows, cols = raster.grid.inside(windows).T
    down = -(-(row + rows) // height) - row // height
    across = -(-(col + cols) // width) - col // width
    return int((down * across)[(rows > 0) & (cols > 0)].sum())


def _joined(windows: Windows, others: Windows) -> Windows:
    """Return the smallest windows that hold both; an empty other adds nothing."""
    first = np.minimum(windows[:, :2], others[:, :2])
    stop = np.maximum(windows[:, :2] + windows[:, 2:], others[:, :2] + others[:, 2:])
    is_empty = (others[:, 2:] == 0).any(axis=1, keepdims=True)
    return np.where(is_empty, windows, np.concatenate([first, stop - first], axis=1))


def _row(table: dict[str, Windows], row: int) -> dict[str, tuple[int, int, int, int]]:
    return {key: tuple(windows[row].tolist()) for key, windows in table.items()}
