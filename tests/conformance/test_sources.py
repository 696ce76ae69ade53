"""Layers on the web: what is read is what rasterio and geopandas read of the whole file.

A counting server on loopback stands for the object store; S3 itself is in `tests/cluster`.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import geopandas
import geopod
import numpy as np
import pytest
import rasterio
import rasterio.env
import rasterio.shutil
from geopod.api.plan import encode_plan
from geopod.errors import LayerAccessError, SourceChangedError
from geopod.layers.headers import read_header
from geopod.layers.sources import check_versions, read_versions
from geopod.layers.stage import stage_partition
from layer_builders import (
    raster_spec,
    scene_polygons,
    shifted_spec,
    write_raster,
    write_scene,
    write_vector_formats,
)
from source_builders import file_server, quick_access
from staging_builders import PlanRequest, layer_source, plan_layers, stage_job, web_source

TOKEN = "s3cr3t-t0ken"  # noqa: S105  # a test's own


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    with file_server(folder) as told:
        yield told


@pytest.fixture
def scene(server):
    path = write_scene(server.folder / "scene.tif", 512)
    with rasterio.open(path) as source:
        return source.read()


def write_shapefile(folder, name, **options):
    """Write 40 fields; all files in capitals if the name is."""
    scene_polygons(40).to_file(folder / "fields.shp", engine="pyogrio", **options)
    for part in folder.iterdir():
        part.rename(part.with_name(part.name.upper() if name.isupper() else part.name))


def mosaic_of(job, key, shape):
    """Return the cores of all nodes put together."""
    whole = np.zeros(shape, np.uint16)
    for partition in job:
        window = job.plan.partitions[partition].windows[key]
        row, column, height, width = window
        whole[:, row : row + height, column : column + width] = job.core(partition, key)
    return whole


def test_raster_on_the_web_is_the_file_read_whole(server, scene, tmp_path):
    job = stage_job(tmp_path, web_source(server.url("scene.tif")), access=quick_access())

    np.testing.assert_array_equal(mosaic_of(job, "scene", scene.shape), scene)


def test_header_costs_five_small_requests_and_no_pixel(server, scene):
    read_header(web_source(server.url("scene.tif")), quick_access())

    size = (server.folder / "scene.tif").stat().st_size
    assert server.paths().count("scene.tif") <= 5
    assert server.sent("scene.tif") < 100_000 < size
    assert set(server.paths()) == {"scene.tif"}, "no side file is asked for"


def test_nodes_read_the_file_about_once_together(server, scene, tmp_path):
    stage_job(tmp_path, web_source(server.url("scene.tif")), nodes=4, access=quick_access())

    size = (server.folder / "scene.tif").stat().st_size
    assert server.sent("scene.tif") < 1.3 * size + 4 * 100_000


def test_one_node_reads_its_part_only(server, scene, tmp_path):
    access = quick_access()
    request = PlanRequest(layers=(web_source(server.url("scene.tif")),), nodes=16)
    plan, _ = plan_layers(request, access)
    server.forget()

    stage_partition(plan, "sha", 5, tmp_path, access=access)

    assert server.sent("scene.tif") < 0.25 * (server.folder / "scene.tif").stat().st_size


@pytest.mark.parametrize("name", ["parquet", "fgb", "gpkg", "geojson"])
def test_features_on_the_web_are_those_of_the_file(server, tmp_path, name):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = scene_polygons(300)
    path = write_vector_formats(server.folder, frame)[name]

    job = stage_job(
        tmp_path,
        layer_source(raster),
        web_source(server.url(path.name)),
        nodes=3,
        access=quick_access(),
    )

    ids = [value for part in job for value in job.rows(part, "features")["id"].to_pylist()]
    assert sorted(ids) == sorted(geopandas.read_file(path)["id"] if name != "parquet" else frame.id)


def test_shapefile_on_the_web_is_read_with_its_parts(server, tmp_path):
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    scene_polygons(40).to_file(server.folder / "fields.shp", engine="pyogrio")

    job = stage_job(
        tmp_path,
        layer_source(raster),
        web_source(server.url("fields.shp")),
        nodes=2,
        access=quick_access(),
    )

    ids = [value for part in job for value in job.rows(part, "fields")["id"].to_pylist()]
    assert sorted(ids) == list(range(40))


@pytest.mark.parametrize("name", ["fields.shp", "FIELDS.SHP", "fields.shx"])
@pytest.mark.parametrize("changed", [".shp", ".shx", ".dbf", ".prj", ".cpg"])
def test_shapefile_on_the_web_is_another_one_when_any_file_of_it_is(server, name, changed):
    write_shapefile(server.folder, name)
    href = server.url(name)
    planned = read_versions((href,), path_id="fields", access=quick_access())
    part = (server.folder / name).with_suffix(changed.upper() if name.isupper() else changed)
    later = part.stat().st_mtime_ns + 1
    os.utime(part, ns=(later, later))

    with pytest.raises(SourceChangedError, match=rf"{later}"):
        check_versions(planned, key="fields", path_id="fields", access=quick_access())


def test_table_that_changed_after_the_plan_stops_the_node(server, tmp_path):
    write_shapefile(server.folder, "fields.shp")
    access = quick_access()
    request = PlanRequest(layers=(web_source(server.url("fields.shp")),), nodes=1)
    plan, _ = plan_layers(request, access)
    scene_polygons(40).assign(value=-1.0).to_file(tmp_path / "fields.shp", engine="pyogrio")
    (tmp_path / "fields.dbf").replace(server.folder / "fields.dbf")

    with pytest.raises(SourceChangedError, match="fields"):
        stage_partition(plan, "sha", 0, tmp_path, access=access)


@pytest.mark.parametrize(
    ("name", "absent", "requests"),
    [("fields.shp", "", 5), ("fields.shp", ".cpg", 6), ("FIELDS.SHP", "", 9)],
)
def test_version_of_a_shapefile_on_the_web_costs_a_byte_of_each_file(
    server, name, absent, requests
):
    """A name in small letters is asked for first, as GDAL does."""
    write_shapefile(server.folder, name)
    if absent:
        (server.folder / name).with_suffix(absent).unlink()

    read_versions((server.url(name),), path_id="fields", access=quick_access())

    asked = server.asked()
    assert len(asked) == requests
    assert {one["sent"] for one in asked} <= {0, 1}


def test_index_of_a_shapefile_on_the_web_is_not_asked_for(server):
    write_shapefile(server.folder, "fields.shp", SPATIAL_INDEX="YES")

    read_header(web_source(server.url("fields.shp")), quick_access())

    assert (server.folder / "fields.qix").exists()
    assert {Path(path).suffix for path in server.paths()} == {
        ".shp",
        ".shx",
        ".dbf",
        ".prj",
        ".cpg",
    }


@pytest.mark.parametrize("name", ["fields.shp", "FIELDS.SHP"])
@pytest.mark.parametrize(
    ("cut", "left"), [(".shp", 0.9), (".shx", 0.9), (".dbf", 0.9), (".dbf", 0.0)]
)
def test_shapefile_on_the_web_that_is_cut_off_is_refused(server, name, cut, left):
    write_shapefile(server.folder, name)
    part = (server.folder / name).with_suffix(cut.upper() if name.isupper() else cut)
    whole = part.stat().st_size
    read_header(web_source(server.url(name)), quick_access())
    os.truncate(part, int(whole * left))

    with pytest.raises(LayerAccessError, match=rf"{part.name} is cut off: it says") as caught:
        read_header(web_source(server.url(name)), quick_access())

    assert caught.value.details["reason"] == "LayerUnreachable"


def test_shapefile_on_the_web_needs_no_table(server):
    scene_polygons(40).to_file(server.folder / "fields.shp", engine="pyogrio")
    (server.folder / "fields.dbf").unlink()

    header = read_header(web_source(server.url("fields.shp")), quick_access())

    assert header.vector.header.feature_count == 40


def test_shapefile_whose_parts_are_not_told_is_refused(server):
    scene_polygons(40).to_file(server.folder / "fields.shp", engine="pyogrio")
    server.tell(always={"/fields.dbf": "503"})

    with pytest.raises(LayerAccessError, match=r"fields\.dbf did not answer: 503"):
        read_header(web_source(server.url("fields.shp")), quick_access())


@pytest.mark.parametrize(
    ("driver", "name", "dtype"),
    [("ENVI", "a.img", "int16"), ("EHdr", "a.bil", "int16"), ("BMP", "a.bmp", "uint8")],
)
def test_raster_placed_by_what_lies_beside_it_is_refused_on_the_web(
    server, tmp_path, driver, name, dtype
):
    whole = write_raster(tmp_path / "whole.tif", raster_spec(dtype=dtype))
    rasterio.shutil.copy(str(whole), str(server.folder / name), driver=driver)

    with pytest.raises(LayerAccessError, match=f"{name} is .* from volumes only; write GeoTIFF"):
        read_header(web_source(server.url(name), crs="EPSG:32616"), quick_access())


def test_geoparquet_of_one_node_is_read_in_part(server, tmp_path):
    frame = scene_polygons(20_000).sort_values("id")
    order = np.lexsort((frame.geometry.centroid.y, frame.geometry.centroid.x))
    frame = frame.iloc[order]
    target = server.folder / "features.parquet"
    frame.to_parquet(target, write_covering_bbox=True, schema_version="1.1.0", row_group_size=1000)
    access = quick_access()
    layers = (
        layer_source(write_raster(tmp_path / "index.tif", raster_spec())),
        web_source(server.url("features.parquet")),
    )
    plan, _ = plan_layers(PlanRequest(layers=layers, nodes=16), access)
    server.forget()

    stage_partition(plan, "sha", 3, tmp_path, access=access)

    assert server.sent("features.parquet") < 0.7 * target.stat().st_size


@pytest.mark.parametrize("fault", ["503", "429", "cut", "500"])
def test_a_server_in_trouble_is_asked_again(server, scene, tmp_path, fault):
    server.tell(faults={"/scene.tif": [fault, "", fault, "", "", fault]})

    job = stage_job(tmp_path, web_source(server.url("scene.tif")), nodes=2, access=quick_access())

    np.testing.assert_array_equal(mosaic_of(job, "scene", scene.shape), scene)


def test_connections_cut_while_pixels_are_read_are_asked_again(server, scene, tmp_path):
    access = quick_access()
    plan, _ = plan_layers(
        PlanRequest(layers=(web_source(server.url("scene.tif")),), nodes=1), access
    )
    server.tell(faults={"/scene.tif": ["", "", "", "", "cut", "", "", "", "", "cut"]})

    stage_partition(plan, "sha", 0, tmp_path, access=access)

    staged = np.lib.format.open_memmap(tmp_path / "staged/sha/0/0.npy", mode="r")
    np.testing.assert_array_equal(staged, scene)


def test_a_silent_server_is_told_with_tries_and_seconds(server, scene):
    server.tell(always={"/scene.tif": "slow"})

    with pytest.raises(LayerAccessError, match="did not answer") as caught:
        read_header(web_source(server.url("scene.tif")), quick_access())

    assert caught.value.code == "E122"
    assert caught.value.details["reason"] == "LayerUnreachable"
    assert caught.value.details["tries"] == 3
    assert caught.value.details["seconds"] >= 3


def test_a_missing_object_is_told_with_its_address(server):
    with pytest.raises(LayerAccessError, match=r"404 .* for http://127.0.0.1") as caught:
        read_header(web_source(server.url("gone.tif")), quick_access())

    assert (caught.value.code, caught.value.details["reason"]) == ("E122", "LayerUnreachable")
    assert server.paths() == ["gone.tif"], "asking again cannot help"


@pytest.mark.parametrize("keys", [{}, {"GDAL_HTTP_BEARER": "wrong"}], ids=["none", "wrong"])
def test_keys_that_are_refused_are_an_authentication_failure(server, scene, keys):
    server.tell(token=TOKEN)
    access = quick_access(credentials={"scene": keys}, secrets={"scene": "scene-key"})

    with pytest.raises(LayerAccessError, match=r"401 .*from http \(secret 'scene-key'\)") as caught:
        read_header(web_source(server.url("scene.tif")), access)

    assert (caught.value.code, caught.value.details["reason"]) == ("E122", "AuthFailed")
    assert caught.value.fixes == ("renew the secret",)


@pytest.mark.parametrize("name", ["scene.tif", "features.fgb", "features.parquet"])
def test_keys_reach_the_server_and_nothing_else(server, scene, tmp_path, caplog, name):
    server.tell(token=TOKEN)
    write_vector_formats(server.folder, scene_polygons(60))
    access = quick_access(credentials={"dem": {"GDAL_HTTP_BEARER": TOKEN}})
    before = dict(os.environ)
    source = web_source(server.url(name), path_id="dem")
    layers = (source,)

    with caplog.at_level(logging.DEBUG):
        plan, data = plan_layers(PlanRequest(layers=layers, nodes=2), access)
        stage_partition(plan, "sha", 0, tmp_path, access=access)

    assert TOKEN not in caplog.text
    assert TOKEN not in repr(access)
    assert TOKEN.encode() not in data
    assert TOKEN.encode() not in encode_plan(plan)
    assert dict(os.environ) == before
    assert not rasterio.env.hasenv()
    assert all(TOKEN not in path for path in server.paths())


def test_what_one_layer_read_with_its_keys_another_cannot(server, scene, tmp_path):
    server.tell(token=TOKEN)
    access = quick_access(credentials={"mine": {"GDAL_HTTP_BEARER": TOKEN}})
    href = server.url("scene.tif")
    stage_job(tmp_path, web_source(href, path_id="mine"), access=access)
    server.tell(token="")
    plan, _ = plan_layers(PlanRequest(layers=(web_source(href, path_id="other"),), nodes=1))
    server.tell(token=TOKEN)

    with pytest.raises(LayerAccessError, match="401"):
        stage_partition(plan, "sha", 0, tmp_path, access=access)


def test_keys_stay_with_their_host_when_a_server_redirects(server, scene, tmp_path):
    (tmp_path / "other").mkdir()
    with file_server(tmp_path / "other") as other:
        write_scene(other.folder / "scene.tif", 512)
        elsewhere = other.url("scene.tif").replace("127.0.0.1", "localhost")
        server.tell(always={"/scene.tif": f"-> {elsewhere}"})
        access = quick_access(credentials={"scene": {"GDAL_HTTP_BEARER": TOKEN}})

        read_header(web_source(server.url("scene.tif")), access)

        assert other.asked()
        assert TOKEN not in str(other.asked())


def test_a_server_without_ranges_is_refused(server, scene):
    server.tell(ignoresRanges=True)

    with pytest.raises(LayerAccessError, match="without ranges"):
        read_header(web_source(server.url("scene.tif")), quick_access())

    assert server.sent("scene.tif") < 10 * 512 * 512 * 8


def test_an_object_that_changed_is_a_changed_source(server, scene, tmp_path):
    access = quick_access()
    plan, _ = plan_layers(
        PlanRequest(layers=(web_source(server.url("scene.tif")),), nodes=1), access
    )
    server.tell(etags={"/scene.tif": '"another"'})

    with pytest.raises(SourceChangedError, match=r'scene: etag "\d+" at plan time, "another" now'):
        stage_partition(plan, "sha", 0, tmp_path, access=access)


def test_files_of_a_mosaic_that_a_node_does_not_need_are_not_asked_for(server, tmp_path):
    for number in range(9):
        spec = shifted_spec(960.0 * (number % 3), 640.0 * (number // 3))
        write_raster(server.folder / f"{number}.tif", spec, spec.values() + number * 10_000)
    (server.folder / "all.txt").write_text(
        "# nine files\n" + "".join(f"{n}.tif\n" for n in range(9))
    )
    access = quick_access()
    plan, _ = plan_layers(PlanRequest(layers=(web_source(server.url("all.txt")),), nodes=9), access)
    server.forget()

    stage_partition(plan, "sha", 0, tmp_path, access=access)

    assert len(set(server.paths())) < 9
    header = plan.layers[0].raster
    assert header is not None
    assert (len(header.tiles), header.shape) == (9, (192, 288))


def test_function_runs_over_a_layer_on_the_web(server, scene, geopod_home):
    def total(params):
        rows, cols = params["scene"]["core"]
        return int(params["scene"]["raster"][:, rows, cols].sum(dtype="int64"))

    with geopod.connect("local") as client:
        client.add_layer("web", server.url("scene.tif"), type="raster", timestamp="scene")
        with client.environment(layers=[("web", "scene")], nodes=3) as env:
            results = env.execute(total)

    assert sum(results) == int(scene.sum(dtype="int64"))
