"""I4: the same headers and options give the same plan, byte for byte."""

from __future__ import annotations

import pytest
from geopod.api.plan import Partition, decode_plan, encode_plan
from layer_builders import raster_spec, scene_polygons
from plan_builders import NODE_COUNTS, frame_input, plan_of, raster_input, sample_plan


def test_plan_bytes_do_not_depend_on_the_call():
    assert encode_plan(sample_plan()) == encode_plan(sample_plan())


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_a_plan_survives_json(nodes):
    plan = sample_plan(min(nodes, 48))

    data = encode_plan(plan)

    assert decode_plan(data) == plan
    assert encode_plan(decode_plan(data)) == data
    assert b" " not in data.replace(b'"', b"").split(b"layers")[0]


def test_options_are_recorded_with_their_defaults():
    plan = plan_of(raster_input(), overlap=2)

    assert plan.options == {
        "overlap": 2,
        "features": "owned",
        "balance": "mixed",
        "crs": "native",
        "extent": {"mode": "reference", "bbox": None, "polygon": None, "crs": None},
        "grid": None,
        "cover": "core",
        "maxCover": None,
        "align": False,
        "skipNodata": False,
        "keepEmpty": False,
        "featureWeight": 2000,
        "headroom": 3.0,
        "vectorCrs": "work",
    }


def test_more_nodes_than_cells_leave_partitions_empty():
    tiny = raster_spec(rows=20, cols=20)

    plan = plan_of(raster_input(tiny), nodes=6)

    assert [part.core is None for part in plan.partitions] == [False] * 4 + [True] * 2
    assert plan.partitions[5] == Partition(index=5, core=None)
    assert plan.totals.pixels == {"dem": 400}


def test_no_layers_make_partitions_without_a_core():
    plan = plan_of(nodes=3)

    assert plan.work is None
    assert [part.core for part in plan.partitions] == [None] * 3


def test_layers_stay_in_the_order_given():
    vector = frame_input(scene_polygons(), "parcels")

    plan = plan_of(vector, raster_input(key="b"), raster_input(key="a"))

    assert [layer.key for layer in plan.layers] == ["parcels", "b", "a"]


def test_estimates_add_up_to_the_window_bytes():
    plan = plan_of(raster_input(), frame_input(scene_polygons()), nodes=4, overlap=2)

    for part in plan.partitions:
        _, _, height, width = part.padded["dem"]
        assert part.est_bytes == height * width * 4 + 1000 * part.est_features
    assert sum(part.est_features for part in plan.partitions) == plan.totals.features["parcels"]
