"""Staged partitions against rasterio and geopandas on the whole file: the project's invariants.

I1 every pixel of the job is in one core; I2 every feature has one owner; I3 what a local function
computes does not depend on the number of nodes. Source: the geodata design, §2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import rasterio.shutil
import rasterio.windows
import shapely
from geopod.api.plan import FilePlan, encode_plan, plan_sha256
from geopod.errors import LayerAccessError, SourceChangedError, UnsupportedGridError
from geopod.layers.stage import stage_partition, staged_folder
from geopod.runner.vector import read_vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_builders import (
    antimeridian_spec,
    edge_points,
    invalid_polygons,
    raster_spec,
    scene_polygons,
    shifted_spec,
    spec_30m_off_by_7m,
    with_null_and_empty,
    write_alpha,
    write_dates_on_two_grids,
    write_mask_band,
    write_overlapping,
    write_raster,
    write_south_up,
    write_sparse,
    write_vector_formats,
    write_with_nodata,
)
from staging_builders import layer_source, open_npy, plan_of, stage_job

NODES = [1, 2, 3, 7, 16, 64, 199]
NATURAL_EARTH = Path(pyogrio.__path__[0]) / (
    "tests/fixtures/naturalearth_lowres/naturalearth_lowres.shp"
)
SLOW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _sha256(path):
    return sha256(path.read_bytes()).hexdigest()


def all_core_values(job, key):
    return np.sort(np.concatenate([job.core(partition, key).ravel() for partition in job]))


def all_rows(job, key, column="_fid"):
    return [value for partition in job for value in job.rows(partition, key)[column].to_pylist()]


@pytest.mark.parametrize("nodes", NODES)
def test_every_pixel_is_in_one_core(tmp_path, nodes):
    path = write_raster(tmp_path / "index.tif", raster_spec())

    job = stage_job(tmp_path, layer_source(path), nodes=nodes)

    assert all_core_values(job, "index").tolist() == list(range(64 * 96))


@SLOW
@given(
    across=st.floats(-40, 40),
    down=st.floats(-40, 40),
    pixel=st.sampled_from([3.0, 10.0, 30.0]),
    nodes=st.sampled_from(NODES),
)
def test_every_pixel_of_another_grid_is_in_one_core(tmp_path_factory, across, down, pixel, nodes):
    folder = tmp_path_factory.mktemp("grids")
    reference = write_raster(folder / "index.tif", raster_spec(pixel=10.0))
    spec = shifted_spec(across, down, pixel=pixel, rows=30, cols=30)
    # Values from 1: 0 stands outside the layer.
    other = write_raster(folder / "other.tif", spec, spec.values() + 1)

    job = stage_job(
        folder,
        layer_source(reference),
        layer_source(other),
        nodes=nodes,
        grid={"like": "index"},
        extent={"mode": "union"},
    )

    values = all_core_values(job, "other")
    assert values[values > 0].tolist() == list(range(1, 901))


def test_30m_grid_7m_off_the_lattice_is_covered_once(tmp_path):
    reference = write_raster(tmp_path / "index.tif", raster_spec())
    spec = spec_30m_off_by_7m()
    other = write_raster(tmp_path / "thirty.tif", spec, spec.values() + 1)

    job = stage_job(tmp_path, layer_source(reference), layer_source(other), nodes=16)

    values = all_core_values(job, "thirty")
    assert values[values > 0].tolist() == list(range(1, 601))


@pytest.mark.parametrize("nodes", [1, 3, 16])
def test_every_feature_has_one_owner_in_every_format(tmp_path, nodes):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = with_null_and_empty(scene_polygons(200))
    formats = write_vector_formats(tmp_path, frame)
    sources = [layer_source(path, key=name) for name, path in formats.items()]

    job = stage_job(tmp_path, layer_source(raster), *sources, nodes=nodes)

    for name in formats:
        fids = all_rows(job, name)
        totals = job.plan.totals
        assert len(fids) == len(set(fids)) == totals.features[name] == 200, name
        assert totals.features_outside[name] == 0
        assert totals.empty_geometries[name] == 3
        assert sorted(all_rows(job, name, "id")) == list(range(200)), name


@pytest.mark.parametrize("nodes", NODES)
def test_points_on_lattice_lines_and_extent_edges_have_one_owner(tmp_path, nodes):
    spec = raster_spec()
    raster = write_raster(tmp_path / "index.tif", spec)
    frame = edge_points(spec)
    formats = write_vector_formats(tmp_path, frame)
    if nodes > 16:
        formats = {"parquet": formats["parquet"]}
    sources = [layer_source(path, key=name) for name, path in formats.items()]

    job = stage_job(tmp_path, layer_source(raster), *sources, nodes=nodes)

    for name in formats:
        assert sorted(all_rows(job, name, "id")) == list(range(len(frame))), name


@pytest.mark.parametrize("nodes", [1, 3, 16])
def test_features_outside_are_counted(tmp_path, nodes):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = scene_polygons(300, shifted_spec(480.0, 320.0))
    formats = write_vector_formats(tmp_path, frame)
    sources = [layer_source(path, key=name) for name, path in formats.items()]
    x_min, y_min, x_max, y_max = raster_spec().bounds
    points = frame.representative_point()
    inside = points.x.between(x_min, x_max) & points.y.between(y_min, y_max)

    job = stage_job(tmp_path, layer_source(raster), *sources, nodes=nodes)

    for name in formats:
        assert len(all_rows(job, name)) == inside.sum(), name
        assert job.plan.totals.features_outside[name] == (~inside).sum(), name


def test_geometry_is_that_of_the_file(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = with_null_and_empty(scene_polygons(60))
    frame = frame.iloc[np.random.default_rng(7).permutation(len(frame))].reset_index(drop=True)
    formats = write_vector_formats(tmp_path, frame)
    sources = [layer_source(path, key=name) for name, path in formats.items()]

    job = stage_job(tmp_path, layer_source(raster), *sources, nodes=3)

    expected = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].set_index("id")
    for name in formats:
        found = {}
        for partition in job:
            table = job.rows(partition, name)
            assert table["_fid"].to_pylist() == sorted(table["_fid"].to_pylist())
            geometries = shapely.from_wkb(table["geometry"].to_pylist())
            found |= dict(zip(table["id"].to_pylist(), geometries, strict=True))
        assert len(found) == 60
        for number, geometry in found.items():
            assert shapely.equals_exact(geometry, expected.geometry[number], 1e-6), name


@pytest.mark.parametrize("nodes", [1, 4, 64])
def test_population_of_the_world_is_the_same_for_any_number_of_nodes(tmp_path, nodes):
    job = stage_job(tmp_path, layer_source(NATURAL_EARTH, key="countries"), nodes=nodes)

    assert sum(all_rows(job, "countries", "pop_est")) == 7_383_089_462
    assert len(all_rows(job, "countries")) == 177


def test_layer_in_another_crs_is_owned_once_and_delivered_in_the_work_crs(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = scene_polygons(200)
    formats = write_vector_formats(tmp_path, frame.to_crs(4326))
    sources = [layer_source(path, key=name) for name, path in formats.items()]

    job = stage_job(tmp_path, layer_source(raster), *sources, nodes=7)

    expected = frame.to_crs(4326).to_crs(frame.crs)
    for name in formats:
        assert sorted(all_rows(job, name, "id")) == list(range(200)), name
        table = job.rows(0, name)
        assert job.record(0, name)["crs"] == "EPSG:32616"
        geometries = shapely.from_wkb(table["geometry"].to_pylist())
        for number, geometry in zip(table["id"].to_pylist(), geometries, strict=True):
            assert shapely.equals_exact(geometry, expected.geometry[number], 0.05)


def test_native_vector_crs_leaves_geometry_as_it_is(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = scene_polygons(50).to_crs(4326)
    path = write_vector_formats(tmp_path, frame)["parquet"]

    job = stage_job(tmp_path, layer_source(raster), layer_source(path), vectorCrs="native")

    assert job.record(0, "features")["crs"] == "EPSG:4326"
    for partition in job:
        table = job.rows(partition, "features")
        for number, wkb in zip(table["id"].to_pylist(), table["geometry"].to_pylist(), strict=True):
            assert shapely.from_wkb(wkb).equals(frame.geometry[number])


def test_antimeridian_features_are_found_on_both_sides(tmp_path):
    raster = write_raster(tmp_path / "index.tif", antimeridian_spec())
    x_min, y_min, x_max, y_max = antimeridian_spec().bounds
    x, y = np.random.default_rng(7).uniform((x_min, y_min), (x_max, y_max), (100, 2)).T
    frame = geopandas.GeoDataFrame(
        {"id": range(100)}, geometry=geopandas.points_from_xy(x, y), crs="EPSG:32660"
    ).to_crs(4326)
    assert frame.geometry.x.min() < -179
    assert frame.geometry.x.max() > 179
    formats = write_vector_formats(tmp_path, frame)
    sources = [layer_source(path, key=name) for name, path in formats.items()]

    job = stage_job(tmp_path, layer_source(raster), *sources, nodes=3)

    for name in formats:
        assert sorted(all_rows(job, name, "id")) == list(range(100)), name


def test_longitudes_up_to_360_are_found(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = scene_polygons(50).to_crs(4326)
    frame = frame.set_geometry(frame.geometry.translate(360.0))
    path = write_vector_formats(tmp_path, frame)["fgb"]

    job = stage_job(tmp_path, layer_source(raster), layer_source(path), nodes=3)

    assert len(all_rows(job, "features")) == 50


@pytest.mark.parametrize("west", [0.0, -20.0])
def test_raster_past_180_degrees_is_the_same_world_on_another_grid(tmp_path, west):
    world = {"crs": "EPSG:4326", "pixel": 1.0, "rows": 120, "cols": 360, "nodata": 65535.0}
    spec = raster_spec(origin=(-180.0, 60.0), **world)
    turned = raster_spec(origin=(west, 60.0), **world)
    values = np.roll(spec.values(), -int(west + 180), axis=2)
    plain = write_raster(tmp_path / "plain.tif", spec)
    other = write_raster(tmp_path / "turned.tif", turned, values)

    one, two = (
        stage_job(tmp_path / path.stem, layer_source(path), nodes=3, crs="EPSG:3857")
        for path in (plain, other)
    )
    within = {"nodes": 3, "crs": "EPSG:3857", "extent": {"mode": "intersection"}}
    both = stage_job(tmp_path / "both", layer_source(plain), layer_source(other), **within)

    for partition in one:
        assert (one.core(partition, "plain") == two.core(partition, "turned")).all()
        assert (both.core(partition, "plain") == both.core(partition, "turned")).all()
        assert (both.core(partition, "turned") != 65535).all()


def test_empty_geometries_go_to_node_0_when_asked(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = with_null_and_empty(scene_polygons(40))
    formats = write_vector_formats(tmp_path, frame)
    sources = [layer_source(path, key=name) for name, path in formats.items()]

    job = stage_job(tmp_path, layer_source(raster), *sources, nodes=4, keepEmpty=True)

    for name in formats:
        assert sorted(all_rows(job, name, "id")) == list(range(43)), name
        assert {40, 41, 42} <= set(job.rows(0, name)["id"].to_pylist()), name


def test_intersects_gives_neighbours_and_marks_the_owner(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = scene_polygons(200)
    formats = write_vector_formats(tmp_path, frame)
    sources = [layer_source(path, key=name) for name, path in formats.items()]

    job = stage_job(tmp_path, layer_source(raster), *sources, features="intersects", overlap=3)

    for name in formats:
        owned = []
        for partition in job:
            x_min, y_min, x_max, y_max = job.plan.partitions[partition].core
            reach = shapely.box(x_min - 30, y_min - 30, x_max + 30, y_max + 30)
            table = job.rows(partition, name)
            expected = set(frame[frame.geometry.intersects(reach)]["id"])
            assert set(table["id"].to_pylist()) == expected, name
            owned += table.filter(table["_owned"])["id"].to_pylist()
        assert sorted(owned) == list(range(200)), name


@pytest.mark.parametrize("mode", ["owned", "intersects", "clip"])
def test_columns_of_geopods_own_names_are_kept_under_others(tmp_path, mode):
    mine = {"_fid": "a", "_owned": "b", "_fraction": "c", "geometry": "d", "geometry_": "e"}
    frame = scene_polygons(5).rename_geometry("shape").assign(**mine)
    formats = write_vector_formats(tmp_path, frame)
    sources = [layer_source(path, key=name) for name, path in formats.items()]

    job = stage_job(tmp_path, *sources, nodes=1, features=mode)

    for name in formats:
        frame = read_vector(job.folder(0), job.record(0, name))
        own = {"owned": 1, "intersects": 2, "clip": 3}[mode]
        called = [f"{column}_" if at < own else column for at, column in enumerate(mine)]
        assert [frame[column].unique().tolist() for column in called] == [[it] for it in "abcde"]
        assert (frame.index.name, frame.geometry.name) == ("_fid", "geometry__")


def test_clipped_fractions_of_a_feature_add_up(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    inside = shapely.box(*raster_spec().bounds)
    frame = scene_polygons(200)
    frame = frame[frame.geometry.within(inside)].reset_index(drop=True)
    path = write_vector_formats(tmp_path, frame)["parquet"]

    job = stage_job(tmp_path, layer_source(raster), layer_source(path), features="clip", nodes=16)

    total = np.zeros(len(frame))
    for partition in job:
        table = job.rows(partition, "features")
        fids = table["_fid"].to_numpy()
        total[fids] += table["_fraction"].to_numpy()
        core = shapely.box(*job.plan.partitions[partition].core)
        for fid, wkb in zip(fids, table["geometry"].to_pylist(), strict=True):
            piece = frame.geometry[fid].intersection(core)
            assert shapely.equals_exact(shapely.from_wkb(wkb).normalize(), piece.normalize(), 1e-9)
    assert total == pytest.approx(np.ones(len(frame)))


def test_clip_survives_what_has_no_place_in_the_work_crs(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec(pixel=2000.0, rows=60, cols=60))

    job = stage_job(
        tmp_path, layer_source(raster), layer_source(NATURAL_EARTH, key="c"), features="clip"
    )

    names = set(all_rows(job, "c", "name"))
    assert names == {"United States of America"}
    assert 0 < sum(all_rows(job, "c", "_fraction")) < 0.01


def test_invalid_geometries_are_owned_and_clipped(tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    path = write_vector_formats(tmp_path, invalid_polygons(raster_spec()))["parquet"]

    for mode in ("owned", "intersects", "clip"):
        job = stage_job(
            tmp_path / mode, layer_source(raster), layer_source(path), nodes=3, features=mode
        )
        assert set(all_rows(job, "features", "id")) == {0, 1}, mode


@pytest.mark.parametrize("nodes", [1, 5, 16])
def test_local_filter_with_halo_equals_the_whole_raster(tmp_path, nodes):
    spec = raster_spec(dtype="int32")
    values = np.random.default_rng(7).integers(0, 1000, (1, 64, 96))
    path = write_raster(tmp_path / "dem.tif", spec, values)
    overlap = 2

    job = stage_job(tmp_path, layer_source(path), nodes=nodes, overlap=overlap)

    whole = box_sum(np.pad(values[0], overlap), overlap)
    assert assembled(job, "dem", lambda array: box_sum(array, overlap)) == whole.tolist()


def test_local_filter_without_halo_differs(tmp_path):
    values = np.random.default_rng(7).integers(1, 1000, (1, 64, 96))
    path = write_raster(tmp_path / "dem.tif", raster_spec(dtype="int32"), values)

    job = stage_job(tmp_path, layer_source(path), nodes=16)

    whole = box_sum(np.pad(values[0], 2), 2)
    parts = assembled(job, "dem", lambda array: box_sum(np.pad(array, 2), 2))
    assert parts != whole.tolist()


def box_sum(array, radius):
    """Return sums over (2 radius + 1)² pixels, without the rim."""
    side = 2 * radius + 1
    return np.lib.stride_tricks.sliding_window_view(array, (side, side)).sum(axis=(2, 3))


def assembled(job, key, function):
    """Return the results of `function` on each padded array, put together by the plan."""
    rows, columns = job.plan.work.shape
    whole = np.zeros((rows, columns), int)
    for partition in job:
        window = job.plan.partitions[partition].windows.get(key)
        if window is not None:
            row, column, height, width = window
            whole[row : row + height, column : column + width] = function(
                job.array(partition, key)[0]
            )
    return whole.tolist()


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
def test_warped_layer_does_not_depend_on_the_number_of_nodes(tmp_path, resampling):
    reference = write_raster(tmp_path / "index.tif", raster_spec(rows=700, cols=900, block=256))
    spec = raster_spec(rows=500, cols=600, pixel=0.0002, origin=(-86.99, 36.14), crs="EPSG:4326")
    values = np.random.default_rng(7).integers(1, 4000, (1, 500, 600))
    other = write_raster(tmp_path / "warped.tif", spec, values)
    sources = (layer_source(reference), layer_source(other, resampling=resampling))

    wholes = []
    for nodes in (1, 7, 16):
        job = stage_job(tmp_path / str(nodes), *sources, nodes=nodes, overlap=3)
        assert job.plan.layers[1].raster.warp is not None
        pieces = {}
        for partition in job:
            row, column, height, _ = job.plan.partitions[partition].windows["warped"]
            core = job.core(partition, "warped")[0]
            for offset in range(height):
                pieces[row + offset, column] = core[offset].tolist()
        keys = sorted(pieces)
        rows = {}
        for row, column in keys:
            rows.setdefault(row, []).extend(pieces[row, column])
        wholes.append([rows[row] for row in sorted(rows)])
    assert wholes[0] == wholes[1] == wholes[2]
    assert max(map(max, wholes[0])) > 0


@pytest.mark.parametrize(
    ("dtype", "nodata", "fill"),
    [
        pytest.param("uint8", None, 0, id="8 bits"),
        pytest.param("float32", None, np.nan, id="floats"),
        pytest.param("int16", -7, -7, id="nodata"),
    ],
)
@pytest.mark.parametrize("write", [write_raster, write_alpha, write_mask_band])
def test_warped_layer_is_filled_where_it_has_no_pixel(tmp_path, write, dtype, nodata, fill):
    reference = write_raster(tmp_path / "index.tif", raster_spec(rows=200, cols=200))
    spec = raster_spec(
        rows=60,
        cols=60,
        pixel=0.0002,
        origin=(-86.995, 36.135),
        crs="EPSG:4326",
        dtype=dtype,
        nodata=nodata,
    )
    other = write(tmp_path / "other.tif", spec)

    job = stage_job(tmp_path, layer_source(reference), layer_source(other), nodes=1)

    array = job.array(0, "other")[0]
    is_filled = np.isnan(array) if np.isnan(fill) else array == fill
    hidden = 0.25 if write is not write_raster else 0.0
    there = 60 * 60 * (1 - hidden) * 22.2 * 18.0 / 22.2**2  # degrees to pixels, roughly
    assert is_filled[-1, -1]
    assert job.record(0, "other")["shape"][0] == 1
    if dtype != "uint8":  # 8 bits: values wrap around to 0
        assert (~is_filled).sum() == pytest.approx(there, rel=0.3)


def in_utm_17(path, **options):
    return layer_source(path, key="d"), {"crs": "EPSG:32617", "nodes": 1, **options}


@pytest.mark.parametrize("nodata", [None, -1, -(2**63)])
def test_warped_whole_numbers_of_64_bits_are_those_of_32(tmp_path, nodata):
    long, short = raster_spec(dtype="int64"), raster_spec(dtype="int32", nodata=-1)
    path = tmp_path / "long.tif"
    _ = write_raster(path, long) if nodata is None else write_with_nodata(path, long, nodata)
    source, options = in_utm_17(path)
    expected, _ = in_utm_17(write_raster(tmp_path / "short.tif", short))

    found = stage_job(tmp_path / "a", source, **options).array(0, "d")
    wanted = stage_job(tmp_path / "b", expected, **options).array(0, "d")

    absent = 0 if nodata is None else nodata
    np.testing.assert_array_equal(found, np.where(wanted == -1, absent, wanted.astype("int64")))


def test_nodata_that_warping_would_round_is_refused_and_kept_without(tmp_path):
    path = write_with_nodata(tmp_path / "d.tif", raster_spec(dtype="uint64"), 2**64 - 1)
    source, options = in_utm_17(path)

    with pytest.raises(UnsupportedGridError, match="nodata 18446744073709551615 of uint64 cannot"):
        plan_of(source, **options)

    job = stage_job(tmp_path / "own", source, nodes=1, extent={"mode": "bbox", "bbox": (
        499_000.0, 3_999_000.0, 501_000.0, 4_000_000.0)})  # fmt: skip  # one box
    assert job.array(0, "d").max() == job.record(0, "d")["nodata"] == 2**64 - 1


def test_pixels_that_warping_would_round_are_refused(tmp_path):
    values = raster_spec(dtype="int64").values()
    values[0, 30, 40] = -(2**53) - 1
    source, options = in_utm_17(
        write_raster(tmp_path / "d.tif", raster_spec(dtype="int64"), values)
    )

    with pytest.raises(LayerAccessError, match=r"warping keeps whole numbers up to 2\*\*53"):
        stage_job(tmp_path / "a", source, **options)


@pytest.mark.parametrize("name", ["curve", "curvepolygon", "multisurface"])
def test_curves_are_staged_as_straight_lines(tmp_path, name):
    path = Path(pyogrio.__path__[0]) / f"tests/fixtures/{name}.gpkg"

    job = stage_job(tmp_path, layer_source(path), nodes=1)

    (found,) = shapely.from_wkb(job.rows(0, name)["geometry"].to_pylist())
    (expected,) = geopandas.read_file(path).geometry
    assert found.equals(expected)
    assert job.plan.totals.linearised == {name: 1}


def test_rotated_reference_is_delivered_north_up(tmp_path):
    spec = raster_spec(rotation=30.0, dtype="float32")
    path = write_raster(tmp_path / "dem.tif", spec, np.full((1, 64, 96), 5.0))

    job = stage_job(tmp_path, layer_source(path), nodes=3)

    values = np.concatenate([job.core(partition, "dem").ravel() for partition in job])
    assert np.nansum(values) == pytest.approx(5 * 64 * 96, rel=0.02)
    assert np.isnan(values).any()  # the corners that the rotated raster does not reach


@pytest.mark.parametrize("nodes", [1, 3, 16])
def test_kinds_of_files_give_the_same_pixels(tmp_path, nodes):
    spec = raster_spec(dtype="uint16")
    variants = {
        "tiles": write_raster(tmp_path / "tiles.tif", spec),
        "strips": write_raster(tmp_path / "strips.tif", raster_spec(dtype="uint16", block=None)),
        "south": write_south_up(tmp_path / "south.tif", spec),
        "deflate": write_raster(tmp_path / "deflate.tif", spec, compress="deflate"),
        "cog": write_raster(tmp_path / "cog.tif", spec),
    }
    rasterio.shutil.copy(variants["tiles"], tmp_path / "cog.tif", driver="COG")
    with rasterio.open(variants["tiles"]) as source:
        oracle = source.read()
    sources = [layer_source(path, key=name) for name, path in variants.items()]

    job = stage_job(tmp_path, *sources, nodes=nodes, overlap=2 if nodes < 16 else 0)

    for name in variants:
        for partition in job:
            row, column, height, width = job.plan.partitions[partition].padded[name]
            expected = np.zeros((1, height, width), "uint16")
            for r in range(height):
                for c in range(width):
                    if 0 <= row + r < 64 and 0 <= column + c < 96:
                        expected[0, r, c] = oracle[0, row + r, column + c]
            assert (job.array(partition, name) == expected).all(), name


@pytest.mark.parametrize("bands", [1, 3])
def test_png_that_is_cut_off_is_refused(tmp_path, bands):
    """Read whole, GDAL would fill it with whatever its memory held before."""
    whole = write_raster(tmp_path / "whole.tif", raster_spec(dtype="uint8", bands=bands))
    path = tmp_path / "dem.png"
    rasterio.shutil.copy(str(whole), str(path), driver="PNG")
    job = stage_job(tmp_path / "whole", layer_source(path), nodes=1)
    with rasterio.open(whole) as source:
        np.testing.assert_array_equal(job.core(0, "dem"), source.read())

    os.truncate(path, path.stat().st_size * 2 // 3)

    with pytest.raises(LayerAccessError, match="dem' cannot be read: "):
        stage_job(tmp_path / "cut", layer_source(path), nodes=1)


@pytest.mark.parametrize(
    ("dtype", "nodata", "fill"),
    [
        pytest.param("int16", -7, -7, id="nodata"),
        pytest.param("float32", None, np.nan, id="NaN"),
        pytest.param("uint8", None, 0, id="zero"),
    ],
)
@pytest.mark.parametrize("write", [write_alpha, write_mask_band])
def test_masked_pixels_are_filled(tmp_path, write, dtype, nodata, fill):
    path = write(tmp_path / "m.tif", raster_spec(dtype=dtype, nodata=nodata))

    job = stage_job(tmp_path, layer_source(path), nodes=1)

    array = job.array(0, "m")
    assert array.shape == (1, 64, 96)
    assert np.array_equal(array[0, :32, :48], np.full((32, 48), fill, dtype), equal_nan=True)
    assert (array[0, 32:] == raster_spec(dtype=dtype).values()[0, 32:]).all()


def test_sparse_raster_reads_as_zeros(tmp_path):
    job = stage_job(tmp_path, layer_source(write_sparse(tmp_path / "s.tif", raster_spec())))

    with rasterio.open(tmp_path / "s.tif") as source:
        assert all_core_values(job, "s").tolist() == np.sort(source.read().ravel()).tolist()


def test_later_file_of_a_mosaic_lies_on_top(tmp_path):
    west, east = write_overlapping(tmp_path)
    source = layer_source(west, key="m", hrefs=(str(west), str(east)))

    job = stage_job(tmp_path, source, nodes=3)

    with rasterio.open(west) as first, rasterio.open(east) as second:
        expected = np.zeros((64, 128), int)
        expected[:, :96] = first.read(1)
        expected[:, 32:] = second.read(1)
    assert assembled(job, "m", lambda array: array) == expected.tolist()


def test_holes_of_a_mosaic_show_what_lies_below(tmp_path):
    spec = raster_spec(dtype="int16", nodata=-1)
    below = write_raster(tmp_path / "below.tif", spec, np.full((1, 64, 96), 3))
    above = np.full((1, 64, 96), 9)
    above[0, 10:20, 10:20] = -1
    top = write_raster(tmp_path / "top.tif", spec, above)

    job = stage_job(tmp_path, layer_source(top, key="m", hrefs=(str(below), str(top))), nodes=1)

    assert (job.array(0, "m")[0, 10:20, 10:20] == 3).all()
    assert (job.array(0, "m") == 3).sum() == 100


def test_dates_of_one_path_share_a_grid(tmp_path):
    paths = write_dates_on_two_grids(tmp_path)
    sources = [layer_source(path, path_id="dem") for path in paths]

    job = stage_job(tmp_path, *sources, nodes=3)

    for partition in job:
        shapes = {job.array(partition, path.stem).shape for path in paths}
        assert len(shapes) == 1


def test_record_says_where_the_array_lies(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec(dtype="float32", nodata=np.nan))

    job = stage_job(tmp_path, layer_source(path, date="2024-05-01"), nodes=4, overlap=2)

    for partition in job:
        record = job.record(partition, "dem")
        row, column, height, width = job.plan.partitions[partition].padded["dem"]
        transform = rasterio.Affine(*record["transform"])
        oracle = raster_spec().transform @ rasterio.Affine.translation(column, row)
        assert transform.almost_equals(oracle)
        x_min, y_max = oracle.c, oracle.f
        assert record["extent"] == [x_min, y_max - height * 10, x_min + width * 10, y_max]
        assert record["shape"] == list(job.array(partition, "dem").shape)
        assert np.isnan(record["nodata"])
        assert np.isnan(record["fill"])
        assert (record["crs"], record["dtype"]) == ("EPSG:32616", "float32")
        assert record["date"] == "2024-05-01"
        top, bottom, left, right = record["core"]
        assert (bottom - top, right - left) == job.plan.partitions[partition].windows["dem"][2:]


def test_empty_partition_is_staged_with_empty_values(tmp_path):
    raster = write_raster(tmp_path / "r.tif", raster_spec(rows=2, cols=2, block=None))
    vector = write_vector_formats(tmp_path, scene_polygons(5, raster_spec(rows=2, cols=2)))["fgb"]

    job = stage_job(tmp_path, layer_source(raster), layer_source(vector), nodes=7)

    empty = [partition for partition in job if job.done(partition)["empty"]]
    assert empty == [k for k in job if job.plan.partitions[k].core is None]
    assert job.array(empty[0], "r").shape == (1, 0, 0)
    assert job.rows(empty[0], "features").num_rows == 0
    assert "id" in job.rows(empty[0], "features").schema.names


def test_partition_of_nodata_alone_is_empty_only_when_asked(tmp_path):
    values = np.full((1, 64, 96), 5)
    values[:, :, 48:] = 0
    path = write_raster(tmp_path / "d.tif", raster_spec(dtype="uint8", nodata=0), values)

    plain = stage_job(tmp_path / "a", layer_source(path), nodes=2, balance="area")
    skipping = stage_job(
        tmp_path / "b", layer_source(path), nodes=2, balance="area", skipNodata=True
    )

    assert [plain.done(k)["empty"] for k in plain] == [False, False]
    assert sorted(skipping.done(k)["empty"] for k in skipping) == [False, True]


def test_polygon_job_gives_a_mask_and_drops_features_outside(tmp_path):
    spec = raster_spec()
    raster = write_raster(tmp_path / "r.tif", spec)
    frame = scene_polygons(200)
    vector = write_vector_formats(tmp_path, frame)["parquet"]
    x_min, y_min, x_max, y_max = spec.bounds
    ring = [(x_min, y_min), (x_max, y_min), (x_min, y_max)]

    job = stage_job(
        tmp_path, layer_source(raster), layer_source(vector), nodes=3, extent={"polygon": ring}
    )

    triangle = shapely.Polygon(ring)
    inside = frame.representative_point().within(triangle)
    assert sorted(all_rows(job, "features")) == frame.index[inside].tolist()
    assert job.plan.totals.features["features"] == inside.sum()
    oracle = rasterio.features.geometry_mask([triangle], (64, 96), spec.transform, invert=True)
    for partition in job:
        if job.done(partition)["empty"]:
            continue
        row, column, height, width = job.plan.partitions[partition].windows["r"]
        expected = oracle[row : row + height, column : column + width]
        assert (job.core(partition, "mask")[0] == expected).mean() > 0.99


def test_ellipsis_preset_appends_a_validity_band(tmp_path):
    values = np.full((1, 64, 96), 5)
    values[:, :10] = 0
    path = write_raster(tmp_path / "d.tif", raster_spec(dtype="uint8", nodata=0), values)

    job = stage_job(tmp_path, layer_source(path), nodes=1, grid={"preset": "ellipsis"})

    pixels, validity = job.array(0, "d")
    assert job.record(0, "d")["bands"] == ["1", "validity"]
    assert ((pixels != 0) == (validity == 1)).all()
    assert set(np.unique(validity)) == {0, 1}


def test_files_are_copied_whole(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    file = FilePlan(key="w", href=str(path), sha256=_sha256(path), bytes=7)

    job = stage_job(tmp_path, nodes=2, files=[file])

    for partition in job:
        entry = job.done(partition)["files"][0]
        assert entry["key"] == "w"
        assert (job.folder(partition) / entry["file"]).read_bytes() == b"weights"
        assert not job.done(partition)["empty"]


def test_changed_source_fails_before_anything_is_staged(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec())
    plan = plan_of(layer_source(path))
    write_raster(path, raster_spec(dtype="int16"))
    os.utime(path, ns=(1, 1))

    with pytest.raises(SourceChangedError):
        stage_partition(plan, "abc", 0, tmp_path)

    assert not list(tmp_path.glob("staged/**/DONE"))
    assert not list(tmp_path.glob("staged/abc/.*"))


def test_staged_partition_is_reused_until_it_is_damaged(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec())
    job = stage_job(tmp_path, layer_source(path), nodes=2)
    array = job.folder(0) / "0.npy"
    written = array.stat().st_mtime_ns

    stage_partition(job.plan, job.sha256, 0, tmp_path)
    assert array.stat().st_mtime_ns == written

    array.write_bytes(b"cut off")
    stage_partition(job.plan, job.sha256, 0, tmp_path)
    assert open_npy(array).shape[0] == 1


def test_partition_staged_before_the_machine_went_down_is_staged_again(tmp_path):
    """Its files may have their sizes and none of their bytes: they were never flushed."""
    path = write_raster(tmp_path / "dem.tif", raster_spec())
    job = stage_job(tmp_path, layer_source(path), nodes=1)
    whole, done = job.array(0, "dem"), job.done(0)
    size = (job.folder(0) / "0.npy").stat().st_size
    (job.folder(0) / "0.npy").write_bytes(bytes(size))
    (job.folder(0) / "DONE").write_text(json.dumps(done | {"boot": "an earlier one"}))

    stage_partition(job.plan, job.sha256, 0, tmp_path)

    np.testing.assert_array_equal(job.array(0, "dem"), whole)


def test_staging_twice_gives_the_same_bytes(tmp_path):
    raster = write_raster(tmp_path / "dem.tif", raster_spec())
    vector = write_vector_formats(tmp_path, scene_polygons(100))["gpkg"]
    sources = (layer_source(raster), layer_source(vector))

    first = stage_job(tmp_path / "a", *sources, nodes=3)
    second = stage_job(tmp_path / "b", *sources, nodes=3)

    assert first.sha256 == second.sha256
    for partition in first:
        assert first.done(partition) == second.done(partition)
        for name in first.done(partition)["sizes"]:
            assert _sha256(first.folder(partition) / name) == _sha256(
                second.folder(partition) / name
            )


def test_memory_does_not_grow_with_the_partition(tmp_path):
    """Stage 4 MiB and 400 MB in fresh processes: the second one needs no more than a cache more."""
    peaks = []
    for side in (1024, 10_000):
        path = tmp_path / f"{side}.tif"
        spec = raster_spec(rows=side, cols=side, dtype="float32", block=512)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=side,
            height=side,
            count=1,
            dtype="float32",
            crs=spec.crs,
            transform=spec.transform,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            compress="deflate",
            sparse_ok=True,
        ) as target:
            target.write(np.ones((1, 512, 512), "float32"), window=((0, 512), (0, 512)))
        plan = plan_of(layer_source(path), nodes=1)
        data = encode_plan(plan)
        (tmp_path / "plan.json").write_bytes(data)
        script = (
            "import sys; from pathlib import Path\n"
            "from geopod.api.plan import decode_plan\n"
            "from geopod.layers.stage import stage_partition\n"
            "folder = Path(sys.argv[1])\n"
            "plan = decode_plan((folder / 'plan.json').read_bytes())\n"
            "stage_partition(plan, sys.argv[2], 0, folder)\n"
            # The high-water mark of rusage begins at that of the process that started this one.
            "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        )
        answer = subprocess.run(  # our own interpreter and script
            [sys.executable, "-c", script, str(tmp_path), plan_sha256(data)],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(answer.stdout) // 1024)
        assert (staged_folder(tmp_path, plan_sha256(data), 0) / "DONE").exists()

    assert peaks[1] - peaks[0] < 120
    assert peaks[1] < 300
