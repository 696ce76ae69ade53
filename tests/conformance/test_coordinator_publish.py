"""A coordinator in a pod makes results a layer timestamp, and says so in the Layer's status."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import msgspec
import rasterio
from coordinator_builders import UID, ScriptedAgent, a_failure
from coordinator_pod_builders import NAME, a_cluster, a_run, serving
from geopod.api.messages import Assign, Done, Failed
from geopod.api.names import ANNOTATION_RERUN_TASKS, LABEL_RERUN_OF
from geopod.api.results import Entry, TaskRecord
from geopod.cluster.kinds import ENVIRONMENTS, LAYERS, RUNS
from geopod.coordinator.publication import NOTHING_SHA256
from geopod.store.directory import DirectoryStore
from layer_builders import raster_spec, write_raster


def play(story) -> None:
    asyncio.run(story())


def a_layer(folder, **spec):
    write_to = {"uri": f"file://{folder}"}
    return {
        "metadata": {"name": "slope", "uid": "uid-slope"},
        "spec": {"type": "raster", "writeTo": write_to, **spec},
    }


def conditions(status):
    return {it["type"]: (it["status"], it["reason"]) for it in status["conditions"]}


async def a_geotiff(tmp_path):
    """The manifest's entry of a raster that lies in the store."""
    data = write_raster(tmp_path / "result.tif", raster_spec()).read_bytes()
    await DirectoryStore(tmp_path / "store").put(f"{UID}/result", data)
    digest = sha256(data).hexdigest()
    return Entry(codec="geotiff", sha256=digest, bytes=len(data), key=f"{UID}/result")


def returning(entry):
    def answer(assign: Assign) -> list[Done]:
        records = [
            TaskRecord(index=index, attempt=attempt, epoch=assign.epoch, node=0, entry=entry)
            for index, attempt in assign.tasks
        ]
        return [Done(lease=assign.lease, epoch=assign.epoch, run=assign.run, records=records)]

    return answer


def test_run_that_writes_to_a_layer_ends_when_the_timestamp_is_there(tmp_path):
    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path / "published"))
        entry = await a_geotiff(tmp_path)
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = returning(entry)
            await agent.ready()
            target = {"pathId": "slope", "timestampId": "2025"}
            cluster.put(RUNS, a_run("writes", writeToLayer=target))
            await cluster.phase("writes", "Succeeded")
        (stamp,) = cluster.status(LAYERS, "slope")["timestamps"]
        assert (stamp["id"], stamp["revision"]) == ("2025", 1)
        published = tmp_path / "published" / "2025" / stamp["files"][0]
        with rasterio.open(published) as raster:
            assert (raster.read() == raster_spec().values()).all()

    play(story)


def test_results_that_are_no_layer_fail_the_run_and_stay(tmp_path):
    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path / "published"))
        entry = Entry(codec="json", sha256="", bytes=2, key=f"{UID}/result")
        await DirectoryStore(tmp_path / "store").put(f"{UID}/result", b"42")
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = returning(entry)
            await agent.ready()
            target = {"pathId": "slope", "timestampId": "2025"}
            cluster.put(RUNS, a_run("writes", writeToLayer=target))
            status = await cluster.phase("writes", "Failed")
            assert conditions(status)["Failed"][1] == "NotAFileResult"
            assert status["tasks"]["succeeded"] == 1

    play(story)


def test_layer_without_a_place_for_results_refuses_them_by_name(tmp_path):
    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path, writeTo={"uri": "https://host/slope"}))
        entry = await a_geotiff(tmp_path)
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = returning(entry)
            await agent.ready()
            target = {"pathId": "slope", "timestampId": "2025"}
            cluster.put(RUNS, a_run("writes", writeToLayer=target))
            status = await cluster.phase("writes", "Failed")
            words = next(it["message"] for it in status["conditions"] if it["type"] == "Failed")
            assert "spec.writeTo.uri" in words

    play(story)


def test_object_store_whose_keys_are_not_mounted_is_refused_by_name(tmp_path):
    async def story():
        cluster = a_cluster()
        spec = {"writeTo": {"uri": "s3://b/slope"}, "credentials": {"secretName": "s3-key"}}
        cluster.put(LAYERS, a_layer(tmp_path, **spec))
        entry = await a_geotiff(tmp_path)
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = returning(entry)
            await agent.ready()
            target = {"pathId": "slope", "timestampId": "2025"}
            cluster.put(RUNS, a_run("writes", writeToLayer=target))
            status = await cluster.phase("writes", "Failed")
            words = next(it["message"] for it in status["conditions"] if it["type"] == "Failed")
            assert words == (
                f"The Secret 's3-key' of Layer 'slope' is not mounted in environment {NAME!r}; "
                "nothing is published."
            )

    play(story)


def test_results_that_would_fill_the_pods_scratch_are_refused_before_they_are_fetched(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("geopod.coordinator.pod.publications.SCRATCH_BYTES", 1000)

    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path / "published"))
        entry = await a_geotiff(tmp_path)
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = returning(entry)
            await agent.ready()
            target = {"pathId": "slope", "timestampId": "2025"}
            cluster.put(RUNS, a_run("writes", writeToLayer=target))
            status = await cluster.phase("writes", "Failed")
            words = next(it["message"] for it in status["conditions"] if it["type"] == "Failed")
            assert words.endswith("this coordinator has 1000 bytes; nothing is published.")
            assert not (tmp_path / "published").exists()

    play(story)


def test_publish_run_makes_earlier_results_a_layer_and_later_plans_read_it(tmp_path):
    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path / "published"))
        entry = await a_geotiff(tmp_path)
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = returning(entry)
            await agent.ready()
            cluster.put(RUNS, a_run("first"))
            await cluster.phase("first", "Succeeded")
            publish = a_run(
                "publish",
                mode="Publish",
                publish=["uid-first"],
                writeToLayer={"pathId": "slope", "timestampId": "2025"},
            )
            del publish["spec"]["function"]
            cluster.put(RUNS, publish)
            status = await cluster.phase("publish", "Succeeded")
            assert status["tasks"]["succeeded"] == 1
            entry_of_spec = {"pathId": "slope", "timestampId": "2025"}
            cluster.change(ENVIRONMENTS, NAME, lambda it: it["spec"].update(layers=[entry_of_spec]))
            await cluster.until(lambda: planned(cluster))
            assert planned(cluster)[0]["crs"] == "EPSG:32616"

    play(story)


def planned(cluster):
    layers = cluster.status(ENVIRONMENTS, NAME).get("layers", ())
    return [it for it in layers if it["state"] == "Resolved"]


def test_publish_run_of_nothing_says_what_it_names(tmp_path):
    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path / "published"))
        async with serving(cluster, tmp_path):
            publish = a_run(
                "publish",
                mode="Publish",
                publish=["nobody"],
                writeToLayer={"pathId": "slope", "timestampId": "2025"},
            )
            del publish["spec"]["function"]
            cluster.put(RUNS, publish)
            status = await cluster.phase("publish", "Failed")
            words = next(it["message"] for it in status["conditions"] if it["type"] == "Failed")
            assert "'nobody' names no run" in words

    play(story)


def a_rerun(name, of, tasks, **spec):
    """A run that runs tasks of another one again."""
    manifest = a_run(name, **spec)
    manifest["metadata"]["labels"] = {LABEL_RERUN_OF: of}
    manifest["metadata"]["annotations"] = {ANNOTATION_RERUN_TASKS: tasks}
    return manifest


def a_map(count, **more):
    artifact = {"sha256": "0" * 64, "bytes": 1}
    return {"mode": "Map", "map": {"artifact": artifact, "count": count, **more}}


def publishing(name, run):
    target = {"pathId": "slope", "timestampId": name}
    manifest = a_run(name, mode="Publish", publish=[f"uid-{run}"], writeToLayer=target)
    del manifest["spec"]["function"]
    return manifest


def test_a_rerun_becomes_a_layer_with_the_results_of_its_base(tmp_path):
    """Task 0 of the first run has the raster, task 1 failed; the rerun's only task adds nothing."""

    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path / "published"))
        entry = await a_geotiff(tmp_path)
        target = {"pathId": "slope", "timestampId": "2025"}

        def first(assign: Assign) -> list[Done | Failed]:
            (done,) = returning(entry)(assign)
            failed = [
                msgspec.structs.replace(record, entry=None, failure=a_failure())
                for record in done.records
                if record.index == 1
            ]
            kept = [record for record in done.records if record.index == 0]
            told = {"lease": assign.lease, "epoch": assign.epoch, "run": assign.run}
            return [Done(**told, records=kept), *(Failed(**told, record=it) for it in failed)]

        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = first
            await agent.ready()
            cluster.put(RUNS, a_run("first", writeToLayer=target, **a_map(2)))
            await cluster.phase("first", "Failed")
            cluster.put(RUNS, publishing("early", "first"))
            status = await cluster.phase("early", "Failed")
            assert "1 of 2 tasks of 'first' have no result (1)" in words_of(status)

            agent.answer = returning(Entry(codec="json", sha256=NOTHING_SHA256, bytes=4))
            cluster.put(RUNS, a_rerun("again", "first", "1", writeToLayer=target, **a_map(1)))
            await cluster.phase("again", "Succeeded")
            cluster.put(RUNS, publishing("later", "again"))
            await cluster.phase("later", "Succeeded")

            cluster.delete(RUNS, "first")
            cluster.put(RUNS, publishing("late", "again"))
            status = await cluster.phase("late", "Failed")
            assert "tasks of 'first' again, and that run is gone" in words_of(status)
        stamps = cluster.status(LAYERS, "slope")["timestamps"]
        assert [(it["id"], it["revision"]) for it in stamps] == [("2025", 1), ("later", 1)]

    play(story)


def test_partial_layer_is_published_with_what_there_is(tmp_path):
    async def story():
        cluster = a_cluster()
        cluster.put(LAYERS, a_layer(tmp_path / "published"))
        entry = await a_geotiff(tmp_path)
        target = {"pathId": "slope", "timestampId": "2025"}

        def half(assign: Assign) -> list[Done | Failed]:
            (done,) = returning(entry)(assign)
            (record,) = done.records
            if record.index == 0:
                return [done]
            lost = msgspec.structs.replace(record, entry=None, failure=a_failure())
            return [Failed(lease=done.lease, epoch=done.epoch, run=done.run, record=lost)]

        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = half
            await agent.ready()
            partly = {**target, "partial": True}
            cluster.put(RUNS, a_run("partly", writeToLayer=partly, **a_map(2, batch=1)))
            status = await cluster.phase("partly", "Failed")
        assert conditions(status)["Failed"][1] == "TaskFailed"
        told = "1 result kept. Layer 'slope/2025' has the other results; task 1 is missing there."
        assert words_of(status).endswith(told)
        (stamp,) = cluster.status(LAYERS, "slope")["timestamps"]
        assert (stamp["id"], stamp["revision"]) == ("2025", 1)
        (revision,) = (tmp_path / "published" / "2025").glob("revision-1.json")
        assert msgspec.json.decode(revision.read_bytes())["missing"] == [1]

    play(story)


def words_of(status):
    return next(it["message"] for it in status["conditions"] if it["type"] == "Failed")
