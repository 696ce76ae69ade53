"""Results written to Google's and Azure's object stores: published whole, or not at all.

A server of this machine answers the calls that their client makes. Who checks a signature is the
cloud.
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import geopandas
import pystac
import pytest
from geopod.errors import GeopodError, LayerAccessError
from geopod.layers import buckets
from geopod.layers.buckets import open_shelf
from geopod.layers.publish import (
    Lineage,
    Publication,
    VectorPart,
    publish,
    read_revisions,
    write_vector,
)
from layer_builders import raster_spec, scene_polygons, write_raster
from source_builders import file_server, quick_access
from staging_builders import PlanRequest, plan_layers, stage_job, web_source

SPEC = raster_spec()
PLACES = ["gs://maps/slope/2024", "az://maps/slope/2024"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cloud")
    (folder / "maps").mkdir()
    with file_server(folder, program="cloud_server.py") as server:
        yield server


@pytest.fixture
def place(request, tmp_path):
    """A prefix of its own."""
    return f"{request.param}/{tmp_path.name}"


pytestmark = pytest.mark.parametrize("place", PLACES, ids=["Google", "Azure"], indirect=True)


@pytest.fixture
def access(cloud):
    endpoint = cloud.url("")
    return quick_access(
        credentials={
            "slope": {
                "AZURE_STORAGE_ACCOUNT": "lab",
                "AZURE_STORAGE_KEY": "c2VjcmV0",
                "AZURE_STORAGE_ENDPOINT_URL": endpoint,
                "GOOGLE_STORAGE_ENDPOINT_URL": endpoint,
            }
        }
    )


def a_publication(seed="a", **fields):
    return Publication(**{
        "path_id": "slope",
        "timestamp": "2024",
        "kind": "raster",
        "sha256s": (seed * 64,),
        "file_name": "data.tif",
        "lineage": Lineage(run="r", function_sha256="f", created="2026-01-02T03:04:05+00:00"),
        **fields,
    })  # fmt: skip  # one line less


def writing(value=1, **changes):
    spec = raster_spec(**changes)
    return lambda target: write_raster(target, spec, spec.values() * 0 + value)


def objects(cloud, place):
    folder = cloud.folder / place.partition("://")[2]
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_newest_revision_is_planned_and_staged(cloud, access, place, tmp_path):
    shelf = open_shelf(place, path_id="slope", access=access)
    for seed in "ab":
        revision = publish(shelf, a_publication(seed), writing(ord(seed)), access=access)

    source = web_source(place, path_id="slope", key="slope")
    plan, data = plan_layers(PlanRequest(layers=(source,), nodes=2), access)
    assert plan.layers[0].hrefs == revision.hrefs(shelf)
    assert b"c2VjcmV0" not in data
    files = web_source(place, path_id="slope", key="slope", hrefs=revision.hrefs(shelf))
    job = stage_job(tmp_path, files, nodes=2, access=access)
    assert all((job.core(part, "slope") == ord("b")).all() for part in job)
    item = pystac.Item.from_file(cloud.folder / place.partition("://")[2] / revision.item)
    assert item.properties["proj:shape"] == list(SPEC.values().shape[-2:])


def test_large_object_goes_up_in_parts(cloud, access, place, monkeypatch):
    monkeypatch.setattr(buckets, "PART_BYTES", 1 << 20)
    shelf = open_shelf(place, path_id="slope", access=access)
    data = bytes(range(256)) * (5 << 12)

    name = shelf.add_data("a" * 64, "data.tif", lambda target: target.write_bytes(data))

    assert (cloud.folder / place.partition("://")[2] / name).read_bytes() == data
    asked = [one for one in cloud.asked() if name in one["path"] and one["method"] == "PUT"]
    assert len(asked) > 2


def test_features_come_back_from_a_folder_of_parts(cloud, access, place, tmp_path):
    frame = scene_polygons(40)
    parts = []
    for node in range(2):
        path = tmp_path / f"{node}.parquet"
        frame.iloc[node * 20 : node * 20 + 20].to_parquet(
            path, write_covering_bbox=True, schema_version="1.1.0"
        )
        parts.append(VectorPart(node=node, path=path))
    shelf = open_shelf(place, path_id="slope", access=access)
    wanted = a_publication(kind="vector", file_name="data.parquet")

    revision = publish(shelf, wanted, lambda target: write_vector(parts, target), access=access)

    source = web_source(place, path_id="slope", key="slope", kind="vector")
    plan, _ = plan_layers(PlanRequest(layers=(source,), nodes=2), access)
    assert plan.totals.features["slope"] == 40
    folder = cloud.folder / place.partition("://")[2] / revision.files[0]
    assert len(geopandas.read_parquet(folder)) == 40


@pytest.mark.parametrize("seeds", ["ab", "aa"], ids=["of two results", "of the same results"])
def test_publishers_at_once_never_replace_each_other(cloud, access, place, seeds):
    meet = threading.Barrier(2)

    def one(seed):
        def assemble(target):
            writing(ord(seed))(target)
            meet.wait(timeout=20)

        shelf = open_shelf(place, path_id="slope", access=access)
        return publish(shelf, a_publication(seed), assemble, access=access)

    with ThreadPoolExecutor(2) as pool:
        made = set(pool.map(one, seeds))

    assert len(made) == len(set(seeds))
    shelf = open_shelf(place, path_id="slope", access=access)
    assert {one.revision for one in read_revisions(shelf)} == {one.revision for one in made}
    files = {file for one in made for file in one.files}
    revisions = {f"revision-{one.revision}.json" for one in made}
    assert set(objects(cloud, place)) == {*files, *revisions, *(one.item for one in made)}


def test_revision_that_is_there_is_not_replaced(cloud, access, place):
    shelf = open_shelf(place, path_id="slope", access=access)

    assert shelf.create("revision-1.json", b"{}")
    assert not shelf.create("revision-1.json", b"[]")

    path = cloud.folder / place.partition("://")[2] / "revision-1.json"
    assert json.loads(path.read_bytes()) == {}


def test_results_that_fit_no_earlier_ones_leave_no_object(cloud, access, place):
    shelf = open_shelf(place, path_id="slope", access=access)
    publish(shelf, a_publication("a"), writing(), access=access)
    before = objects(cloud, place)

    with pytest.raises(GeopodError):
        publish(shelf, a_publication("b"), writing(pixel=20.0), access=access)

    assert objects(cloud, place) == before


def test_store_that_takes_nothing_is_named(cloud, access, place):
    name = f"{place.partition('://')[2]}/revision-1.json"
    cloud.tell(always={f"/{name}": "403"})
    shelf = open_shelf(place, path_id="slope", access=access)

    with pytest.raises(LayerAccessError, match="403") as caught:
        publish(shelf, a_publication(), writing(), access=access)

    cloud.tell(always={})
    assert "c2VjcmV0" not in str(caught.value)
    assert name not in objects(cloud, "gs://")
