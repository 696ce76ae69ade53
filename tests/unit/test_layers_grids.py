"""Walking a window in whole blocks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from geopod.layers.grids import intersect, slices_within, walk_blocks
from hypothesis import given
from hypothesis import strategies as st

sizes = st.integers(1, 60)
offsets = st.integers(-40, 40)
windows = st.tuples(offsets, offsets, sizes, sizes)


@given(
    window=windows,
    block=st.tuples(sizes, sizes),
    phase=st.tuples(offsets, offsets),
    most_pixels=st.integers(1, 4000),
)
def test_parts_cover_a_window_once_and_cut_no_block(window, block, phase, most_pixels):
    parts = list(walk_blocks(window, block, phase=phase, most_pixels=most_pixels))

    covered = np.zeros(window[2:], int)
    for part in parts:
        covered[slices_within(part, window)] += 1
    assert (covered == 1).all()
    for first, other in pairwise(parts):
        rows_meet = first[0] == other[0]
        edge = other[1] - phase[1] if rows_meet else other[0] - phase[0]
        assert edge % block[1 if rows_meet else 0] == 0


@given(window=windows, block=st.tuples(sizes, sizes), most_pixels=st.integers(1, 4000))
def test_part_is_one_block_or_within_the_limit(window, block, most_pixels):
    for part in walk_blocks(window, block, phase=(0, 0), most_pixels=most_pixels):
        is_one_block = part[2] <= block[0] and part[3] <= block[1]
        assert is_one_block or part[2] * part[3] <= max(most_pixels, block[0] * block[1])


@given(first=windows, second=windows)
def test_intersection_is_what_both_hold(first, second):
    def pixels(window):
        row, column, height, width = window
        return {(r, c) for r in range(row, row + height) for c in range(column, column + width)}

    shared = intersect(first, second)

    assert (pixels(shared) if shared else set()) == pixels(first) & pixels(second)


@pytest.mark.parametrize("window", [(3, 4, 0, 7), (3, 4, 7, 0), (0, 0, 0, 0)])
def test_window_without_a_pixel_has_no_part(window):
    assert list(walk_blocks(window, (16, 16), phase=(0, 0), most_pixels=1 << 16)) == []
