"""North-up pixel grids: which pixels a box owns, where the lines between pixels run.

Source of the ownership rule: the project's geodata design, §3: a pixel belongs to the box that
holds its centre, `xMin <= x < xMax` and `yMin < y <= yMax`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geopod.partitions.inputs import Box

Transform = tuple[float, float, float, float, float, float]
"""Affine coefficients a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f."""

SAME_GRID_PX = 0.01
"""Grids that drift apart by less than this count as one: headers round their pixel sizes."""


def own_axis(lines: ArrayLike, origin: float, step: float) -> NDArray[np.int64]:
    """Return, for each line, the first pixel of an axis whose centre is not before it.

    Pixels between two lines are `first[0]` up to, not including, `first[1]`; they may lie outside
    the layer. For rows pass `-y` of the lines and of the origin. The lines that two neighbours
    share are the same floats, hence each pixel falls to exactly one of them.
    """
    values = np.asarray(lines, dtype=np.float64)
    return np.ceil((values - origin) / step - 0.5).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Grid:
    """A north-up grid of `rows` x `cols` pixels whose upper-left corner is (`x`, `y`)."""

    x: float
    y: float
    dx: float
    """Pixel width, positive."""
    dy: float
    """Pixel height, positive; rows run downwards."""
    rows: int
    cols: int

    @classmethod
    def of(cls, transform: Transform, shape: tuple[int, int]) -> Self:
        """Return the grid of a north-up transform."""
        a, _, c, _, e, f = transform
        return cls(c, f, a, -e, *shape)

    @property
    def transform(self) -> Transform:
        """Affine coefficients of the upper-left corner."""
        return (self.dx, 0.0, self.x, 0.0, -self.dy, self.y)

    @property
    def bounds(self) -> Box:
        """Outer edges."""
        return (
            self.x,
            self.y - self.rows * self.dy,
            self.x + self.cols * self.dx,
            self.y,
        )

    def windows(self, boxes: ArrayLike) -> NDArray[np.int64]:
        """Return the pixels that boxes own, as if the grid had no end.

        Shapes: `boxes` (n, 4), result (n, 4): row, col, height, width. A box between two pixel
        centres owns none (height or width 0).
        """
        x_min, y_min, x_max, y_max = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
        left, right = own_axis([x_min, x_max], self.x, self.dx)
        top, bottom = own_axis([-y_max, -y_min], -self.y, self.dy)
        return np.stack([top, left, bottom - top, right - left], axis=1)

    def touching(self, boxes: ArrayLike) -> NDArray[np.int64]:
        """Return the pixels of this grid that boxes touch, cut at the grid's edges.

        Shapes as in `windows`.
        """
        x_min, y_min, x_max, y_max = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
        left = np.clip(np.floor((x_min - self.x) / self.dx), 0, self.cols)
        right = np.clip(np.ceil((x_max - self.x) / self.dx), 0, self.cols)
        top = np.clip(np.floor((self.y - y_max) / self.dy), 0, self.rows)
        bottom = np.clip(np.ceil((self.y - y_min) / self.dy), 0, self.rows)
        return np.stack([top, left, bottom - top, right - left], axis=1).astype(np.int64)

    def inside(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the part of each window (n, 4) that the grid really has."""
        first = np.clip(windows[:, :2], 0, (self.rows, self.cols))
        stop = np.clip(windows[:, :2] + windows[:, 2:], 0, (self.rows, self.cols))
        return np.concatenate([first, stop - first], axis=1)

    def resized(self, window: tuple[int, int, int, int]) -> Grid:
        """Return the grid of one window of this one."""
        row, col, rows, cols = window
        return Grid(self.x + col * self.dx, self.y - row * self.dy, self.dx, self.dy, rows, cols)

    def is_on(self, other: Grid) -> bool:
        """Say whether every pixel of this grid is a pixel of the other one, extended."""
        drift = max(
            abs(self.dx / other.dx - 1) * max(self.cols, other.cols),
            abs(self.dy / other.dy - 1) * max(self.rows, other.rows),
        )
        columns, rows = (self.x - other.x) / other.dx, (self.y - other.y) / other.dy
        shift = max(abs(columns - round(columns)), abs(rows - round(rows)))
        return drift < SAME_GRID_PX and shift < SAME_GRID_PX


def is_north_up(transform: Transform) -> bool:
    """Say whether columns run east and rows run south, without rotation."""
    a, b, _, d, e, _ = transform
    return a > 0 and e < 0 and b == 0 and d == 0


def footprint(transform: Transform, shape: tuple[int, int]) -> Box:
    """Return the bounds of a raster whose transform may be rotated or flipped."""
    a, b, c, d, e, f = transform
    rows, cols = shape
    corners = ((0, 0), (cols, 0), (0, rows), (cols, rows))
    xs = [a * col + b * row + c for col, row in corners]
    ys = [d * col + e * row + f for col, row in corners]
    return (min(xs), min(ys), max(xs), max(ys))


def intersection(one: Box, other: Box) -> Box | None:
    """Return what two boxes share; None: nothing. A shared edge is a box without area."""
    x_min, y_min = max(one[0], other[0]), max(one[1], other[1])
    x_max, y_max = min(one[2], other[2]), min(one[3], other[3])
    return (x_min, y_min, x_max, y_max) if x_min <= x_max and y_min <= y_max else None


def union(one: Box, other: Box) -> Box:
    """Return the smallest box that holds two boxes."""
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def centre(box: Box) -> tuple[float, float]:
    """Return the middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
