"""Partitions shown as features, as a picture and as text."""

from __future__ import annotations

import sys

import pytest
from geopod.errors import MissingExtraError
from geopod.layers.show import draw_partitions, partitions_frame, partitions_text, summary
from layer_builders import scene_points
from matplotlib.image import imread
from plan_builders import plan_of, raster_input, raster_spec, vector_input


def a_plan(nodes=7):
    spec = raster_spec(rows=640, cols=960)
    return plan_of(
        raster_input(spec), vector_input(scene_points(500, spec.bounds), key="fields"), nodes=nodes
    )


def test_frame_has_a_row_per_partition_and_covers_the_extent_once():
    plan = a_plan()

    frame = partitions_frame(plan)

    assert frame.index.tolist() == list(range(7))
    assert frame.crs == "EPSG:32616"
    x_min, y_min, x_max, y_max = plan.work.extent
    assert frame.area.sum() == pytest.approx((x_max - x_min) * (y_max - y_min))
    assert frame.union_all().area == pytest.approx(frame.area.sum())
    assert frame["est_features"].sum() == 500
    assert frame["share"].mean() == pytest.approx(1.0)


def test_empty_partitions_are_rows_without_a_place():
    frame = partitions_frame(plan_of(raster_input(raster_spec(rows=16, cols=32)), nodes=5))

    assert len(frame) == 5
    assert frame.geometry.isna().sum() == 3


def test_text_shows_every_partition_and_the_balance():
    plan = a_plan()

    lines = partitions_text(plan, columns=60).splitlines()

    assert set("".join(lines[:-1])) == set("0123456")
    assert {len(line) for line in lines[:-1]} == {60}
    assert lines[-1] == summary(plan)
    assert lines[-1].startswith("7 partitions; largest ")


def test_plan_without_layers_is_a_sentence():
    assert partitions_text(plan_of(nodes=3)) == (
        "3 nodes, no partitions: the environment has no layers"
    )


def test_picture_is_written(tmp_path):
    path = draw_partitions(a_plan(), tmp_path / "plan.png")

    assert path.read_bytes().startswith(b"\x89PNG")


def test_picture_has_the_shape_of_the_ground(tmp_path):
    """A degree of longitude at 60 degrees north is half as long as one of latitude."""
    square = {"rows": 640, "cols": 640}
    metres = plan_of(raster_input(raster_spec(**square)), nodes=4)
    north = raster_spec(**square, crs="EPSG:4326", pixel=1e-4, origin=(10.0, 60.032))
    degrees = plan_of(raster_input(north), nodes=4)

    sizes = [imread(draw_partitions(plan, tmp_path / "a.png")).shape for plan in (metres, degrees)]

    assert sizes[0][0] == sizes[0][1]
    assert sizes[1][0] == pytest.approx(2 * sizes[1][1], rel=0.01)


def test_without_matplotlib_the_fix_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(MissingExtraError, match="needs matplotlib") as caught:
        draw_partitions(a_plan(), tmp_path / "plan.png")

    assert "geopod plan shows them as text" in caught.value.fixes
