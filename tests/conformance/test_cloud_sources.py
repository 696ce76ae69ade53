"""Layers in Google's and Azure's object stores: what is asked, how it is signed, what comes back.

A recording server on loopback stands for both: they read an object with one ranged GET each. Who
checks a signature is the cloud; here it must only be there, with the keys nowhere else.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from geopod.errors import LayerAccessError
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.endpoints import service_account
from geopod.layers.headers import read_header
from geopod.layers.sources import find_source
from layer_builders import scene_polygons, write_scene
from source_builders import file_server, quick_access
from staging_builders import PlanRequest, plan_layers, stage_job, web_source

KEY = "c2VjcmV0LWtleQ=="
SAS = "sv=2024-11-04&sig=s3cr3t"
ACCOUNT = {"client_email": "geo@lab.example", "private_key": "PRIVATE", "private_key_id": "1"}
STORES = [
    pytest.param("gs", {}, id="Google, public"),
    pytest.param("az", {}, id="Azure, public"),
    pytest.param("az", {"AZURE_STORAGE_KEY": KEY}, id="Azure, key"),
    pytest.param("az", {"AZURE_STORAGE_SAS_TOKEN": f"?{SAS}"}, id="Azure, SAS"),
]


@pytest.fixture
def server(tmp_path):
    """A server whose folder `maps` is a bucket and a container."""
    folder = tmp_path / "www"
    (folder / "maps").mkdir(parents=True)
    with file_server(folder) as told:
        yield told


def access_to(server, keys):
    """Keys of the layer `dem` in both clouds, which are the server."""
    endpoint = server.url("")
    own = {"AZURE_STORAGE_ACCOUNT": "lab", "AZURE_STORAGE_ENDPOINT_URL": endpoint}
    clouds = {**own, "GOOGLE_STORAGE_ENDPOINT_URL": endpoint}
    return quick_access(credentials={"dem": {**clouds, **keys}})


@pytest.mark.parametrize(("scheme", "keys"), STORES)
def test_raster_in_a_cloud_is_read_by_ranges_with_its_own_keys(server, tmp_path, scheme, keys):
    path = write_scene(server.folder / "maps" / "dem.tif", 256)
    access = access_to(server, keys)
    source = web_source(f"{scheme}://maps/dem.tif", path_id="dem", key="dem")

    job = stage_job(tmp_path, source, nodes=1, access=access)

    with rasterio.open(path) as whole:
        np.testing.assert_array_equal(job.core(0, "dem"), whole.read())
    asked = server.asked()
    assert {one["path"] for one in asked} == {"/maps/dem.tif"}
    assert {one["method"] for one in asked} <= {"GET", "HEAD"}
    assert all("Range" in one["headers"] for one in asked if one["method"] == "GET")
    signed = [one["headers"].get("Authorization", "") for one in asked]
    is_signed = "AZURE_STORAGE_KEY" in keys
    assert {one.partition(":")[0] for one in signed} == {"SharedKey lab" if is_signed else ""}
    queries = {one["query"] for one in asked}
    assert queries == ({SAS} if "AZURE_STORAGE_SAS_TOKEN" in keys else {""})
    _, plan = plan_layers(PlanRequest(layers=(source,), nodes=1), access)
    assert not any(secret in plan for secret in (KEY.encode(), b"s3cr3t"))


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_features_in_a_cloud_are_those_of_the_file(server, tmp_path, scheme):
    path = server.folder / "maps" / "dem.parquet"
    scene_polygons(60).to_parquet(path, write_covering_bbox=True, schema_version="1.1.0")
    source = web_source(f"{scheme}://maps/dem.parquet", path_id="dem", key="dem")

    job = stage_job(tmp_path, source, nodes=1, access=access_to(server, {}))

    assert job.rows(0, "dem").num_rows == pq.read_metadata(path).num_rows


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_shapefile_in_a_cloud_is_read_without_a_table_and_not_with_a_cut_one(server, scheme):
    frame = scene_polygons(60)
    frame.to_file(server.folder / "maps" / "dem.shp", engine="pyogrio")
    source = web_source(f"{scheme}://maps/dem.shp", path_id="dem", key="dem")
    table = server.folder / "maps" / "dem.dbf"
    whole, access = table.read_bytes(), access_to(server, {})

    table.unlink()
    assert read_header(source, access).vector.header.feature_count == len(frame)

    for left in (0, len(whole) // 2):
        table.write_bytes(whole[:left])
        with pytest.raises(LayerAccessError, match=rf"{scheme}://maps/dem\.dbf is cut off"):
            read_header(source, access)


@pytest.mark.parametrize(
    ("href", "keys", "words"),
    [
        pytest.param(
            "az://maps/dem.tif",
            {"AZURE_STORAGE_SAS_TOKEN": SAS, "AZURE_STORAGE_ENDPOINT_URL": "http://10.0.0.1"},
            "would send credentials in the clear",
            id="SAS",
        ),
        pytest.param(
            "gs://maps/dem.tif",
            {"GOOGLE_STORAGE_ENDPOINT_URL": "http://169.254.169.254"},
            "an address that layers may not have",
            id="metadata",
        ),
        pytest.param(
            "gs://maps/dem.tif",
            {"GOOGLE_APPLICATION_CREDENTIALS_JSON": '{"client_email": "PRIVATE"}'},
            "GOOGLE_APPLICATION_CREDENTIALS_JSON is no service account's JSON",
            id="no account",
        ),
        pytest.param(
            "gs://maps/dem.tif",
            {"GOOGLE_APPLICATION_CREDENTIALS_JSON": "[" * 100_000},
            "GOOGLE_APPLICATION_CREDENTIALS_JSON is no service account's JSON",
            id="deep",
        ),
        pytest.param(
            "s3://maps/dem.tif",
            {"AWS_REGION": "x@169.254.169.254/PRIVATE?"},
            "AWS_REGION is no name of one",
            id="region",
        ),
        pytest.param(
            "az://maps/dem.tif",
            {"AZURE_STORAGE_ACCOUNT": "169.254.169.254/PRIVATE?"},
            "AZURE_STORAGE_ACCOUNT is no name of one",
            id="account",
        ),
    ],
)
def test_secret_that_leads_elsewhere_is_refused(href, keys, words):
    access = Access(credentials={"dem": {"AZURE_STORAGE_ACCOUNT": "lab", **keys}})

    with pytest.raises(LayerAccessError, match=words) as caught:
        find_source(href, path_id="dem", access=access)

    assert "s3cr3t" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_service_account_names_no_address():
    text = json.dumps({**ACCOUNT, "gcs_base_url": "http://169.254.169.254", "disable_oauth": True})

    assert service_account({"GOOGLE_APPLICATION_CREDENTIALS_JSON": text}) == ACCOUNT
    assert service_account(OWN_MACHINE.keys("dem")) is None
