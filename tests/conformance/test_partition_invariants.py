"""What a plan promises, checked on real files: rasterio reads its windows, geopandas its features.

I1 every pixel once, I2 every feature once, I4 the same bytes in every process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
from geopod.api.plan import encode_plan, plan_sha256
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_builders import (
    antimeridian_spec,
    edge_points,
    raster_spec,
    scene_polygons,
    shifted_spec,
    spec_30m_off_by_7m,
    with_null_and_empty,
    write_raster,
)
from matplotlib.cbook import get_sample_data
from plan_builders import (
    NODE_COUNTS,
    frame_input,
    ownership_points,
    plan_of,
    raster_input,
    sample_plan,
)
from rasterio.windows import Window

TESTS = Path(__file__).parent.parent
COUNTRIES = Path(pyogrio.__file__).parent / "tests/fixtures/naturalearth_lowres"
PEOPLE = 7_383_089_462


def core_values(path, plan, key):
    """What rasterio reads in the cores of all nodes, one after the other."""
    found = []
    with rasterio.open(path) as source:
        for partition in plan.partitions:
            if partition.core is None:
                continue
            row, col, height, width = partition.windows[key]
            window = Window(col, row, width, height)
            there = Window(0, 0, source.width, source.height)
            if height > 0 and width > 0 and rasterio.windows.intersect(window, there):
                found.append(source.read(1, window=window.intersection(there)).ravel())
    return np.sort(np.concatenate(found))


@pytest.mark.parametrize("nodes", NODE_COUNTS)
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(raster_spec(), id="the reference"),
        pytest.param(spec_30m_off_by_7m(), id="30 m, 7 m off"),
        pytest.param(raster_spec(pixel=4.0, rows=160, cols=240), id="finer, as far as it goes"),
        pytest.param(raster_spec(block=None), id="strips"),
        pytest.param(antimeridian_spec(), id="across the antimeridian"),
    ],
)
def test_pixels_once(tmp_path, spec, nodes):
    path = write_raster(tmp_path / "layer.tif", spec)
    reference = raster_spec(crs=spec.crs, pixel=spec.pixel, origin=spec.origin)
    if spec.crs == raster_spec().crs:
        reference = raster_spec()

    plan = plan_of(
        raster_input(reference), raster_input(spec, "layer"), nodes=nodes, grid={"like": "dem"}
    )

    assert np.array_equal(core_values(path, plan, "layer"), np.arange(spec.rows * spec.cols))


@given(
    nodes=st.sampled_from(NODE_COUNTS),
    across=st.floats(0, 90),
    down=st.floats(0, 90),
    pixel=st.floats(3.0, 70.0),
)
@settings(deadline=None, max_examples=25)
def test_pixels_once_on_any_grid(tmp_path_factory, nodes, across, down, pixel):
    rows, cols = int(550 / pixel), int(870 / pixel)
    spec = shifted_spec(across, down, pixel=pixel, rows=rows, cols=cols)
    path = write_raster(tmp_path_factory.mktemp("grid") / "layer.tif", spec)

    plan = plan_of(raster_input(), raster_input(spec, "layer"), nodes=nodes, grid={"like": "dem"})

    assert np.array_equal(core_values(path, plan, "layer"), np.arange(rows * cols))


def owned_rows(frame, plan):
    """Each node's rows, by the ownership rule: the inside point, brought to the work CRS."""
    points = ownership_points(frame, plan.work.crs)
    return [
        np.flatnonzero(partition.owns(points[:, 0], points[:, 1])) for partition in plan.partitions
    ]


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_features_once(nodes):
    frame = with_null_and_empty(
        geopandas.GeoDataFrame(
            geometry=np.concatenate(
                [
                    edge_points(raster_spec()).geometry,
                    edge_points(shifted_spec(480.0, 320.0)).geometry,
                    scene_polygons().geometry,
                ]
            ),
            crs=raster_spec().crs,
        )
    )
    x_min, y_min, x_max, y_max = raster_spec().bounds

    plan = plan_of(raster_input(), frame_input(frame, exact=True), nodes=nodes)

    points = frame.geometry.representative_point()
    there = ~(frame.geometry.isna() | frame.geometry.is_empty)
    within = points.x.between(x_min, x_max) & points.y.between(y_min, y_max)
    owned = np.concatenate(owned_rows(frame, plan))
    assert sorted(owned) == np.flatnonzero(within).tolist()
    assert plan.totals.features == {"parcels": len(owned)}
    assert plan.totals.features_outside == {"parcels": int((there & ~within).sum())}
    assert plan.totals.empty_geometries == {"parcels": 3}


@pytest.fixture(scope="module")
def countries():
    return geopandas.read_file(COUNTRIES, engine="pyogrio")


@pytest.mark.parametrize("nodes", NODE_COUNTS)
@pytest.mark.parametrize("crs", ["native", "EPSG:3857", "EPSG:8857"])
def test_every_country_is_counted_once(countries, nodes, crs):
    plan = plan_of(frame_input(countries), nodes=nodes, crs=crs)

    by_node = [int(countries.pop_est.iloc[rows].sum()) for rows in owned_rows(countries, plan)]
    assert sum(by_node) == PEOPLE
    assert countries.total_bounds[2] > 180.0


def elevation_input():
    """The header of the elevation model that matplotlib carries; its y bounds are swapped."""
    with get_sample_data("jacksboro_fault_dem.npz") as data:
        rows, cols = data["elevation"].shape
        step, x, y = float(data["dx"]), float(data["xmin"]), float(data["ymin"])
    spec = raster_spec(
        crs="EPSG:4326", dtype="int16", rows=rows, cols=cols, pixel=step, origin=(x, y), block=None
    )
    return raster_input(spec)


def test_no_country_is_owned_by_a_job_inside_one(countries):
    plan = plan_of(elevation_input(), frame_input(countries), features="intersects", nodes=4)

    assert plan.totals.features == {"parcels": 0}
    assert plan.totals.features_outside == {"parcels": 177}
    assert plan.totals.pixels == {"dem": 344 * 403}


def test_plan_bytes_do_not_depend_on_the_process():
    code = (
        "from plan_builders import sample_plan\n"
        "from geopod.api.plan import encode_plan, plan_sha256\n"
        "print(plan_sha256(encode_plan(sample_plan())))"
    )
    another_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    child = subprocess.run(  # this interpreter and a literal
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": another_seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert child.stdout.strip() == plan_sha256(encode_plan(sample_plan()))
