"""Splitting a job that has features and no pixels: bisection between the points themselves.

Source: the project's geodata design, §3 (vector only: the same bisection over bbox centres, lines
halfway between distinct coordinates).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geopod.partitions.inputs import Box


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Distinct points, each with the number of features it stands for, in one box.

    Both axes ascend: `axes[1]` holds -y, so that top and left follow one rule.
    """

    axes: NDArray[np.float64]
    """(2, points)"""
    weights: NDArray[np.int64]
    """(points,)"""
    orders: tuple[NDArray[np.int64], NDArray[np.int64]]
    """The points of the box, ascending in x, and ascending in -y."""
    box: tuple[float, float, float, float]
    """Low x, high x, low -y, high -y."""

    @property
    def core(self) -> Box:
        """The box as xMin, yMin, xMax, yMax."""
        low_x, high_x, low_y, high_y = self.box
        return (low_x, -high_y, high_x, -low_y)

    @property
    def count(self) -> int:
        """How many features the box holds."""
        return int(self.weights[self.orders[0]].sum())


class PointCut(NamedTuple):
    """One line between points; the smallest tuple wins."""

    penalty: int
    is_short: bool
    first_parts: int
    axis: int
    points: int
    """Distinct points before the line."""


def split_points(
    points: NDArray[np.float64], extent: Box, parts: int
) -> list[tuple[Box, int] | None]:
    """Split an extent into boxes that own equal numbers of points, as far as these allow.

    Shapes: `points` (n, 2), all inside `extent`. Returns `parts` boxes that cover the extent, each
    with its count; with more parts than distinct points the rest is None.
    """
    cloud = _whole(points, extent)
    filled = min(parts, len(cloud.weights))
    found: list[tuple[Box, int] | None] = []
    waiting = [(cloud, filled)] if filled else []
    while waiting:
        part, share = waiting.pop()
        if share == 1:
            found.append((part.core, part.count))
            continue
        cut = best_point_cut(part, share)
        first, second = _halves(part, cut)
        waiting.append((second, share - cut.first_parts))
        waiting.append((first, cut.first_parts))
    return found + [None] * (parts - filled)


def best_point_cut(cloud: Cloud, parts: int) -> PointCut:
    """Return the line closest to the even share that leaves each half a point for each part."""
    best: PointCut | None = None
    for first_parts in sorted(range(1, parts), key=lambda share: (abs(2 * share - parts), share)):
        if best is not None and abs(2 * first_parts - parts) > 1:
            break
        for axis in (0, 1):
            cut = _axis_cut(cloud, parts, first_parts=first_parts, axis=axis)
            if cut is not None:
                best = cut if best is None else min(best, cut)
    assert best is not None  # noqa: S101  # distinct points differ in x or in y
    return best


def line_between(low: float, high: float) -> float:
    """Return a line that `low` lies before and `high` does not: halfway, where floats allow."""
    middle = low + (high - low) / 2
    return middle if low < middle <= high else high


def _whole(points: NDArray[np.float64], extent: Box) -> Cloud:
    order = np.lexsort((-points[:, 1], points[:, 0]))
    ordered = points[order]
    is_first = np.ones(len(points), np.bool_)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(is_first)
    weights = np.diff(np.append(starts, len(points))).astype(np.int64)
    axes = np.stack([ordered[starts, 0], -ordered[starts, 1]])
    by_y = np.argsort(axes[1], kind="stable").astype(np.int64)
    box = (extent[0], extent[2], -extent[3], -extent[1])
    return Cloud(axes, weights, (np.arange(len(starts), dtype=np.int64), by_y), box)


def _axis_cut(cloud: Cloud, parts: int, *, first_parts: int, axis: int) -> PointCut | None:
    order = cloud.orders[axis]
    start, stop = first_parts, len(order) - (parts - first_parts)
    if start > stop:
        return None
    values = cloud.axes[axis][order]
    counts = np.arange(start, stop + 1)
    is_between = values[counts] != values[counts - 1]
    if not is_between.any():
        return None
    running = cloud.weights[order].cumsum()
    error = np.abs(running[counts - 1] * parts - int(running[-1]) * first_parts)
    error[~is_between] = np.iinfo(np.int64).max
    nearest = int(error.argmin())
    sides = (cloud.box[1] - cloud.box[0], cloud.box[3] - cloud.box[2])
    is_short = sides[axis] < sides[1 - axis]
    penalty = int(error[nearest]) * (2 if is_short else 1)
    return PointCut(penalty, is_short, first_parts, axis, start + nearest)


def _halves(cloud: Cloud, cut: PointCut) -> tuple[Cloud, Cloud]:
    order = cloud.orders[cut.axis]
    values = cloud.axes[cut.axis]
    line = line_between(float(values[order[cut.points - 1]]), float(values[order[cut.points]]))
    is_first = np.zeros(len(cloud.weights), np.bool_)
    is_first[order[: cut.points]] = True
    halves = []
    for side, chosen in enumerate((is_first, ~is_first)):
        edges = list(cloud.box)
        edges[2 * cut.axis + 1 - side] = line
        by_x, by_y = (order[chosen[order]] for order in cloud.orders)
        low_x, high_x, low_y, high_y = edges
        halves.append(
            Cloud(cloud.axes, cloud.weights, (by_x, by_y), (low_x, high_x, low_y, high_y))
        )
    return halves[0], halves[1]
