"""Bisection: every node a rectangle, every cell one node, costs as even as cells allow."""

from __future__ import annotations

import numpy as np
import pytest
from geopod.partitions.bisection import bisect, rectangle_sum, summed_area
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from plan_builders import NODE_COUNTS

SIDES = st.integers(1, 24)


@st.composite
def costs(draw):
    """Lattices of zeros, of small numbers with many ties, and of Pareto tails."""
    shape = (draw(SIDES), draw(SIDES))
    kind = draw(st.sampled_from(("zeros", "small", "pareto", "huge")))
    if kind == "zeros":
        return np.zeros(shape, np.int64)
    if kind == "small":
        return draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 1e3 if kind == "pareto" else 1e15
    return np.minimum(rng.pareto(0.5, shape) * scale, 2.0**60).astype(np.int64)


@given(cost=costs(), parts=st.sampled_from(NODE_COUNTS))
@settings(deadline=None, max_examples=300)
def test_bisect_covers(cost, parts):
    rectangles = bisect(cost, parts)

    seen = np.zeros(cost.shape, int)
    for r0, r1, c0, c1 in filter(None, rectangles):
        seen[r0:r1, c0:c1] += 1
    assert len(rectangles) == parts
    assert (seen == 1).all()
    assert sum(rectangle is not None for rectangle in rectangles) == min(parts, cost.size)


def test_a_lattice_without_an_even_cut_still_gives_every_node_a_cell():
    rectangles = bisect(np.ones((3, 3), np.int64), 8)

    assert None not in rectangles
    assert sorted((r1 - r0) * (c1 - c0) for r0, r1, c0, c1 in rectangles) == [1] * 7 + [2]


@pytest.mark.parametrize(
    ("shape", "parts", "longest"),
    [
        pytest.param((16, 16), 4, 8, id="square"),
        pytest.param((4, 64), 16, 4, id="a band is cut across"),
        pytest.param((64, 4), 16, 4, id="a column is cut across"),
    ],
)
def test_equal_costs_give_squares_rather_than_slivers(shape, parts, longest):
    rectangles = bisect(np.ones(shape, np.int64), parts)

    assert {(r1 - r0, c1 - c0) for r0, r1, c0, c1 in rectangles} == {(longest, longest)}


def test_a_sliver_must_halve_the_error():
    # Four columns of 10, 10, 10, 12 in two rows: the line between columns is off by 2 in 84,
    # the line between rows by nothing, but along the short side.
    cost = np.array([[5, 5, 5, 6], [5, 5, 5, 6]], dtype=np.int64)

    assert bisect(cost, 2) == [(0, 1, 0, 4), (1, 2, 0, 4)]
    assert bisect(cost + np.array([[0, 0, 0, 0], [0, 0, 0, 2]]), 2) == [(0, 2, 0, 2), (0, 2, 2, 4)]


def test_costs_beyond_64_bits_are_scaled_not_overflowed():
    cost = np.full((8, 8), 2**60, np.int64)

    assert bisect(cost, 4) == bisect(np.ones((8, 8), np.int64), 4)


def test_more_parts_than_cells_leave_the_last_ones_empty():
    assert bisect(np.array([[1, 2]], dtype=np.int64), 4) == [(0, 1, 0, 1), (0, 1, 1, 2), None, None]


def test_no_cell_gives_no_rectangle():
    assert bisect(np.zeros((0, 3), np.int64), 2) == [None, None]


@given(cost=costs())
@settings(deadline=None, max_examples=30)
def test_rectangle_sum_is_numpys_sum(cost):
    values = cost // cost.size  # cells up to 2**60 each: their sum has to fit 64 bits too
    prefix = summed_area(values)
    rows, cols = cost.shape
    rectangle = (rows // 3, rows, cols // 4, cols)

    assert rectangle_sum(prefix, rectangle) == int(values[rows // 3 :, cols // 4 :].sum())
