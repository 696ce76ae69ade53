"""Results written to S3, served by versitygw on loopback: published whole, or not at all."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import geopandas
import geopod
import numpy as np
import pystac
import pytest
import rasterio
from cluster.s3_builders import s3_server
from conformance.test_coordinator_publish import a_geotiff, a_layer, planned, returning
from coordinator_builders import ScriptedAgent
from coordinator_pod_builders import NAME, a_cluster, a_run, serving
from geopod.api import deployment
from geopod.cluster.kinds import ENVIRONMENTS, LAYERS, RUNS
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.errors import GeopodError, LayerAccessError
from geopod.layers.access import Access
from geopod.layers.buckets import open_shelf
from geopod.layers.publish import (
    Lineage,
    Publication,
    VectorPart,
    publish,
    read_revisions,
    write_vector,
)
from layer_builders import raster_spec, scene_polygons, write_raster, write_scene
from local_builders import end_everything
from source_builders import QUICK
from staging_builders import stage_job, web_source

SPEC = raster_spec()
ITEM_FIELDS = {
    "type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "properties", "links",
    "assets",
}  # fmt: skip  # one line less


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("s3") / "buckets"
    (root / "layers").mkdir(parents=True)
    with s3_server(root) as server:
        yield server


@pytest.fixture
def access(server):
    """Return the layer's access, with some keys changed."""

    def of(**changes):
        return Access(
            credentials={"slope": {**server.keys, **changes}},
            secrets={"slope": "s3-key"},
            patience=QUICK,
        )

    return of


@pytest.fixture
def place(tmp_path):
    """A prefix of its own."""
    return f"s3://layers/{tmp_path.name}/2024"


def a_publication(seed="a", **fields):
    return Publication(**{
        "path_id": "slope",
        "timestamp": "2024",
        "kind": "raster",
        "sha256s": (sha256(seed.encode()).hexdigest(),),
        "file_name": "data.tif",
        "lineage": Lineage(run="r", function_sha256="f", created="2026-01-02T03:04:05+00:00"),
        **fields,
    })  # fmt: skip  # one line less


def writing(value=1):
    def assemble(target):
        return write_raster(target, SPEC, SPEC.values() * 0 + value)

    return assemble


def objects(server, place):
    folder = server.root / place.removeprefix("s3://")
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_revision_is_put_last_and_names_what_is_there(server, access, place):
    shelf = open_shelf(place, path_id="slope", access=access())
    revision = publish(shelf, a_publication(), writing(), access=access())
    (name,) = revision.files
    assert objects(server, place) == sorted([name, revision.item, "revision-1.json"])
    folder = server.root / place.removeprefix("s3://")
    item = json.loads((folder / revision.item).read_bytes())
    assert set(item) == ITEM_FIELDS
    assert item["type"] == "Feature"
    assert item["stac_version"] == "1.1.0"
    assert item["assets"]["data"]["href"] == f"./{name}"
    assert (folder / item["assets"]["data"]["href"]).exists()
    assert item["properties"]["proj:shape"] == list(SPEC.values().shape[-2:])


def test_planning_follows_the_newest_revision(access, place, tmp_path):
    shelf = open_shelf(place, path_id="slope", access=access())
    for seed in "ab":
        revision = publish(shelf, a_publication(seed), writing(ord(seed)), access=access())
    assert (revision.revision, len(revision.files)) == (2, 2)
    for href in (place, f"{place}/"):
        source = web_source(href, path_id="slope", key="slope")
        plan, data = plan_layers(PlanRequest(layers=(source,), nodes=2), access())
        assert plan.layers[0].hrefs == revision.hrefs(shelf)
        assert b"layers-test-secret" not in data
    # Planning has replaced the folder; staging reads the files, the newest on top.
    sources = web_source(place, path_id="slope", key="slope", hrefs=revision.hrefs(shelf))
    job = stage_job(tmp_path, sources, nodes=2, access=access())
    assert all((job.core(part, "slope") == ord("b")).all() for part in job)


def test_features_come_back_from_a_folder_of_parts(server, access, place, tmp_path):
    frame = scene_polygons(60)
    parts = []
    for node in range(3):
        path = tmp_path / f"{node}.parquet"
        frame.iloc[node * 20 : node * 20 + 20].to_parquet(
            path, write_covering_bbox=True, schema_version="1.1.0"
        )
        parts.append(VectorPart(node=node, path=path))
    shelf = open_shelf(place, path_id="slope", access=access())
    wanted = a_publication(kind="vector", file_name="data.parquet")
    publish(shelf, wanted, lambda target: write_vector(parts, target), access=access())
    (revision,) = read_revisions(shelf)
    assert revision.files[0].endswith("/data.parquet/")
    source = web_source(place, path_id="slope", key="slope", kind="vector")
    plan, _ = plan_layers(PlanRequest(layers=(source,), nodes=2), access())
    assert plan.totals.features["slope"] == 60
    folder = server.root / place.removeprefix("s3://") / revision.files[0]
    assert len(geopandas.read_parquet(folder)) == 60


def test_both_of_two_publishers_at_once_are_there_in_turn(server, access, place):
    meet = threading.Barrier(2)

    def one(seed):
        def assemble(target):
            writing(ord(seed))(target)
            meet.wait(timeout=120)

        shelf = open_shelf(place, path_id="slope", access=access())
        return publish(shelf, a_publication(seed), assemble, access=access())

    with ThreadPoolExecutor(2) as pool:
        made = sorted(pool.map(one, "ab"), key=lambda it: it.revision)
    assert [it.revision for it in made] == [1, 2]
    assert made[1].files[0] == made[0].files[0]
    names = {*made[1].files, *(it.item for it in made), "revision-1.json", "revision-2.json"}
    assert set(objects(server, place)) == names


def test_of_two_publishers_of_the_same_results_one_is_kept(server, access, place):
    meet = threading.Barrier(2)

    def one(_):
        def assemble(target):
            writing()(target)
            meet.wait(timeout=120)

        shelf = open_shelf(place, path_id="slope", access=access())
        return publish(shelf, a_publication(), assemble, access=access())

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    assert first == second
    assert set(objects(server, place)) == {*first.files, first.item, "revision-1.json"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "(secret 's3-key')"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the connection failed"),
    ],
)
def test_store_that_takes_nothing_is_named_and_nothing_is_published(
    server, access, place, changes, words
):
    keys = access(**changes)
    shelf = open_shelf(place, path_id="slope", access=keys)
    with pytest.raises(LayerAccessError) as caught:
        publish(shelf, a_publication(), writing(), access=keys)
    assert words in caught.value.fact
    assert "layers-test-secret" not in str(caught.value)
    assert objects(server, place) == []


def test_upload_that_breaks_off_publishes_nothing(server, access, place, tmp_path):
    frame = scene_polygons(20)
    shelf = open_shelf(place, path_id="slope", access=access())

    def assemble(target):
        target.mkdir()
        frame.to_parquet(target / "0.parquet")
        (target / "1.parquet").symlink_to(tmp_path / "gone")

    with pytest.raises((GeopodError, OSError)):
        publish(shelf, a_publication(file_name="data.parquet"), assemble, access=access())
    assert objects(server, place) == []


def test_results_that_fit_no_earlier_ones_leave_no_object(server, access, place):
    shelf = open_shelf(place, path_id="slope", access=access())
    publish(shelf, a_publication("a"), writing(), access=access())
    before = objects(server, place)
    with pytest.raises(GeopodError):
        publish(
            shelf,
            a_publication("b"),
            lambda target: write_raster(target, raster_spec(crs="EPSG:4326")),
            access=access(),
        )
    assert objects(server, place) == before


def test_coordinator_publishes_to_s3_and_plans_what_it_published(server, tmp_path, monkeypatch):
    keys = tmp_path / "s3-key.json"
    keys.write_text(json.dumps(server.keys))
    keys.chmod(0o600)
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"slope": str(keys)}))
    monkeypatch.setenv(deployment.ENV_OWN_SECRETS, str(index))
    target = f"s3://layers/{tmp_path.name}"

    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path, writeTo={"uri": target}))
        entry = await a_geotiff(tmp_path)
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = returning(entry)
            await agent.ready()
            wanted = {"pathId": "slope", "timestampId": "2025"}
            cluster.put(RUNS, a_run("writes", writeToLayer=wanted))
            await cluster.phase("writes", "Succeeded")
            (stamp,) = cluster.status(LAYERS, "slope")["timestamps"]
            assert (stamp["id"], stamp["revision"]) == ("2025", 1)
            cluster.change(ENVIRONMENTS, NAME, lambda it: it["spec"].update(layers=[wanted]))
            await cluster.until(lambda: planned(cluster))
            assert planned(cluster)[0]["crs"] == "EPSG:32616"

    asyncio.run(story())
    assert "revision-1.json" in objects(server, f"{target}/2025")


class TestLocalBackend:
    @pytest.fixture
    def home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GEOPOD_HOME", str(tmp_path / "home"))
        yield tmp_path / "home"
        asyncio.run(end_everything(tmp_path / "home"))

    def test_layer_goes_from_s3_through_a_function_to_s3(self, server, home, tmp_path, monkeypatch):
        path = write_scene(server.root / "layers" / "scene.tif", 512)
        with rasterio.open(path) as source:
            whole = source.read()
        target = f"s3://layers/out-{tmp_path.name}"
        with geopod.connect("local") as client:
            client.add_layer("scene", "s3://layers/scene.tif", timestamp="s", secret=server.keys)
            client.add_layer("half", type="raster", write_to=target, secret=server.keys)
            with client.environment(layers=[("scene", "s")], nodes=3, overlap=4) as env:

                def halve(params):
                    return params["s"]["raster"] // 2

                env.execute(halve, write_to=("half", "2024"))
                first = client.get_layer("half").files("2024")
            with client.environment(layers=[("half", "2024")], nodes=2) as env:

                def total(params):
                    rows, columns = params["2024"]["core"]
                    return int(params["2024"]["raster"][:, rows, columns].sum())

                assert sum(env.execute(total)) == int((whole // 2).sum())
        (href,) = first
        assert href.startswith(f"{target}/2024/data-")
        for name, value in {
            **server.keys,
            "AWS_S3_ENDPOINT": server.endpoint.removeprefix("http://"),
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }.items():
            monkeypatch.setenv(name, value)
        with rasterio.open(href.replace("s3://", "/vsis3/")) as source:
            np.testing.assert_array_equal(source.read(), whole // 2)
        (item_path,) = (server.root / target.removeprefix("s3://")).glob("2024/item-*.json")
        item = pystac.Item.from_file(item_path)
        assert item.assets["data"].href == f"./{href.removeprefix(f'{target}/2024/')}"
        assert [link.href for link in item.get_links("derived_from")] == ["s3://layers/scene.tif"]
        kept = [path for path in home.rglob("*") if path.is_file() and not path.is_socket()]
        holding = [path for path in kept if b"layers-test-secret" in path.read_bytes()]
        assert {path.parent for path in holding} == {home / "secrets"}
        assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
