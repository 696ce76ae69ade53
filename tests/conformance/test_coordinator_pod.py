"""The coordinator on resources: what it reads from them, what it writes, and how often."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import pytest
from coordinator_builders import UID, ScriptedAgent, done, failed
from coordinator_pod_builders import (
    NAME,
    FillingStore,
    a_cluster,
    a_run,
    an_environment,
    serving,
)
from geopod.api import names
from geopod.api.bundles import digest, pack_arguments
from geopod.api.messages import Assign, Bye, Cancel, Drain, EndRun, HeldLease
from geopod.api.run_report import seconds
from geopod.api.run_status import ComputeRunStatus
from geopod.cluster.kinds import ENVIRONMENTS, LAYERS, RUNS
from geopod.cluster.problems import InvalidApiError
from geopod.coordinator import patience
from geopod.coordinator.epochs import Fenced
from geopod.coordinator.pod import run_writer
from geopod.errors import ClusterUnreachableError
from geopod.store.directory import DirectoryStore


def play(story) -> None:
    asyncio.run(story())


def succeed(agent):
    agent.answer = lambda assign: [done(assign, agent.index, value=b"42")]
    return agent


def conditions(status):
    return {it["type"]: (it["status"], it["reason"]) for it in status["conditions"]}


def set_cancel(manifest):
    manifest["spec"]["cancel"] = True


# ---- runs in, statuses out


def test_warm_run_takes_one_write_with_its_results(tmp_path, monkeypatch):
    monkeypatch.setattr(run_writer, "RUNNING_AFTER_S", 60.0)  # warm, however busy the machine is

    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await succeed(agent).ready()
            await cluster.until(lambda: cluster.status(ENVIRONMENTS, NAME)["nodes"]["ready"] == 1)
            cluster.put(RUNS, a_run("one"))
            status = await cluster.phase("one", "Succeeded")
            assert len(cluster.written(RUNS, "one")) == 1
        ComputeRunStatus.model_validate(status)
        (copy,) = status["results"]["inline"]
        assert json.loads(base64.b64decode(copy["data"])) == 42
        assert status["environmentUID"] == UID

    play(story)


@pytest.mark.parametrize(("keep_s", "kept_s"), [(86_400, 86_400), (0, 3600)])
@pytest.mark.parametrize("answer", [lambda *said: [done(*said)], failed], ids=["ok", "failed"])
def test_end_of_a_run_tells_store_and_status_when_its_results_expire(
    tmp_path, answer, keep_s, kept_s
):
    async def story():
        cluster = a_cluster(a_run("one"), results={"keepSeconds": keep_s})
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = lambda assign: answer(assign, agent.index)
            await agent.ready()
            await cluster.until(lambda: cluster.status(RUNS, "one").get("completionTime"))
            status = cluster.status(RUNS, "one")
        key = names.expiry_key(UID, "uid-one")
        expires = float(await DirectoryStore(tmp_path / "store").get(key))
        assert expires == pytest.approx(seconds(status["completionTime"]) + kept_s, abs=0.002)
        told = seconds(status.get("results", {}).get("expiresAt"))
        assert told == (None if answer is failed else pytest.approx(expires, abs=0.002))

    play(story)


def available(cluster, run):
    return conditions(cluster.status(RUNS, run))["ResultsAvailable"]


def delete_results(manifest):
    manifest["metadata"]["annotations"] = {names.ANNOTATION_DELETE_RESULTS: "true"}


@pytest.mark.parametrize("is_awake", [True, False], ids=["now", "at its next start"])
def test_results_of_an_ended_run_are_removed_when_it_asks_for_that(tmp_path, is_awake):
    async def story():
        cluster = a_cluster(a_run("one"), a_run("other"))
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await succeed(agent).ready()
            for name in ("one", "other"):
                await cluster.phase(name, "Succeeded")
            if is_awake:
                cluster.change(RUNS, "one", delete_results)
                await cluster.until(lambda: available(cluster, "one") == ("False", "Deleted"))
        if not is_awake:
            cluster.change(RUNS, "one", delete_results)
            async with serving(cluster, tmp_path):
                await cluster.until(lambda: available(cluster, "one") == ("False", "Deleted"))
        store = DirectoryStore(tmp_path / "store")
        left = [await store.names(names.run_prefix(UID, f"uid-{it}")) for it in ("one", "other")]
        assert (bool(left[0]), bool(left[1])) == (False, True)
        status = cluster.status(RUNS, "one")
        ComputeRunStatus.model_validate(status)
        assert not {"token", "inline", "expiresAt"} & status["results"].keys()
        assert (status["phase"], available(cluster, "other")) == ("Succeeded", ("True", "Stored"))

    play(story)


def test_what_a_deleted_run_has_stored_goes_in_its_time(tmp_path):
    async def story():
        cluster = a_cluster(a_run("one"))
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            await agent.next(Assign)
            cluster.delete(RUNS, "one")
            await agent.next(Cancel)
        store = DirectoryStore(tmp_path / "store")
        assert await store.exists(names.expiry_key(UID, "uid-one"))

    play(story)


def test_runs_in_a_row_write_the_environment_seldom(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await succeed(agent).ready()
            await cluster.until(lambda: cluster.status(ENVIRONMENTS, NAME)["nodes"]["ready"] == 1)
            before, began = len(cluster.written(ENVIRONMENTS, NAME)), time.monotonic()
            for number in range(20):
                cluster.put(RUNS, a_run(f"run-{number}"))
                await cluster.phase(f"run-{number}", "Succeeded")
            longer = int(time.monotonic() - began)  # 0 s, unless the machine is busy
            assert len(cluster.written(ENVIRONMENTS, NAME)) - before <= 3 + longer

    play(story)


def test_environment_counts_a_waiting_run_before_the_run_says_queued(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path):
            cluster.put(RUNS, a_run("waits"))
            await cluster.phase("waits", "Queued")
            said = [
                it.kind
                for it in cluster.writes
                if it.status.get("queuedRuns") or it.kind == RUNS.plural
            ]
            assert said[:2] == [ENVIRONMENTS.plural, RUNS.plural]

    play(story)


def test_long_run_says_running_and_the_environment_is_covered_first(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            cluster.put(RUNS, a_run("long"))
            assign = await agent.next(Assign)
            status = await cluster.phase("long", "Running")
            assert conditions(status)["Dispatched"] == ("True", "Dispatched")
            environment = cluster.status(ENVIRONMENTS, NAME)
            assert environment["lastActivityTime"] or environment["activeRuns"]
            await agent.send(done(assign, 0))
            await cluster.phase("long", "Succeeded")
            assert len(cluster.written(RUNS, "long")) <= 3

    play(story)


def test_failed_task_is_listed_with_its_exception(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            agent.answer = lambda assign: failed(assign, 0)
            await agent.ready()
            cluster.put(RUNS, a_run("fails"))
            status = await cluster.phase("fails", "Failed")
            assert conditions(status)["Failed"] == ("True", "TaskFailed")
            assert status["failures"][0]["reason"] == "Exception"

    play(story)


def test_write_is_repeated_until_the_server_takes_it(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await succeed(agent).ready()
            await cluster.until(lambda: cluster.status(ENVIRONMENTS, NAME)["nodes"]["ready"] == 1)
            cluster.outage = [ClusterUnreachableError("it does not answer.")]
            cluster.put(RUNS, a_run("patient"))
            await cluster.phase("patient", "Succeeded")

    play(story)


# ---- refusals


def test_bytecode_of_another_minor_is_refused_once_and_for_all(tmp_path):
    async def story():
        cluster = a_cluster(interpreter="python3.12")
        async with serving(cluster, tmp_path):
            cluster.put(RUNS, a_run("old"))
            status = await cluster.phase("old", "Failed")
            assert conditions(status)["Accepted"] == ("False", "InterpreterMismatch")
            assert len(cluster.written(RUNS, "old")) == 1

    play(story)


def test_full_queue_refuses_without_a_phase(tmp_path):
    async def story():
        cluster = a_cluster(maxQueuedRuns=1)
        async with serving(cluster, tmp_path):
            cluster.put(RUNS, a_run("first"))
            await cluster.phase("first", "Queued")
            cluster.put(RUNS, a_run("second"))
            await cluster.until(lambda: cluster.written(RUNS, "second"))
            status = cluster.status(RUNS, "second")
            assert "phase" not in status
            assert conditions(status)["Accepted"] == ("False", "QueueFull")

    play(story)


# ---- a store without room


@pytest.fixture
def filling(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "PAUSE_S", (0.01, 0.05))
    return FillingStore(tmp_path / "store")


def test_coordinator_that_starts_on_a_full_store_serves_when_there_is_room(tmp_path, filling):
    async def story():
        filling.is_full = True
        cluster = a_cluster()

        async def start():
            async with serving(cluster, tmp_path, store=filling) as (process, _):
                return process.coordinator.epoch

        starting = asyncio.create_task(start())
        await filling.refuse(3)
        assert not cluster.writes
        filling.is_full = False
        assert await starting == 1

    play(story)


def a_run_with_arguments(name):
    data = pack_arguments([b"[[1],{}]"])
    inline = base64.b64encode(data).decode()
    return a_run(
        name,
        mode="Map",
        map={"artifact": {"sha256": digest(data), "bytes": len(data)}, "count": 1},
        arguments={"format": "json", "sha256": digest(data), "inline": inline},
    )


@pytest.mark.parametrize("fate", ["Succeeded", "Cancelled", "deleted"])
def test_run_whose_arguments_find_no_room_says_why_and_goes_on_later(tmp_path, filling, fate):
    async def story():
        cluster = a_cluster()
        async with (
            serving(cluster, tmp_path, store=filling) as (process, settings),
            ScriptedAgent(settings) as agent,
        ):
            if fate != "Cancelled":  # a node could be faster
                await succeed(agent).ready()
            filling.is_full = True
            cluster.put(RUNS, a_run_with_arguments("one"))
            await cluster.until(lambda: cluster.status(RUNS, "one"))
            status = cluster.status(RUNS, "one")
            assert conditions(status) == {"Accepted": ("False", "EnvironmentNotReady")}
            assert "507" in status["conditions"][0]["message"]
            if fate == "Cancelled":
                cluster.change(RUNS, "one", set_cancel)
            if fate == "deleted":
                cluster.delete(RUNS, "one")
            await filling.refuse(3)
            filling.is_full = False
            if fate == "deleted":
                cluster.put(RUNS, a_run_with_arguments("two"))
                await cluster.phase("two", "Succeeded")
                assert "uid-one" not in process.coordinator.runs
                assert process.coordinator.runs.recall("uid-one") is None
            else:
                await cluster.phase("one", fate)

    play(story)


def test_run_of_an_earlier_environment_of_this_name_is_left_alone(tmp_path):
    async def story():
        foreign = {**a_run("foreign"), "status": {"phase": "Running", "environmentUID": "other"}}
        cluster = a_cluster(foreign)
        async with serving(cluster, tmp_path) as (process, _):
            cluster.put(RUNS, a_run("own"))
            await cluster.phase("own", "Queued")
            assert "uid-foreign" not in process.coordinator.runs
            assert cluster.written(RUNS, "foreign") == []

    play(story)


# ---- cancel and delete


def test_spec_cancels_a_run(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            cluster.put(RUNS, a_run("stop"))
            await agent.next(Assign)
            cluster.change(RUNS, "stop", set_cancel)
            await agent.next(Cancel)

    play(story)


def test_run_that_is_cancelled_before_it_was_seen_ends_cancelled(tmp_path):
    async def story():
        cluster = a_cluster(a_run("early", cancel=True))
        async with serving(cluster, tmp_path):
            status = await cluster.phase("early", "Cancelled")
            assert conditions(status)["Failed"] == ("True", "Cancelled")

    play(story)


@pytest.mark.parametrize("told", [True, False])
def test_deleted_run_is_stopped_also_when_nobody_told_of_it(tmp_path, told):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            cluster.put(RUNS, a_run("gone"))
            await agent.next(Assign)
            await cluster.phase("gone", "Running")
            cluster.delete(RUNS, "gone", told=told)
            if not told:
                cluster.begin_anew(RUNS)
            await agent.next(Cancel)

    play(story)


def test_watch_that_began_anew_takes_no_run_twice(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            cluster.put(RUNS, a_run("once"))
            assign = await agent.next(Assign)
            cluster.begin_anew(RUNS)
            await agent.send(done(assign, 0))
            await cluster.phase("once", "Succeeded")
            cluster.begin_anew(RUNS)
            cluster.put(RUNS, a_run("next"))
            assert (await agent.next(Assign)).run == "uid-next"

    play(story)


# ---- epochs and restarts


def test_epoch_goes_up_with_every_start_and_is_told_before_anything_else(tmp_path):
    async def story():
        cluster = a_cluster()
        for epoch in (1, 2):
            async with serving(cluster, tmp_path):
                assert cluster.status(ENVIRONMENTS, NAME)["coordinator"]["epoch"] == epoch
        assert cluster.writes[0].status["coordinator"]["epoch"] == 1

    play(story)


def test_epoch_in_the_status_counts_when_the_store_has_lost_its_own(tmp_path):
    async def story():
        environment = {**an_environment(), "status": {"coordinator": {"epoch": 7}}}
        cluster = a_cluster()
        cluster.put(ENVIRONMENTS, environment)
        async with serving(cluster, tmp_path) as (process, _):
            assert process.coordinator.epoch == 8

    play(story)


def test_coordinator_that_was_cut_off_writes_over_nobody(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            cluster.put(RUNS, a_run("contested"))
            assign = await agent.next(Assign)
            await cluster.phase("contested", "Running")
            newer = {"phase": "Succeeded", "coordinatorEpoch": 2, "environmentUID": UID}
            cluster.mute = True  # the watch is silent
            cluster.change(RUNS, "contested", lambda it: it.update(status=newer))
            await agent.send(done(assign, 0))
            await cluster.until(lambda: cluster.gets)
            await agent.next(EndRun)
            assert cluster.status(RUNS, "contested") == newer

    play(story)


def test_coordinator_that_was_cut_off_leaves_the_environment_to_a_newer_one(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings):
            async with ScriptedAgent(settings) as agent:
                await agent.ready()
                await cluster.until(lambda: connected(cluster) == 1)
                cluster.mute = True  # its watch is cut off
                cluster.change(
                    ENVIRONMENTS,
                    NAME,
                    lambda it: it["status"].update(coordinator={"epoch": 9}, activeRuns=3),
                )
                reads = cluster.reads_of_environment
            await cluster.until(lambda: cluster.reads_of_environment > reads)
        assert cluster.status(ENVIRONMENTS, NAME)["coordinator"] == {"epoch": 9}
        assert connected(cluster) == 1

    play(story)


def test_write_that_was_overtaken_by_a_user_is_made_again(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            cluster.put(RUNS, a_run("labelled"))
            assign = await agent.next(Assign)
            await cluster.phase("labelled", "Running")
            cluster.mute = True
            cluster.change(RUNS, "labelled", lambda it: it["metadata"].update(labels={"a": "b"}))
            await agent.send(done(assign, 0))
            await cluster.phase("labelled", "Succeeded")

    play(story)


def test_status_that_was_set_back_starts_no_run_again(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await succeed(agent).ready()
            cluster.put(RUNS, a_run("over"))
            await cluster.phase("over", "Succeeded")
            back = {"phase": "Running", "environmentUID": UID}
            cluster.change(RUNS, "over", lambda it: it.update(status=back))
            agent.answer = None
            await cluster.phase("over", "Succeeded")
            assert not any(isinstance(it, Assign) for it in agent.seen)

    play(story)


def test_coordinator_ends_when_it_reads_a_higher_epoch(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (process, _):
            cluster.change(
                ENVIRONMENTS, NAME, lambda it: it["status"]["coordinator"].update(epoch=9)
            )
            with pytest.raises(Fenced):
                await process.serve()

    play(story)


def test_restart_runs_what_is_missing_and_nothing_twice(tmp_path):
    async def story():
        cluster = a_cluster(nodes=2)
        async with (
            serving(cluster, tmp_path) as (_, settings),
            ScriptedAgent(settings, 0) as first,
            ScriptedAgent(settings, 1) as second,
        ):
            await first.ready()
            await second.ready()
            cluster.put(RUNS, a_run("survives"))
            assign = await first.next(Assign)
            await second.next(Assign)
            await first.send(done(assign, 0))
            await cluster.until(
                lambda: cluster.status(RUNS, "survives").get("tasks", {}).get("succeeded") == 1
            )
        async with serving(cluster, tmp_path) as (process, settings):
            assert process.coordinator.epoch == 2
            async with ScriptedAgent(settings, 0, "new-0") as first:
                await first.ready()
                async with ScriptedAgent(settings, 1, "new-1") as second:
                    await second.ready()
                    again = await second.next(Assign)
                    assert [index for index, _ in again.tasks] == [1]
                    await second.send(done(again, 1))
                    status = await cluster.phase("survives", "Succeeded")
                    assert status["completedIndexes"] == "0-1"
                    assert status["results"]["manifestSha256"]

    play(story)


def test_run_that_ended_without_a_last_word_gets_it_after_a_restart(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await succeed(agent).ready()
            cluster.put(RUNS, a_run("mute"))
            await cluster.phase("mute", "Succeeded")
        cluster.change(RUNS, "mute", lambda it: it.pop("status"))  # as if it had never been written
        async with serving(cluster, tmp_path):
            status = await cluster.phase("mute", "Succeeded")
            assert status["coordinatorEpoch"] == 2

    play(story)


def test_lease_that_a_node_still_holds_goes_on_after_a_restart(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            cluster.put(RUNS, a_run("held"))
            assign = await agent.next(Assign)
            await cluster.phase("held", "Running")
        held = HeldLease(lease=assign.lease, run=assign.run, tasks=assign.tasks, epoch=1)
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready(leases=(held,))
            await agent.send(done(assign, 0))
            await cluster.phase("held", "Succeeded")
            assert not any(isinstance(it, Assign) for it in agent.seen)

    play(story)


# ---- the environment


def test_raised_limit_starts_a_waiting_run(tmp_path):
    async def story():
        cluster = a_cluster(maxConcurrentRuns=1)
        async with (
            serving(cluster, tmp_path) as (_, settings),
            ScriptedAgent(settings) as agent,
        ):
            await agent.ready(slots=2)
            cluster.put(RUNS, a_run("first"))
            await agent.next(Assign)
            cluster.put(RUNS, a_run("second"))
            await cluster.phase("second", "Queued")
            cluster.change(ENVIRONMENTS, NAME, lambda it: it["spec"].update(maxConcurrentRuns=2))
            assert (await agent.next(Assign)).run == "uid-second"

    play(story)


def test_condition_is_about_the_spec_of_now(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path):
            cluster.change(ENVIRONMENTS, NAME, lambda it: it["spec"].update(maxQueuedRuns=5))
            await cluster.until(lambda: observed(cluster) == 2)

    play(story)


def observed(cluster) -> int:
    found = [
        it["observedGeneration"]
        for it in cluster.status(ENVIRONMENTS, NAME).get("conditions", ())
        if it["type"] == "LayersResolved"
    ]
    return found[0] if found else 0


def test_missing_layer_is_named_until_it_is_there(tmp_path):
    async def story():
        entry = {"pathId": "dem", "timestampId": "2024"}
        cluster = a_cluster(layers=[entry])
        async with serving(cluster, tmp_path):
            await cluster.until(lambda: reason(cluster) == "LayerUnreachable")
            layers = cluster.status(ENVIRONMENTS, NAME)["layers"]
            assert [it["state"] for it in layers] == ["Failed"]
            stamp = {"id": "2024", "uri": "/nowhere/dem.tif"}
            layer = {"metadata": {"name": "dem"}, "spec": {"type": "raster", "timestamps": [stamp]}}
            cluster.put(LAYERS, layer)
            await cluster.until(lambda: "/nowhere/dem.tif" in message(cluster))

    play(story)


def reason(cluster) -> str:
    found = conditions(cluster.status(ENVIRONMENTS, NAME) | {}) if observed(cluster) else {}
    return found.get("LayersResolved", ("", ""))[1]


def message(cluster) -> str:
    found = cluster.status(ENVIRONMENTS, NAME)["conditions"]
    return next(it["message"] for it in found if it["type"] == "LayersResolved")


def test_node_of_an_earlier_template_is_drained_and_told(tmp_path):
    async def story():
        cluster = a_cluster(nodes=2)
        async with (
            serving(cluster, tmp_path) as (_, settings),
            ScriptedAgent(settings, 0) as old,
            ScriptedAgent(settings, 1) as fresh,
        ):
            await old.ready(template_hash="a")
            await fresh.ready(template_hash="b")
            cluster.change(
                ENVIRONMENTS,
                NAME,
                lambda it: it.setdefault("status", {}).update(templateHash="b"),
            )
            await cluster.until(lambda: cluster.status(ENVIRONMENTS, NAME).get("drained") == "0")
            assert cluster.status(ENVIRONMENTS, NAME)["nodes"]["outdated"] == 1

    play(story)


def lost(cluster) -> str:
    return cluster.written(ENVIRONMENTS, NAME)[-1].get("lost", "")


def connected(cluster) -> int:
    return cluster.status(ENVIRONMENTS, NAME).get("nodes", {}).get("connected", 0)


def test_node_that_never_dialled_starts_and_one_that_fell_silent_is_lost(tmp_path):
    async def story():
        cluster = a_cluster(nodes=2)
        async with serving(cluster, tmp_path) as (_, settings):
            async with ScriptedAgent(settings, 0) as agent:
                await agent.ready()
                await cluster.until(lambda: connected(cluster) == 1)
                assert lost(cluster) == ""
            await cluster.until(lambda: lost(cluster) == "0")
            async with ScriptedAgent(settings, 0) as agent:
                await agent.ready()
                await agent.send(Bye(reason="SIGTERM"))
                await cluster.until(lambda: connected(cluster) == 0 and lost(cluster) == "")

    play(story)


def test_node_of_an_earlier_coordinator_is_lost_when_it_does_not_dial_in_time(tmp_path):
    async def story():
        cluster = a_cluster(nodes=2)
        async with (
            serving(cluster, tmp_path) as (_, settings),
            ScriptedAgent(settings, 0) as a,
            ScriptedAgent(settings, 1) as b,
        ):
            await a.ready()
            await b.ready()
            await cluster.until(lambda: connected(cluster) == 2)
        async with serving(cluster, tmp_path, redial_grace_s=1.0) as (process, settings):
            assert process.coordinator.read_environment().lost == ""
            async with ScriptedAgent(settings, 0) as a:
                await a.ready()
                await cluster.until(lambda: connected(cluster) == 1)
                await cluster.until(lambda: lost(cluster) == "1")

    play(story)


def test_run_for_a_suspended_environment_is_not_accepted_and_starts_when_it_wakes(tmp_path):
    async def story():
        cluster = a_cluster(suspend=True)
        async with serving(cluster, tmp_path) as (_, settings):
            cluster.put(RUNS, a_run("sleeps"))
            await cluster.until(lambda: cluster.written(RUNS, "sleeps"))
            status = cluster.status(RUNS, "sleeps")
            assert "phase" not in status
            assert conditions(status)["Accepted"] == ("False", "Suspended")
            cluster.change(ENVIRONMENTS, NAME, lambda it: it["spec"].update(suspend=False))
            async with ScriptedAgent(settings) as agent:
                await succeed(agent).ready()
                await cluster.phase("sleeps", "Succeeded")

    play(story)


def test_nodes_of_a_suspended_environment_finish_what_they_hold(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await agent.ready()
            cluster.put(RUNS, a_run("goes-on"))
            assign = await agent.next(Assign)
            cluster.change(ENVIRONMENTS, NAME, lambda it: it["spec"].update(suspend=True))
            await agent.next(Drain)
            await agent.send(done(assign, 0))
            await cluster.phase("goes-on", "Succeeded")

    play(story)


def test_environment_that_wakes_before_its_nodes_are_gone_uses_them_again(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings):
            async with ScriptedAgent(settings) as agent:
                await agent.ready()
                cluster.change(ENVIRONMENTS, NAME, lambda it: it["spec"].update(suspend=True))
                await agent.next(Drain)
                cluster.change(ENVIRONMENTS, NAME, lambda it: it["spec"].update(suspend=False))
                await agent.next(Bye)
            async with ScriptedAgent(settings) as agent:  # it dials again
                await succeed(agent).ready()
                cluster.put(RUNS, a_run("after"))
                await cluster.phase("after", "Succeeded")

    play(story)


def test_status_that_the_server_refuses_is_told_in_short(tmp_path):
    async def story():
        cluster = a_cluster()
        async with serving(cluster, tmp_path) as (_, settings), ScriptedAgent(settings) as agent:
            await succeed(agent).ready()
            await cluster.until(lambda: cluster.status(ENVIRONMENTS, NAME)["nodes"]["ready"] == 1)
            cluster.outage = [InvalidApiError(422, "Invalid", "status.results: too long")]
            cluster.put(RUNS, a_run("wordy"))
            status = await cluster.phase("wordy", "Succeeded")
            assert "results" not in status

    play(story)
