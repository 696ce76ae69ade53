"""The cost lattice: its cells, what they cost, and how even the parts come out."""

from __future__ import annotations

import time

import numpy as np
import pytest
from geopod.partitions.lattice import build_lattice, first_unit, written_pixels
from geopod.partitions.options import read_options
from geopod.partitions.scene import place_layers
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_builders import raster_spec, scene_points
from plan_builders import plan_of, raster_input, vector_input


def lattice_of(*inputs, nodes=4, **options):
    return build_lattice(place_layers(inputs, read_options(options)), nodes)


@pytest.mark.parametrize(
    ("block", "cols", "unit"),
    [
        pytest.param((512, 512), 10_000, 512, id="COG block"),
        pytest.param((256, 512), 10_000, 512, id="oblong block"),
        pytest.param((1, 10_000), 10_000, 256, id="strip of one row"),
        pytest.param((20, 403), 403, 256, id="strip of some rows"),
        pytest.param((2048, 2048), 10_000, 256, id="block too large"),
        pytest.param((64, 64), 64, 64, id="one block, square"),
        pytest.param((0, 0), 100, 256, id="no block"),
    ],
)
def test_the_first_unit_follows_the_blocks(block, cols, unit):
    assert first_unit(block, cols) == unit


@pytest.mark.parametrize(
    ("side", "nodes", "unit"),
    [
        pytest.param(10_000, 4, 512, id="400 cells are enough for 4"),
        pytest.param(10_000, 64, 256, id="400 cells are not for 64"),
        pytest.param(10_000, 256, 128, id="1600 cells are not for 256"),
        pytest.param(100, 1000, 16, id="never under 16"),
    ],
)
def test_the_unit_is_halved_until_each_node_has_eight_cells(side, nodes, unit):
    spec = raster_spec(rows=side, cols=side, block=512)

    assert plan_of(raster_input(spec), nodes=nodes).work.unit == unit


def test_lattice_lines_fall_on_block_edges_of_the_reference():
    box = [500_055.0, 3_999_400.0, 500_905.0, 3_999_990.0]

    lattice = lattice_of(raster_input(), nodes=1, extent={"mode": "bbox", "bbox": box})

    assert lattice.x.tolist() == [500_055, 500_160, 500_320, 500_480, 500_640, 500_800, 500_905]
    assert lattice.y.tolist() == [3_999_990, 3_999_840, 3_999_680, 3_999_520, 3_999_400]


def test_bytes_of_all_layers_add_up():
    coarse = raster_spec(pixel=20.0, rows=32, cols=48, bands=3, dtype="float64")

    lattice = lattice_of(raster_input(), raster_input(coarse, "coarse"))

    assert (lattice.cost == 16 * 16 * 4 + 8 * 8 * 3 * 8).all()


def test_a_feature_costs_two_thousand_reference_pixels():
    points = np.array([[500_005.0, 3_999_995.0], [500_006.0, 3_999_996.0]])

    plain, mixed = (
        lattice_of(raster_input(), vector_input(points), balance=balance).cost
        for balance in ("bytes", "mixed")
    )

    assert mixed[0, 0] - plain[0, 0] == 2 * 2000 * 4
    assert (mixed - plain).sum() == 2 * 2000 * 4


@pytest.mark.parametrize(
    ("balance", "corner", "elsewhere"),
    [
        pytest.param("features", 2, 0, id="features"),
        pytest.param("area", 256, 256, id="area"),
        pytest.param("bytes", 1024, 1024, id="bytes"),
        pytest.param("mixed", 1024 + 16_000, 1024, id="mixed"),
    ],
)
def test_balance(balance, corner, elsewhere):
    points = np.array([[500_005.0, 3_999_995.0], [500_006.0, 3_999_996.0]])

    cost = lattice_of(raster_input(), vector_input(points), balance=balance).cost

    assert cost[0, 0] == corner
    assert (cost.ravel()[1:] == elsewhere).all()


def test_blocks_never_written_cost_a_64th():
    written = np.zeros((4, 6), np.bool_)
    written[1, 2] = True

    cost = lattice_of(raster_input(written=written)).cost

    assert cost[1, 2] == 1024
    assert cost[0, 0] == 1024 // 64


@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    block=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_written_pixels_are_counted_exactly_wherever_cells_fall(shape, block, seed):
    rng = np.random.default_rng(seed)
    written = rng.random([-(-side // size) for side, size in zip(shape, block, strict=True)]) < 0.5
    rows, cols = (np.sort(rng.integers(0, side + 1, 6)) for side in shape)

    found = written_pixels(rows, cols, written, block)

    pixels = written.repeat(block[0], axis=0).repeat(block[1], axis=1)[: shape[0], : shape[1]]
    expected = [
        [pixels[rows[i] : rows[i + 1], cols[j] : cols[j + 1]].sum() for j in range(5)]
        for i in range(5)
    ]
    assert found.tolist() == expected


SCENE_S = raster_spec(rows=10_000, cols=10_000, bands=4, dtype="uint16", nodata=0, block=512)


def scene_s():
    """Headers of scene S, whole: nothing of it is read or written here."""
    return raster_input(SCENE_S), vector_input(scene_points(200_000, SCENE_S.bounds))


def test_scene_s_is_balanced_by_the_default_rule():
    plan = plan_of(*scene_s(), nodes=64)

    costs = np.array([partition.cost for partition in plan.partitions])
    assert costs.max() / costs.mean() <= 1.35
    assert plan.work.unit == 256
    assert plan.totals.blocks_decoded["dem"] / 400 <= 1.75


def test_whole_blocks_are_decoded_once_when_cells_are_blocks():
    plan = plan_of(raster_input(SCENE_S), nodes=4)

    assert plan.totals.blocks_decoded == {"dem": 400}


def test_plan_time_of_scene_s_is_reported(record_property):
    layers = scene_s()
    for nodes in (4, 64, 256):
        begin = time.perf_counter()
        plan_of(*layers, nodes=nodes)
        record_property(f"plan_seconds_{nodes}_nodes", round(time.perf_counter() - begin, 4))
