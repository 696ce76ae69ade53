"""I2: every feature inside the job extent is owned by exactly one node."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest
from geopod.partitions.features import line_between, split_points
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_builders import edge_points, raster_spec, shifted_spec, with_null_and_empty
from plan_builders import NODE_COUNTS, frame_input, plan_of, raster_input, vector_input


def owners(plan, points):
    """For each point (work CRS), which partitions own it."""
    owned = [part.owns(points[:, 0], points[:, 1]) for part in plan.partitions]
    return np.array(owned).reshape(len(plan.partitions), len(points))


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_points_on_lines_corners_and_edges_have_one_owner(nodes):
    frame = edge_points(raster_spec())

    plan = plan_of(raster_input(), frame_input(frame, exact=True), nodes=nodes)

    owned = owners(plan, np.stack([frame.geometry.x, frame.geometry.y], axis=1))
    assert (owned.sum(axis=0) == 1).all()
    assert plan.totals.features == {"parcels": len(frame)}
    assert [part.est_features for part in plan.partitions] == owned.sum(axis=1).tolist()


@given(
    places=st.lists(
        st.tuples(st.integers(-2, 8), st.integers(-2, 8))
        # Below 1e-307 a cut may fall on both of its neighbours: half of 5e-324 is 0.
        | st.tuples(*2 * [st.floats(0, 1e6, allow_subnormal=False)]),
        min_size=1,
        max_size=60,
    ),
    nodes=st.sampled_from(NODE_COUNTS),
)
@settings(deadline=None, max_examples=150)
def test_vector_only_splits_own_every_point_once(places, nodes):
    points = np.array(places, dtype=np.float64)

    plan = plan_of(vector_input(points), nodes=nodes)

    owned = owners(plan, points)
    assert (owned.sum(axis=0) == 1).all()
    assert [part.est_features for part in plan.partitions] == owned.sum(axis=1).tolist()
    filled = sum(part.core is not None for part in plan.partitions)
    assert filled == min(nodes, len(np.unique(points, axis=0)))


def test_vector_only_parts_differ_by_one_feature_where_points_are_distinct():
    points = np.random.default_rng(7).normal(size=(1000, 2))

    plan = plan_of(vector_input(points), nodes=7)

    counts = [part.est_features for part in plan.partitions]
    assert sum(counts) == 1000
    assert max(counts) - min(counts) <= 2


def test_lines_lie_halfway_between_neighbours():
    parts = split_points(np.array([[0.0, 0.0], [10.0, 1.0]]), (0.0, 0.0, 10.0, 1.0), 2)

    assert parts == [((0.0, 0.0, 5.0, 1.0), 1), ((5.0, 0.0, 10.0, 1.0), 1)]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(1.0, np.nextafter(1.0, 2.0), id="next float up"),
        pytest.param(-np.nextafter(1.0, 2.0), -1.0, id="negative neighbours"),
        pytest.param(0.0, 5e-324, id="smallest number"),
        pytest.param(-1e300, 1e300, id="far apart"),
    ],
)
def test_a_line_always_separates(low, high):
    assert low < line_between(float(low), float(high)) <= high


def test_balance_by_area_ignores_where_features_are():
    points = np.random.default_rng(7).beta(0.2, 3, (500, 2))

    plan = plan_of(vector_input(points), nodes=4, balance="area")

    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (part.core for part in plan.partitions)]
    assert max(areas) / min(areas) == pytest.approx(1.0)
    assert (owners(plan, points).sum(axis=0) == 1).all()


def test_null_and_empty_geometries_are_counted():
    frame = with_null_and_empty(edge_points(raster_spec()))

    plan = plan_of(frame_input(frame), nodes=3)

    totals = plan.totals
    assert totals.empty_geometries == {"parcels": 3}
    assert totals.features["parcels"] + totals.features_outside["parcels"] + 3 == len(frame)


def test_features_outside_are_counted_not_silent():
    frame = edge_points(shifted_spec(480.0, 0.0))

    plan = plan_of(raster_input(), frame_input(frame, exact=True), nodes=4)

    east = frame.geometry.x > 500_960
    assert plan.totals.features_outside == {"parcels": int(east.sum())}
    assert plan.totals.features == {"parcels": int((~east).sum())}


def test_a_layer_without_any_geometry_makes_empty_partitions():
    nothing = vector_input(np.empty((0, 2)), empty_geometries=5)

    plan = plan_of(nothing, nodes=3)

    assert [part.core for part in plan.partitions] == [None] * 3
    assert plan.totals.empty_geometries == {"parcels": 5}


def test_one_point_is_one_partition_without_area():
    plan = plan_of(vector_input(np.array([[5.0, 6.0]])), nodes=2)

    assert plan.partitions[0].core == (5.0, 6.0, 5.0, 6.0)
    assert plan.partitions[0].owns(5.0, 6.0)
    assert plan.partitions[1].core is None


def test_two_vector_layers_are_balanced_together():
    west = np.random.default_rng(1).uniform(0, 1, (300, 2))
    east = west + np.array([1.0, 0.0])

    layers = vector_input(west, "west"), vector_input(east, "east")
    plan = plan_of(*layers, nodes=2, extent={"mode": "union"})

    assert plan.totals.features == {"west": 300, "east": 300}
    assert [part.est_features for part in plan.partitions] == [300, 300]
    assert plan.partitions[0].core[2] == pytest.approx(1.0, abs=0.01)


def test_a_resolution_cuts_a_vector_job_on_a_pixel_grid():
    points = np.random.default_rng(1).uniform(0, 1000, (300, 2))

    plan = plan_of(vector_input(points), nodes=4, grid={"resolution": 1.0}, overlap=8)

    assert plan.work.transform[0] == 1.0
    assert (owners(plan, points).sum(axis=0) == 1).all()


def zone_boxes():
    """Zones of 200 m whose centres lie in one cell, and which reach over others."""
    x, y = np.meshgrid(np.arange(500_100.0, 500_900, 110), np.arange(3_999_460.0, 3_999_950, 90))
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    return np.concatenate([centres - 60, centres + 60], axis=1), centres


@pytest.mark.parametrize("exact", [True, False], ids=["ownership points", "box centres"])
def test_cover_features_grows_windows_over_owned_features(exact):
    boxes, centres = zone_boxes()
    zones = vector_input(boxes, points=centres if exact else None)

    plan = plan_of(raster_input(), zones, nodes=16, cover="features")

    owned = owners(plan, centres)
    for part, mine in zip(plan.partitions, owned, strict=True):
        row, col, height, width = part.padded["dem"]
        for x_min, y_min, x_max, y_max in boxes[mine]:
            assert max(500_000 + col * 10, 500_000) <= max(x_min, 500_000)
            assert 500_000 + (col + width) * 10 >= min(x_max, 500_960)
            assert 4_000_000 - row * 10 >= min(y_max, 4_000_000)
            assert 4_000_000 - (row + height) * 10 <= max(y_min, 3_999_360)
    assert plan.totals.features_uncovered == {"parcels": 0}
    plain = plan_of(raster_input(), zones, nodes=16)
    assert [part.windows for part in plan.partitions] == [part.windows for part in plain.partitions]


def test_cover_stops_at_its_cap_and_counts_what_it_left():
    boxes, centres = zone_boxes()
    giant = np.array([[0.0, 0.0, 1e6, 8e6]])
    zones = vector_input(np.concatenate([boxes, giant]), points=np.append(centres, [centres[0]], 0))

    plan = plan_of(raster_input(), zones, nodes=16, cover="features", maxCover=6)

    grown = 0
    for part in plan.partitions:
        row, col, height, width = part.windows["dem"]
        top, left, tall, wide = part.padded["dem"]
        by = (row - top, col - left, top + tall - row - height, left + wide - col - width)
        assert 0 <= min(by) <= max(by) <= 6
        grown += max(by) > 0
    assert grown > 10
    assert plan.totals.features_uncovered == {"parcels": 1}


def test_an_empty_partition_owns_nothing():
    plan = plan_of(vector_input(np.zeros((3, 2))), nodes=3)

    owned = owners(plan, np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert Counter(owned.sum(axis=0).tolist()) == {1: 1, 0: 1}


@pytest.mark.parametrize("nodes", NODE_COUNTS)
@pytest.mark.parametrize("rasters", [0, 1])
def test_partitions_say_how_many_features_nodes_will_find(nodes, rasters):
    frame = edge_points(raster_spec())
    points = np.stack([frame.geometry.x, frame.geometry.y], axis=1)
    exact = frame_input(frame, exact=True)
    others = [vector_input(points[:9], key="boxes"), *[raster_input()] * rasters]

    plan = plan_of(exact, *others, nodes=nodes)

    found = owners(plan, points).sum(axis=1).tolist()
    told = [{} if part.owned is msgspec.UNSET else part.owned for part in plan.partitions]
    assert [one.get("parcels", 0) for one in told] == found
    assert sum(found) == plan.totals.features["parcels"]
    assert not any("boxes" in one for one in told), "what boxes alone say is no promise"
