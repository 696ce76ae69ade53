"""Weighted bisection of a cost lattice into exactly as many rectangles as there are nodes.

Integer arithmetic only and first-minimum ties: the same lattice gives the same rectangles on every
machine. Source: weighted k-d bisection as sketched in the project's geodata design, §3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[int, int, int, int]
"""Half-open cell ranges: first row, row stop, first col, col stop."""

PRODUCT_BITS = 62
"""Errors are costs times parts: with more bits they would not fit an int64."""


class Cut(NamedTuple):
    """One way to cut a rectangle in two; the smallest tuple wins."""

    penalty: int
    """Distance from the wanted share, doubled across the short side: long slivers must pay."""
    is_short: bool
    first_parts: int
    axis: int
    cells: int
    """Rows (axis 0) or columns (axis 1) of the first half."""


def bisect(cost: NDArray[np.int64], parts: int) -> list[Rectangle | None]:
    """Split a cost lattice into `parts` rectangles, as even in cost as the lattice allows.

    Shapes: `cost` is (rows, cols), not negative. The rectangles are disjoint and cover the
    lattice; with more parts than cells every cell is one rectangle and the rest is None.
    """
    rows, cols = cost.shape
    filled = min(parts, rows * cols)
    if filled == 0:
        return [None] * parts
    prefix = summed_area(_scaled(cost, filled))
    rectangles: list[Rectangle | None] = []
    waiting = [((0, rows, 0, cols), filled)]
    while waiting:
        rectangle, share = waiting.pop()
        if share == 1:
            rectangles.append(rectangle)
            continue
        cut = best_cut(prefix, rectangle, share)
        first, second = _halves(rectangle, cut)
        waiting.append((second, share - cut.first_parts))
        waiting.append((first, cut.first_parts))
    return rectangles + [None] * (parts - filled)


def summed_area(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return prefix sums with a leading zero row and column, (rows + 1, cols + 1).

    The sum of all values must fit 64 bits; `bisect` scales its costs first.
    """
    prefix = np.zeros(np.add(values.shape, 1), np.int64)
    prefix[1:, 1:] = values.cumsum(0).cumsum(1)
    return prefix


def rectangle_sum(prefix: NDArray[np.int64], rectangle: Rectangle) -> int:
    """Return the sum of the cells of one rectangle."""
    r0, r1, c0, c1 = rectangle
    return int(prefix[r1, c1] - prefix[r0, c1] - prefix[r1, c0] + prefix[r0, c0])


def best_cut(prefix: NDArray[np.int64], rectangle: Rectangle, parts: int) -> Cut:
    """Return the cut closest to the even share that leaves each half a cell for each part.

    An uneven share is taken only where no even one fits: a lattice of 3 x 3 cells has no even cut
    for 8 parts.
    """
    best: Cut | None = None
    for first_parts in sorted(range(1, parts), key=lambda share: (abs(2 * share - parts), share)):
        if best is not None and abs(2 * first_parts - parts) > 1:
            break
        for axis in (0, 1):
            cut = _axis_cut(prefix, rectangle, parts, first_parts=first_parts, axis=axis)
            if cut is not None:
                best = cut if best is None else min(best, cut)
    assert best is not None  # noqa: S101  # a rectangle with a cell for each part can be cut
    return best


def _axis_cut(
    prefix: NDArray[np.int64], rectangle: Rectangle, parts: int, *, first_parts: int, axis: int
) -> Cut | None:
    r0, r1, c0, c1 = rectangle
    sides = (r1 - r0, c1 - c0)
    length, other = sides[axis], sides[1 - axis]
    start = -(-first_parts // other)
    stop = length + (parts - first_parts) // -other
    if start > stop:
        return None
    if axis == 0:
        running = prefix[r0 : r1 + 1, c1] - prefix[r0 : r1 + 1, c0]
    else:
        running = prefix[r1, c0 : c1 + 1] - prefix[r0, c0 : c1 + 1]
    wanted = int(running[-1] - running[0]) * first_parts
    error = np.abs((running[start : stop + 1] - running[0]) * parts - wanted)
    nearest = int(error.argmin())
    is_short = length < other
    penalty = int(error[nearest]) * (2 if is_short else 1)
    return Cut(penalty, is_short, first_parts, axis, start + nearest)


def _halves(rectangle: Rectangle, cut: Cut) -> tuple[Rectangle, Rectangle]:
    r0, r1, c0, c1 = rectangle
    if cut.axis == 0:
        return (r0, r0 + cut.cells, c0, c1), (r0 + cut.cells, r1, c0, c1)
    return (r0, r1, c0, c0 + cut.cells), (r0, r1, c0 + cut.cells, c1)


def _scaled(cost: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """Return costs whose total times `parts` fits 64 bits; all equal where all are zero."""
    largest = int(cost.max())
    if largest == 0:
        return np.ones_like(cost)
    return cost >> max(0, (largest * cost.size * parts).bit_length() - PRODUCT_BITS)
