"""I1: every pixel of every raster inside the job extent is owned by exactly one node."""

from __future__ import annotations

import numpy as np
import pytest
from geopod.partitions.grid import Grid, own_axis
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_builders import ORIGIN, raster_spec, shifted_spec, spec_30m_off_by_7m
from plan_builders import NODE_COUNTS, plan_of, raster_input

nodes_of_plans = st.sampled_from(NODE_COUNTS)


def times_owned(plan, spec, key):
    """How many nodes own each pixel of a layer."""
    seen = np.zeros((spec.rows, spec.cols), int)
    for partition in plan.partitions:
        if partition.core is None:
            continue
        row, col, height, width = partition.windows[key]
        rows, cols = slice(max(row, 0), row + height), slice(max(col, 0), col + width)
        if row + height > 0 and col + width > 0:
            seen[rows, cols] += 1
    return seen


def inside(spec, extent, *, margin_px=0.0):
    """Which pixel centres lie in the extent, by their coordinates."""
    x = spec.origin[0] + (np.arange(spec.cols) + 0.5) * spec.pixel
    y = spec.origin[1] - (np.arange(spec.rows) + 0.5) * spec.pixel
    margin = margin_px * spec.pixel
    in_x = (x >= extent[0] + margin) & (x < extent[2] - margin)
    in_y = (y > extent[1] + margin) & (y <= extent[3] - margin)
    return in_y[:, None] & in_x[None, :]


@given(
    nodes=nodes_of_plans,
    across=st.floats(-400, 400),
    down=st.floats(-300, 300),
    pixel=st.floats(2.5, 90),
)
@settings(deadline=None, max_examples=150)
def test_pixels_once(nodes, across, down, pixel):
    reference = raster_spec()
    rows, cols = (max(1, int(side / pixel)) for side in (640, 960))
    other = shifted_spec(across, down, pixel=pixel, rows=rows, cols=cols)
    like = {"grid": {"like": "dem"}, "extent": {"mode": "union"}}

    plan = plan_of(raster_input(), raster_input(other, "other"), nodes=nodes, **like)

    assert (times_owned(plan, reference, "dem") == 1).all()
    seen = times_owned(plan, other, "other")
    assert (seen[inside(other, plan.work.extent, margin_px=1e-6)] == 1).all()
    assert (seen[~inside(other, plan.work.extent, margin_px=-1e-6)] == 0).all()
    assert plan.totals.pixels == {"dem": 64 * 96, "other": seen.sum()}


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_pixels_once_on_a_30_m_grid_7_m_off_the_lattice(nodes):
    other = spec_30m_off_by_7m()

    plan = plan_of(raster_input(), raster_input(other, "coarse"), nodes=nodes)

    assert np.array_equal(times_owned(plan, other, "coarse") == 1, inside(other, plan.work.extent))


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_pixels_once_inside_a_box_that_fits_no_pixel(nodes):
    box = [500_003.0, 3_999_417.0, 500_881.0, 3_999_944.0]

    plan = plan_of(raster_input(), nodes=nodes, extent={"mode": "bbox", "bbox": box})

    seen = times_owned(plan, raster_spec(), "dem")
    assert np.array_equal(seen == 1, inside(raster_spec(), box))
    assert plan.work.extent == tuple(box)
    assert plan.work.shape == (52, 88)


def test_a_centre_on_a_shared_line_belongs_to_the_right_and_the_lower_box():
    half_a_pixel_off = shifted_spec(-5.0, -5.0, cols=97, rows=65)
    plan = plan_of(
        raster_input(), raster_input(half_a_pixel_off, "off"), nodes=4, grid={"like": "dem"}
    )

    seen = times_owned(plan, half_a_pixel_off, "off")
    assert (seen[:64, :96] == 1).all()
    assert seen[64].sum() == seen[:, 96].sum() == 0


@given(
    lines=st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=20),
    origin=st.floats(-1e7, 1e7),
    step=st.floats(1e-4, 1e4),
)
def test_lines_split_an_axis_without_gap_or_overlap(lines, origin, step):
    first = own_axis(sorted(lines), origin, step)

    assert (np.diff(first) >= 0).all()


def test_all_layers_of_a_node_cover_its_whole_core():
    small = raster_spec(rows=8, cols=8, pixel=20.0)

    plan = plan_of(raster_input(), raster_input(small, "small"), nodes=4)

    for partition in plan.partitions:
        rows, cols = partition.windows["dem"][2:]
        assert partition.windows["small"][2:] == (rows // 2, cols // 2)
    assert plan.totals.pixels["small"] == 64


def test_dates_of_one_size_and_grid_come_in_one_shape_whatever_they_cover():
    east = shifted_spec(320.0, 0.0)

    plan = plan_of(
        raster_input(key="t1", path_id="s2"), raster_input(east, "t2", path_id="s2"), nodes=7
    )

    for partition in plan.partitions:
        row, col, height, width = partition.windows["t1"]
        assert partition.windows["t2"] == (row, col - 32, height, width)
    assert plan.layers[1].raster.warp is None


@pytest.mark.parametrize(
    ("overlap", "pixel", "grown"),
    [
        pytest.param(3, 10.0, 3, id="the reference itself"),
        pytest.param(3, 30.0, 1, id="30 m is one coarse pixel"),
        pytest.param(4, 30.0, 2, id="40 m are two coarse pixels"),
        pytest.param(3, 20.0, 2, id="30 m are one and a half, rounded up"),
        pytest.param(0, 30.0, 0, id="no halo"),
    ],
)
def test_the_halo_is_whole_pixels_of_each_layer(overlap, pixel, grown):
    other = raster_spec(pixel=pixel, rows=int(640 / pixel), cols=int(960 / pixel))

    plan = plan_of(raster_input(), raster_input(other, "other"), nodes=4, overlap=overlap)

    for partition in plan.partitions:
        row, col, height, width = partition.windows["other"]
        expected = (row - grown, col - grown, height + 2 * grown, width + 2 * grown)
        assert partition.padded["other"] == expected


def test_grids_that_drift_less_than_a_hundredth_pixel_are_one():
    grid = Grid(*ORIGIN, 10.0, 10.0, 64, 96)

    assert Grid(ORIGIN[0] + 320.0, ORIGIN[1], 10.0 + 1e-9, 10.0, 64, 96).is_on(grid)
    assert not Grid(ORIGIN[0] + 324.0, ORIGIN[1], 10.0, 10.0, 64, 96).is_on(grid)
    assert not Grid(*ORIGIN, 10.1, 10.0, 64, 96).is_on(grid)


def box_filter(values, radius):
    """Mean over (2 radius + 1) squared pixels; rows and columns at the edge are dropped."""
    windows = np.lib.stride_tricks.sliding_window_view(values, (2 * radius + 1,) * 2)
    return windows.mean(axis=(2, 3))


def filtered_by_nodes(values, plan, radius):
    """What the nodes' results put together look like, holes around the layer filled with 0."""
    found = np.full(values.shape, np.nan)
    around = np.pad(values, 64)
    for partition in plan.partitions:
        row, col, height, width = partition.padded["dem"]
        padded = around[row + 64 : row + 64 + height, col + 64 : col + 64 + width]
        padded = np.pad(padded, radius) if partition.padded == partition.windows else padded
        r, c, h, w = partition.windows["dem"]
        found[r : r + h, c : c + w] = box_filter(padded, radius)
    return found


@pytest.mark.parametrize("nodes", [1, 5, 16])
def test_local_f_with_halo_equals_the_whole_raster_and_without_it_does_not(nodes):
    radius = 2
    values = np.random.default_rng(7).normal(size=(64, 96))
    whole = box_filter(np.pad(values, radius), radius)

    with_halo = plan_of(raster_input(), nodes=nodes, overlap=radius)
    without = plan_of(raster_input(), nodes=nodes)

    assert np.array_equal(filtered_by_nodes(values, with_halo, radius), whole)
    is_wrong = filtered_by_nodes(values, without, radius) != whole
    assert is_wrong.any() == (nodes > 1)
