"""Layers in S3, served by versitygw on loopback: keys per layer, wrong keys, lost objects."""

from __future__ import annotations

import os

import geopandas
import numpy as np
import pytest
import rasterio
from array_builders import small_scene, write_netcdf4, write_zarr3
from cluster.s3_builders import SECRET, s3_server
from geopod.api.plan import encode_plan
from geopod.errors import LayerAccessError, SourceChangedError
from geopod.layers.access import Access
from geopod.layers.headers import read_header
from geopod.layers.stage import stage_partition
from layer_builders import (
    raster_spec,
    scene_polygons,
    shifted_spec,
    write_raster,
    write_scene,
    write_vector_formats,
)
from source_builders import QUICK
from staging_builders import PlanRequest, layer_source, plan_layers, stage_job, web_source


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("s3") / "buckets"
    (root / "layers").mkdir(parents=True)
    with s3_server(root, "--nometa") as server:
        yield server


@pytest.fixture
def store(server):
    """Return the folder behind `s3://layers`, and access with the right keys for every path."""

    def access(*paths, **changes):
        keys = {name: value for name, value in {**server.keys, **changes}.items() if value}
        return Access(
            credentials=dict.fromkeys(paths, keys),
            secrets=dict.fromkeys(paths, "s3-key"),
            patience=QUICK,
        )

    return server.root / "layers", access


def test_raster_in_s3_is_the_file_read_whole(store, tmp_path):
    folder, access = store
    path = write_scene(folder / "scene.tif", 512)
    with rasterio.open(path) as source:
        whole = source.read()

    job = stage_job(tmp_path, web_source("s3://layers/scene.tif"), nodes=5, access=access("scene"))

    found = np.zeros_like(whole)
    for partition in job:
        row, column, height, width = job.plan.partitions[partition].windows["scene"]
        found[:, row : row + height, column : column + width] = job.core(partition, "scene")
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("name", ["era.zarr", "era.nc"])
def test_array_in_s3_is_read_by_its_chunks_with_the_layers_keys(store, tmp_path, name):
    folder, access = store
    write = write_zarr3 if name == "era.zarr" else write_netcdf4
    storage = {"shards": (3, 20, 20), "chunks": (1, 10, 10)} if name == "era.zarr" else {}
    write(folder / name, small_scene(), **storage)
    source = web_source(f"s3://layers/{name}#t2m", key="t2m", path_id="t2m")

    job = stage_job(tmp_path, source, nodes=3, access=access("t2m"))

    found = np.concatenate([job.core(part, "t2m").reshape(3, -1) for part in job], axis=1)
    np.testing.assert_array_equal(np.sort(found), small_scene().values.reshape(3, -1))
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}
    with pytest.raises(LayerAccessError, match="403"):
        read_header(source, access("t2m", **wrong))


@pytest.mark.parametrize("name", ["features.parquet", "features.fgb", "features.gpkg"])
def test_features_in_s3_are_those_of_the_file(store, tmp_path, name):
    folder, access = store
    raster = write_raster(tmp_path / "index.tif", raster_spec())
    frame = scene_polygons(200)
    write_vector_formats(folder, frame)

    job = stage_job(
        tmp_path,
        layer_source(raster),
        web_source(f"s3://layers/{name}"),
        nodes=3,
        access=access("features"),
    )

    rows = [row for part in job for row in job.rows(part, "features").to_pylist()]
    found = geopandas.GeoDataFrame(
        {"id": [row["id"] for row in rows]},
        geometry=geopandas.GeoSeries.from_wkb([row["geometry"] for row in rows]),
        crs=frame.crs,
    ).sort_values("id", ignore_index=True)
    assert found["id"].tolist() == frame["id"].tolist()
    assert found.geometry.geom_equals_exact(frame.geometry, 1e-6).all()


def test_folder_of_geoparquet_in_s3_is_one_layer(store, tmp_path):
    folder, access = store
    (folder / "set").mkdir(exist_ok=True)
    frame = scene_polygons(120)
    for number in range(3):
        part = frame.iloc[number * 40 : number * 40 + 40]
        part.to_parquet(
            folder / "set" / f"{number}.parquet", write_covering_bbox=True, schema_version="1.1.0"
        )
    raster = write_raster(tmp_path / "index.tif", raster_spec())

    job = stage_job(
        tmp_path,
        layer_source(raster),
        web_source("s3://layers/set/"),
        nodes=2,
        access=access("set"),
    )

    ids = [value for part in job for value in job.rows(part, "set")["id"].to_pylist()]
    assert sorted(ids) == list(range(120))


def test_mosaic_in_s3_is_named_by_a_list_beside_it(store, tmp_path):
    folder, access = store
    for number in range(4):
        spec = shifted_spec(960.0 * (number % 2), 640.0 * (number // 2))
        write_raster(folder / f"tile{number}.tif", spec, spec.values() + number * 10_000)
    (folder / "tiles.txt").write_text("".join(f"tile{number}.tif\n" for number in range(4)))

    job = stage_job(tmp_path, web_source("s3://layers/tiles.txt"), nodes=3, access=access("tiles"))

    pixels = sum(job.core(partition, "tiles").size for partition in job)
    assert pixels == 4 * 64 * 96
    assert job.plan.layers[0].hrefs[0] == "s3://layers/tile0.tif"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, id="wrong secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, id="no key"),
    ],
)
@pytest.mark.parametrize("name", ["scene.tif", "features.parquet"])
def test_keys_that_s3_refuses_are_an_authentication_failure(store, changes, name):
    folder, access = store
    write_scene(folder / "scene.tif", 64)
    write_vector_formats(folder, scene_polygons(5))

    with pytest.raises(LayerAccessError, match=r"403 .*from s3 \(secret 's3-key'\)") as caught:
        read_header(web_source(f"s3://layers/{name}", path_id="x"), access("x", **changes))

    assert (caught.value.code, caught.value.details["reason"]) == ("E122", "AuthFailed")
    assert "wrong-secret" not in str(caught.value) + str(caught.value.details)


@pytest.mark.parametrize("href", ["s3://layers/gone.tif", "s3://no-such-bucket/x.tif"])
def test_missing_object_is_told(store, href):
    _, access = store

    with pytest.raises(LayerAccessError, match="404") as caught:
        read_header(web_source(href, path_id="x"), access("x"))

    assert (caught.value.code, caught.value.details["reason"]) == ("E122", "LayerUnreachable")


def test_changed_object_is_a_changed_source(store, tmp_path):
    folder, access = store
    write_scene(folder / "changes.tif", 64)
    source = web_source("s3://layers/changes.tif")
    plan, _ = plan_layers(PlanRequest(layers=(source,), nodes=1), access("changes"))
    write_scene(folder / "changes.tif", 128)

    with pytest.raises(SourceChangedError) as caught:
        stage_partition(plan, "sha", 0, tmp_path, access=access("changes"))

    assert caught.value.code == "E129"


def test_two_layers_of_one_job_use_their_own_keys(store, tmp_path, caplog):
    folder, access = store
    write_scene(folder / "scene.tif", 64)
    layers = (
        web_source("s3://layers/scene.tif", path_id="mine", key="a"),
        web_source("s3://layers/scene.tif", path_id="other", key="b"),
    )
    mine = access("mine")
    wrong = access("other", AWS_SECRET_ACCESS_KEY="not-mine")  # noqa: S106  # wrong
    both = Access(credentials={**mine.credentials, **wrong.credentials}, patience=QUICK)
    plan, _ = plan_layers(PlanRequest(layers=layers, nodes=1), access("mine", "other"))

    with caplog.at_level("DEBUG"), pytest.raises(LayerAccessError, match=r"'other'.*403"):
        stage_partition(plan, "sha", 0, tmp_path, access=both)

    assert SECRET not in caplog.text
    assert SECRET.encode() not in encode_plan(plan)
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
