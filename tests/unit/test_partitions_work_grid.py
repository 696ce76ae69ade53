"""The work grid: reference, CRS, extent, and the fixed grids of layers that must be warped."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from geopod.errors import InvalidInputError, LayerCRSError, NoOverlapError
from geopod.partitions.frame import MOST_PIXELS_IN_ONE, zoom_pixel
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_builders import ORIGIN, antimeridian_spec, raster_spec, shifted_spec
from plan_builders import plan_of, raster_input, vector_input
from pyproj import CRS

DEGREES = raster_spec(crs="EPSG:4326", origin=(-87.002, 36.145), pixel=0.0002, rows=60, cols=80)
"""About 20 m, over the usual UTM raster."""


def grid_of(plan):
    return plan.work.transform[0], plan.work.transform[2], plan.work.transform[5]


def test_the_smallest_pixel_is_the_reference():
    fine = raster_spec(pixel=5.0, rows=128, cols=192)

    plan = plan_of(raster_input(key="ten"), raster_input(fine, "five"))

    assert grid_of(plan) == (5.0, *ORIGIN)
    assert plan.work.shape == (128, 192)


def test_equal_pixels_make_the_first_layer_the_reference():
    plan = plan_of(raster_input(shifted_spec(3.0, 0.0), "first"), raster_input(key="second"))

    assert grid_of(plan) == (10.0, ORIGIN[0] + 3.0, ORIGIN[1])


def test_pixels_are_compared_on_the_ground():
    plan = plan_of(raster_input(DEGREES, "degrees"), raster_input(key="ten"))

    assert plan.work.crs == "EPSG:32616"
    assert grid_of(plan) == (10.0, *ORIGIN)


def test_two_texts_of_one_crs_are_one_crs():
    wkt = raster_spec(crs=CRS(32616).to_wkt())

    plan = plan_of(raster_input(wkt, "wkt"), raster_input(key="code"))

    assert [layer.raster.warp for layer in plan.layers] == [None, None]


def test_a_layer_of_another_crs_gets_a_warp_grid_anchored_on_the_work_grid():
    plan = plan_of(raster_input(), raster_input(DEGREES, "degrees", resampling="bilinear"))

    warp = plan.layers[1].raster.warp
    side, _, x, _, minus_side, y = warp.transform
    assert warp.resampling == "bilinear"
    assert warp.block == 512
    assert side == -minus_side
    # 0.0002 degrees at 36.1 north are 22.2 m by 18.0 m.
    assert side == pytest.approx(20.0, abs=0.1)
    for offset in ((x - ORIGIN[0]) / side, (ORIGIN[1] - y) / side):
        assert offset / 512 == pytest.approx(round(offset / 512), abs=1e-6)


def test_the_warp_grid_is_the_same_for_every_number_of_nodes():
    layers = raster_input(), raster_input(DEGREES, "degrees")

    grids = {plan_of(*layers, nodes=nodes).layers[1].raster.warp for nodes in (1, 2, 7, 64)}

    assert len(grids) == 1


def test_the_warp_grid_holds_what_the_halo_of_outer_nodes_needs():
    plan = plan_of(
        raster_input(), raster_input(DEGREES, "degrees"), nodes=16, overlap=4, grid={"like": "dem"}
    )

    warp = plan.layers[1].raster.warp
    for partition in plan.partitions:
        row, col, height, width = partition.padded["degrees"]
        assert row + height <= warp.shape[0] + 1
        assert col + width <= warp.shape[1] + 1


def test_a_rotated_raster_is_warped_with_its_own_pixel_area():
    rotated = raster_input(raster_spec(rotation=15.0), "rotated")

    plan = plan_of(raster_input(), rotated)

    warp = plan.layers[1].raster.warp
    assert warp.transform[0] == pytest.approx(10.0)
    assert warp.transform[1] == warp.transform[3] == 0.0


def test_a_rotated_reference_makes_a_north_up_work_grid():
    plan = plan_of(raster_input(raster_spec(rotation=15.0)))

    assert plan.work.transform[0] == pytest.approx(10.0)
    assert plan.layers[0].raster.warp.shape[0] >= plan.work.shape[0]
    x_min, y_min, x_max, y_max = plan.work.extent
    assert (x_max - x_min) * (y_max - y_min) > 64 * 96 * 100


def test_a_raster_placed_by_control_points_is_warped():
    plan = plan_of(raster_input(is_rectified=False))

    assert plan.layers[0].raster.warp is not None


def test_another_date_on_another_grid_comes_on_the_first_ones():
    shifted = raster_input(shifted_spec(4.0, 4.0), "t2", path_id="s2")

    plan = plan_of(raster_input(key="t1", path_id="s2"), shifted)

    assert plan.layers[1].raster.warp.transform == (10.0, 0.0, ORIGIN[0], 0.0, -10.0, ORIGIN[1])
    for partition in plan.partitions:
        assert partition.windows["t1"] == partition.windows["t2"]


def test_another_path_on_another_grid_keeps_its_own_pixels():
    plan = plan_of(raster_input(), raster_input(shifted_spec(4.0, 4.0), "other"))

    assert plan.layers[1].raster.warp is None


def test_align_puts_every_raster_on_the_work_grid():
    coarse = raster_spec(pixel=40.0, rows=16, cols=24)

    plan = plan_of(raster_input(), raster_input(coarse, "coarse"), align=True)

    assert plan.layers[0].raster.warp is None
    assert plan.layers[1].raster.warp.transform == plan.work.transform
    for partition in plan.partitions:
        assert partition.windows["dem"] == partition.windows["coarse"]


def test_like_names_the_reference():
    coarse = raster_spec(pixel=40.0, rows=16, cols=24)

    plan = plan_of(raster_input(), raster_input(coarse, "coarse"), grid={"like": "coarse"})

    assert plan.work.transform[0] == 40.0


def test_like_an_unknown_layer_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"grid\.like='dom'") as caught:
        plan_of(raster_input(), grid={"like": "dom"})

    assert caught.value.fixes == ("one of dem",)


def test_resolution_and_anchor_make_a_grid_that_no_layer_has():
    plan = plan_of(raster_input(), grid={"resolution": 30.0, "anchor": [5.0, 5.0]}, nodes=2)

    side, x, y = grid_of(plan)
    assert side == 30.0
    assert (x - 5.0) % 30.0 == (y - 5.0) % 30.0 == 0.0
    assert plan.layers[0].raster.warp is None
    assert plan.totals.pixels["dem"] == 64 * 96


@pytest.mark.parametrize(
    ("spec", "resolution", "largest"),
    [
        pytest.param(raster_spec(), 961.0, "960", id="just over the layer's longer side"),
        pytest.param(raster_spec(), 1e6, "960", id="far over the layer"),
        pytest.param(DEGREES, 30.0, "0.016", id="metres where degrees count"),
        pytest.param(raster_spec(cols=5000), 10_250.0, "10240", id="a thousand pixels and more"),
        pytest.param(raster_spec(rows=5000), 1e300, "10240", id="no number of pixels"),
    ],
)
def test_a_resolution_that_takes_in_too_much_of_the_layer_is_refused(spec, resolution, largest):
    with pytest.raises(InvalidInputError, match="pixels of dem into one") as caught:
        plan_of(raster_input(spec), grid={"resolution": resolution})

    assert caught.value.fixes == (f"at most {largest}, in units of the work CRS",)
    assert plan_of(raster_input(spec), grid={"resolution": float(largest)}).nodes == 4


def test_too_large_a_resolution_is_told_with_both_sizes():
    with pytest.raises(InvalidInputError) as caught:
        plan_of(raster_input(), grid={"resolution": 30_000.0})

    assert str(caught.value) == (
        "GP-E110 grid.resolution=30000.0 takes 3000 x 3000 pixels of dem into one; it has "
        "64 x 96, and 1024 on a side are the most.\n"
        "fix: 1) at most 960, in units of the work CRS"
    )


@settings(deadline=None, max_examples=50)
@given(rows=st.integers(1, 5000), cols=st.integers(1, 5000), share=st.floats(0.001, 1.0))
def test_windows_end_one_asked_pixel_beyond_the_layer(rows, cols, share):
    side = max(1.0, share * min(MOST_PIXELS_IN_ONE, max(rows, cols)))

    plan = plan_of(
        raster_input(raster_spec(rows=rows, cols=cols)), grid={"resolution": 10.0 * side}, nodes=1
    )

    _, _, height, width = plan.partitions[0].padded["dem"]
    assert height <= rows + 2 * side
    assert width <= cols + 2 * side
    assert plan.totals.pixels == {"dem": rows * cols}


def test_a_named_crs_warps_the_reference_on_whole_pixels():
    plan = plan_of(raster_input(), crs="EPSG:3857")

    warp = plan.layers[0].raster.warp
    side, x, _ = grid_of(plan)
    assert 'ID["EPSG",3857]' in plan.work.crs
    # Web Mercator stretches by 1 / cos(36.14 degrees).
    assert side == pytest.approx(10 / math.cos(math.radians(36.14)), rel=0.01)
    assert x / side == pytest.approx(round(x / side), abs=1e-4)
    assert warp.transform[0] == side
    assert warp.shape == plan.work.shape


def test_the_work_crs_by_its_code_changes_nothing():
    plan = plan_of(raster_input(), crs="EPSG:32616")

    assert plan.layers[0].raster.warp is None
    assert plan.work.crs == "EPSG:32616"


@pytest.mark.parametrize(
    ("native", "zoom"),
    [
        pytest.param(156543.0339280410, 0, id="the whole world"),
        pytest.param(76.44, 11, id="exactly zoom 11, rounded"),
        pytest.param(76.0, 12, id="a little finer"),
        pytest.param(12.4, 14, id="10 m at 36 degrees"),
    ],
)
def test_the_preset_takes_the_zoom_that_loses_no_detail(native, zoom):
    assert zoom_pixel(native) == pytest.approx(156543.0339280410 / 2**zoom)


def test_the_ellipsis_preset_counts_a_validity_band():
    plain = plan_of(raster_input(), crs="EPSG:3857", nodes=1)
    preset = plan_of(raster_input(), grid={"preset": "ellipsis"}, nodes=1)

    _, _, height, width = preset.partitions[0].padded["dem"]
    assert preset.partitions[0].est_bytes == 2 * height * width * 4
    _, _, height, width = plain.partitions[0].padded["dem"]
    assert plain.partitions[0].est_bytes == height * width * 4


def test_a_world_map_can_be_planned_in_web_mercator():
    world = raster_spec(crs="EPSG:4326", origin=(-180.0, 90.0), pixel=1.0, rows=180, cols=360)

    plan = plan_of(raster_input(world), crs="EPSG:3857")

    assert plan.work.extent[0] == pytest.approx(-20_037_508, abs=200_000)
    assert plan.work.extent[3] == pytest.approx(20_048_966, abs=200_000)


def test_a_world_map_joins_a_job_in_one_utm_zone():
    world = raster_spec(
        crs="EPSG:4326", origin=(-180.0, 90.0), pixel=0.001, rows=180_000, cols=360_000
    )

    plan = plan_of(raster_input(), raster_input(world, "world"))

    assert plan.totals.pixels["world"] > 0
    assert max(plan.layers[1].raster.warp.shape) < 600


@pytest.mark.parametrize(
    ("mode", "extent"),
    [
        pytest.param("reference", (500_000, 3_999_360, 500_960, 4_000_000), id="reference"),
        pytest.param("intersection", (500_320, 3_999_360, 500_960, 3_999_900), id="intersection"),
        pytest.param("union", (500_000, 3_999_260, 501_280, 4_000_000), id="union"),
    ],
)
def test_extent_modes(mode, extent):
    east = raster_input(shifted_spec(320.0, 100.0), "east")

    plan = plan_of(raster_input(), east, extent={"mode": mode})

    assert plan.work.extent == extent
    cores = [partition.core for partition in plan.partitions]
    assert sum((c[2] - c[0]) * (c[3] - c[1]) for c in cores) == (
        (extent[2] - extent[0]) * (extent[3] - extent[1])
    )


def test_a_bbox_in_degrees_is_brought_to_the_work_crs():
    box = [-86.995, 36.140, -86.992, 36.143]

    plan = plan_of(raster_input(), extent={"mode": "bbox", "bbox": box, "crs": "EPSG:4326"})

    west, south, east, north = plan.work.extent
    assert 500_000 < west < east < 500_960
    assert 3_999_360 < south < north < 4_000_000


@pytest.mark.parametrize(
    "extent",
    [
        pytest.param({"mode": "bbox"}, id="no bbox"),
        pytest.param({"mode": "bbox", "bbox": [1, 1, 0, 0]}, id="swapped"),
        pytest.param({"polygon": [[0, 0], [1, 1]]}, id="a line is no polygon"),
    ],
)
def test_an_extent_that_is_none_is_refused(extent):
    with pytest.raises(InvalidInputError, match=r"extent\.(bbox|polygon)="):
        plan_of(raster_input(), extent=extent)


TRIANGLE = [[500_000.0, 4_000_000.0], [500_960.0, 4_000_000.0], [500_000.0, 3_999_360.0]]


def test_a_polygon_skips_the_cells_it_does_not_reach():
    plan = plan_of(raster_input(), nodes=16, extent={"polygon": TRIANGLE})

    cores = [shapely.box(*part.core) for part in plan.partitions if part.core is not None]
    polygon = shapely.Polygon(TRIANGLE)
    assert shapely.union_all(cores).covers(polygon)
    assert all(core.intersects(polygon) for core in cores)
    assert sum(core.area for core in cores) < 64 * 96 * 100 * 0.9
    assert sum(shapely.area(shapely.intersection(a, b)) for a in cores for b in cores) == (
        pytest.approx(sum(core.area for core in cores))
    )
    assert plan.work.polygon == tuple(map(tuple, TRIANGLE))


ELBOW = [
    [500_100, 4_000_050],
    [501_050, 4_000_050],
    [501_050, 3_999_400],
    [501_000, 3_999_400],
    [501_000, 4_000_010],
    [500_100, 4_000_010],
]
"""Goes around the raster's upper-right corner."""


@pytest.mark.parametrize(
    "ring",
    [
        pytest.param([[0, 0], [10, 0], [0, 10]], id="elsewhere"),
        pytest.param(ELBOW, id="its box meets the raster, it does not"),
    ],
)
def test_a_polygon_beside_the_layers_is_refused(ring):
    with pytest.raises(NoOverlapError, match="dem covers"):
        plan_of(raster_input(), extent={"polygon": ring})


def test_features_outside_the_polygon_are_counted_outside():
    x, y = np.meshgrid(np.arange(500_005.0, 500_960, 10), np.arange(3_999_365.0, 4_000_000, 10))
    points = np.stack([x.ravel(), y.ravel()], axis=1)

    plan = plan_of(raster_input(), vector_input(points), extent={"polygon": TRIANGLE})

    within = shapely.contains_xy(shapely.Polygon(TRIANGLE), points[:, 0], points[:, 1]).sum()
    assert plan.totals.features == {"parcels": within}
    assert plan.totals.features_outside == {"parcels": len(points) - within}


def test_a_raster_elsewhere_is_refused_with_both_places():
    far = raster_input(shifted_spec(50_000.0, 0.0), "far")

    with pytest.raises(NoOverlapError) as caught:
        plan_of(raster_input(), far)

    assert str(caught.value) == (
        "GP-E127 far covers (550000, 3999360, 550960, 4000000) in EPSG:32616, job extent is "
        "(500000, 3999360, 500960, 4000000): 0 of 6144 pixels inside.\n"
        "fix: 1) wrong CRS, swapped axes or extent?"
    )


def test_features_elsewhere_are_refused_and_one_that_reaches_in_is_not():
    far = np.array([[0.0, 0.0, 10.0, 10.0]])
    around = np.array([[0.0, 0.0, 600_000.0, 9_000_000.0]])

    with pytest.raises(NoOverlapError, match="0 of 1 features inside"):
        plan_of(raster_input(), vector_input(far))
    plan = plan_of(raster_input(), vector_input(around), features="intersects")

    assert plan.totals.features_outside == {"parcels": 1}


def test_disjoint_layers_have_no_intersection():
    with pytest.raises(NoOverlapError, match="far covers"):
        plan_of(
            raster_input(),
            raster_input(shifted_spec(5_000.0, 0.0), "far"),
            extent={"mode": "intersection"},
        )


def test_a_crs_that_proj_does_not_know_is_refused_in_projs_words():
    with pytest.raises(LayerCRSError, match=r"CRS EPSG:1 cannot be used: .*crs not found"):
        plan_of(raster_input(), raster_input(raster_spec(crs="EPSG:1"), "odd"))


def test_one_layer_needs_no_known_crs():
    plan = plan_of(raster_input(raster_spec(crs='LOCAL_CS["arbitrary"]')))

    assert plan.totals.pixels == {"dem": 64 * 96}


FIJI = raster_spec(crs="EPSG:4326", origin=(-180.0, 46.1), pixel=0.005, rows=140, cols=160)
"""The same place in degrees, east of the antimeridian; about 450 m."""


def test_across_the_antimeridian_the_projected_crs_is_taken():
    crossing = raster_input(antimeridian_spec(), "crossing")

    plan = plan_of(raster_input(FIJI, "degrees"), crossing)

    assert plan.work.crs == "EPSG:32660"
    assert plan.work.transform[0] == 1000.0
    assert plan.layers[0].raster.warp is not None
    assert plan.layers[1].raster.warp is None


def test_across_the_antimeridian_a_vector_layer_decides_too():
    x_min, y_min, x_max, y_max = antimeridian_spec().bounds
    corners = np.array([[x_min, y_min], [x_max, y_max]])

    plan = plan_of(raster_input(FIJI, "degrees"), vector_input(corners, crs="EPSG:32660"))

    assert plan.work.crs == "EPSG:32660"


def test_degrees_asked_for_across_the_antimeridian_are_refused():
    with pytest.raises(LayerCRSError, match="lies across its antimeridian"):
        plan_of(raster_input(antimeridian_spec()), crs="EPSG:4326")
