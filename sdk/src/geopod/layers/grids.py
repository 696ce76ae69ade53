"""Windows of a pixel grid: where they meet, and how to walk one in whole blocks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

Window = tuple[int, int, int, int]
"""row, column, height, width; the row and column may be negative outside a layer."""
Coefficients = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f of an affine transform: x = a·col + b·row + c, y = d·col + e·row + f."""


def intersect(first: Window, second: Window) -> Window | None:
    """Return the window that two windows share; None if they share no pixel."""
    row, column = max(first[0], second[0]), max(first[1], second[1])
    height = min(first[0] + first[2], second[0] + second[2]) - row
    width = min(first[1] + first[3], second[1] + second[3]) - column
    return (row, column, height, width) if height > 0 and width > 0 else None


def slices_within(window: Window, outer: Window) -> tuple[slice, slice]:
    """Return the rows and columns of `window` in an array that holds `outer`."""
    row, column = window[0] - outer[0], window[1] - outer[1]
    return slice(row, row + window[2]), slice(column, column + window[3])


def shift_transform(transform: Coefficients, *, row: int, column: int) -> Coefficients:
    """Return the transform of the window that begins at `row`, `column` of a north-up grid."""
    a, b, c, d, e, f = transform
    return (a, b, c + column * a, d, e, f + row * e)


def window_extent(transform: Coefficients, window: Window) -> tuple[float, float, float, float]:
    """Return xMin, yMin, xMax, yMax of a window's outer edges on a north-up grid."""
    a, _, c, _, e, f = transform
    row, column, height, width = window
    return (c + column * a, f + (row + height) * e, c + (column + width) * a, f + row * e)


def walk_blocks(
    window: Window, block: tuple[int, int], *, phase: tuple[int, int], most_pixels: int
) -> Iterator[Window]:
    """Cut a window along block edges into parts of about `most_pixels`, row by row.

    `block`: (height, width) of a block; `phase`: (row, column) of any block's corner. No block
    lies in two parts, so each is decoded once; a part is at least one block.
    """
    row, column, height, width = window
    if not height or not width:
        return
    block_height = min(block[0], height)
    columns = max(1, most_pixels // max(1, block_height))
    if columns >= width:
        rows = max(block[0], most_pixels // max(1, width))
        steps = (_whole_blocks(rows, block[0]), width)
        column_cuts = [column, column + width]
    else:
        steps = (block[0], _whole_blocks(columns, block[1]))
        column_cuts = list(_cuts(column, width, steps[1], phase[1] % block[1]))
    row_cuts = list(_cuts(row, height, steps[0], phase[0] % block[0]))
    for top, bottom in pairwise(row_cuts):
        for left, right in pairwise(column_cuts):
            yield (top, left, bottom - top, right - left)


def _whole_blocks(pixels: int, block: int) -> int:
    return max(1, pixels // block) * block


def _cuts(start: int, length: int, step: int, phase: int) -> Iterator[int]:
    """Yield `start`, every multiple of `step` past `phase` inside, and the end."""
    end = start + length
    position = start
    while position < end:
        yield position
        position = ((position - phase) // step + 1) * step + phase
    yield end
