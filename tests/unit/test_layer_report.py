"""What the state says of a planned layer: its place, and what is worth knowing of its reading."""

from __future__ import annotations

import msgspec
import pytest
from geopod.api.layer_report import delivered_names, report_layer
from geopod.api.plan import LayerPlan, Plan, RasterHeader, Totals, VectorHeader


def a_vector(**changes):
    usual = {"crs": "EPSG:4326", "columns": ("id",), "feature_count": 3, "bbox_source": "index"}
    header = VectorHeader(**{**usual, **changes})
    return LayerPlan(
        key="now", path_id="fields", timestamp="2024", kind="vector", hrefs=("/f.fgb",),
        driver="FlatGeobuf", version={}, vector=header,
    )  # fmt: skip  # one line less


def a_plan(layer, *, features="owned", keep_empty=False, **totals):
    options = {"features": features, "keepEmpty": keep_empty}
    return Plan(
        planner={}, nodes=1, options=options, work=None, layers=(layer,),
        partitions=(), totals=Totals(**totals),
    )  # fmt: skip  # one line less


def test_nothing_is_said_of_a_layer_that_is_as_usual():
    layer = a_vector(bounds=(1.0, 2.0, 3.0, 4.0))
    plan = a_plan(layer, linearised={"now": 0}, empty_geometries={"now": 0})

    assert report_layer(layer, plan) == {
        "timestamp": "2024", "state": "Resolved", "crs": "EPSG:4326", "bbox": [1.0, 2.0, 3.0, 4.0],
    }  # fmt: skip  # one line less


def test_bounds_of_a_rotated_raster_hold_its_corners():
    header = RasterHeader(
        crs="EPSG:32632", transform=(3.0, 4.0, 100.0, 4.0, -3.0, 200.0), shape=(10, 20),
        dtype="uint8", bands=("1",), band_indexes=(1,), block_shape=(8, 8),
    )  # fmt: skip  # one line less

    assert header.bounds == (100.0, 170.0, 200.0, 280.0)


def test_what_is_worth_knowing_is_said_together():
    layer = a_vector(bbox_source="scan", columns=("id", "_fid"))

    assert report_layer(layer, a_plan(layer, linearised={"now": 2}))["reason"] == (
        "every node reads it whole: it has no bounding boxes to go by; 2 geometries have arcs, "
        "which are read as straight lines; its column _fid is called _fid_."
    )


@pytest.mark.parametrize(
    ("keep_empty", "reason"),
    [
        (False, "2 features have no geometry: no node gets them without keepEmpty."),
        (True, "2 features have no geometry: node 0 gets them."),
    ],
)
def test_features_without_geometry_are_told_with_where_they_go(keep_empty, reason):
    layer = a_vector()
    plan = a_plan(layer, keep_empty=keep_empty, empty_geometries={"now": 2, "other": 7})

    assert report_layer(layer, plan)["reason"] == reason


@pytest.mark.parametrize(
    ("mode", "renamed"),
    [
        ("owned", {"_fid": "_fid__"}),
        ("intersects", {"_fid": "_fid__", "_owned": "_owned_"}),
        ("clip", {"_fid": "_fid__", "_owned": "_owned_", "_fraction": "_fraction_"}),
    ],
)
def test_columns_of_names_that_geopod_needs_get_free_ones(mode, renamed):
    columns = ("_owned", "_fraction", "_fid", "_fid_", "id")

    assert delivered_names(columns, mode) == {name: name for name in columns} | renamed


def test_plans_of_before_are_read():
    plan = a_plan(a_vector())
    old = msgspec.json.decode(msgspec.json.encode(plan))
    del old["totals"]["linearised"], old["layers"][0]["vector"]["bounds"]

    assert msgspec.convert(old, Plan) == plan
