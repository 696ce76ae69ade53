"""Coordinator, agents and runners against a real API server: ComputeRuns in, statuses out.

They run as processes of this machine with what a pod would give them, so that no image is needed.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.request
from pathlib import Path

import pytest
from cluster.process_builders import (
    SYSTEM_PYTHON,
    a_run,
    a_stage,
    condition_of,
    results_of,
    until,
)
from cluster.simulated_builders import without_the_installed_one
from geopod.api import deployment, names
from geopod.coordinator.manifest import accepted_keys, read_records, read_result
from geopod.store import open_store
from layer_builders import raster_spec, write_raster

ANSWER = "def f(params):\n    return 42\n"
SLEEP = "import time\ndef f(params):\n    time.sleep(600)\n"
FAIL_ON_1 = (
    "def f(params, ctx):\n"
    "    if ctx.index == 1:\n"
    "        raise ValueError('no such band')\n"
    "    return ctx.index\n"
)
NOTE_AND_WAIT = (
    "import os, time\n"
    "def f(params, ctx):\n"
    "    with open('{folder}/began-' + str(ctx.index), 'a') as file:\n"
    "        file.write('x')\n"
    "    while not os.path.exists('{folder}/go'):\n"
    "        time.sleep(.02)\n"
    "    return ctx.index\n"
)
TWO_USERS = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(SYSTEM_PYTHON).exists(), reason="only root can play two users"
)


@pytest.fixture(scope="module", autouse=True)
def alone(kubectl, definitions):
    """These tests play the operator; an installed one would change what they made."""
    with without_the_installed_one(kubectl):
        yield


@pytest.fixture(scope="module")
def space(kubectl):
    """One namespace for all of these tests: a coordinator serves in it as long as they last."""
    name = f"process-{os.getpid()}"
    kubectl("create", "namespace", name)
    yield kubectl.within(name)
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def stage(space):
    """An environment of two nodes, ready."""
    with a_stage(space) as stage:
        stage.start_coordinator()
        for index in range(2):
            stage.start_node(index)
        stage.wait_ready(2)
        yield stage


def test_run_ends_with_its_results_in_the_status(stage):
    run = stage.wait_run(stage.submit(a_run(stage.name, ANSWER)), "Succeeded")
    assert results_of(run) == {0: 42, 1: 42}
    assert run["status"]["environmentUID"] == stage.uid
    assert run["status"]["completedIndexes"] == "0-1"
    for kind in ("Accepted", "Dispatched", "Complete", "ResultsAvailable"):
        assert condition_of(run, kind)[0] == "True"


def test_environment_tells_its_coordinator_nodes_and_plan(stage):
    stage.kubectl.wait(f"computeenvironment/{stage.name}", "condition=LayersResolved")
    status = stage.kubectl.get("computeenvironment", stage.name)["status"]
    assert (status["coordinator"]["epoch"], status["nodes"]["ready"]) == (1, 2)
    assert status["partitioning"]["count"] == 2
    found = [it for it in status["conditions"] if it["type"] == "LayersResolved"]
    assert [it["status"] for it in found] == ["True"]


def test_short_run_takes_at_most_three_writes_and_two_on_the_environment(stage):
    before, began = writes(stage), time.monotonic()
    stage.wait_run(stage.submit(a_run(stage.name, ANSWER)), "Succeeded")
    longer = int(time.monotonic() - began)  # 0 s, unless the machine is busy
    assert writes(stage) - before <= 3 + 2 + longer


def writes(stage) -> int:
    url = f"http://127.0.0.1:{stage.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return int(
        float(next(it for it in lines if it.startswith("geopod_status_writes_total")).split()[1])
    )


def test_failure_of_one_node_is_listed_and_the_other_result_stays(stage):
    run = stage.wait_run(stage.submit(a_run(stage.name, FAIL_ON_1)), "Failed")
    assert condition_of(run, "Failed") == ("True", "TaskFailed")
    (failure,) = run["status"]["failures"]
    assert (failure["index"], failure["reason"]) == (1, "Exception")
    assert failure["exception"] == "ValueError: no such band"
    assert (run["status"]["completedIndexes"], run["status"]["failedIndexes"]) == ("0", "1")


def test_run_is_cancelled_by_its_spec(stage):
    name = stage.submit(a_run(stage.name, SLEEP))
    stage.wait_run(name, "Running")
    stage.kubectl("patch", "computerun", name, "--type=merge", '-p={"spec":{"cancel":true}}')
    run = stage.wait_run(name, "Cancelled")
    assert condition_of(run, "Failed") == ("True", "Cancelled")


def test_chosen_tasks_are_cancelled_by_an_annotation(stage):
    text = (
        "import time\ndef f(params, ctx):\n    time.sleep(600 if ctx.index else 0)\n    return 7\n"
    )
    name = stage.submit(a_run(stage.name, text))
    stage.wait_run(name, "Running")
    stage.kubectl("annotate", "computerun", name, f"{names.ANNOTATION_CANCEL_TASKS}=1")
    run = stage.wait_run(name, "Failed")
    assert run["status"]["completedIndexes"] == "0"


def test_deleted_run_gives_its_nodes_back(stage):
    name = stage.submit(a_run(stage.name, SLEEP))
    stage.wait_run(name, "Running")
    stage.kubectl("delete", "computerun", name)
    stage.wait_run(stage.submit(a_run(stage.name, ANSWER)), "Succeeded")


def test_bytecode_of_another_python_is_refused_by_name(stage):
    manifest = a_run(stage.name, ANSWER)
    manifest["spec"]["function"] |= {"format": "cloudpickle", "pythonVersion": "3.7"}
    run = stage.wait_run(stage.submit(manifest), "Failed")
    assert condition_of(run, "Accepted") == ("False", "InterpreterMismatch")
    assert condition_of(run, "Failed") == ("True", "InterpreterMismatch")


def test_results_count_once_when_the_coordinator_is_killed_in_the_middle(stage, tmp_path):
    name = stage.submit(a_run(stage.name, NOTE_AND_WAIT.format(folder=tmp_path)))
    stage.wait_run(name, "Running")
    until(lambda: all((tmp_path / f"began-{index}").exists() for index in range(2)))
    coordinator = next(it for it in stage.children if it.args[-2] == "geopod.coordinator")
    coordinator.kill()
    coordinator.wait()
    stage.start_coordinator()
    stage.kubectl.wait(f"computeenvironment/{stage.name}", "jsonpath={.status.coordinator.epoch}=2")
    (tmp_path / "go").touch()
    run = stage.wait_run(name, "Succeeded")
    assert run["status"]["completedIndexes"] == "0-1"
    assert [(tmp_path / f"began-{index}").read_text() for index in range(2)] == ["x", "x"]
    assert sorted(asyncio.run(committed(stage, run))) == [0, 1]
    stage.wait_run(stage.submit(a_run(stage.name, ANSWER)), "Succeeded")


async def committed(stage, run) -> list[int]:
    """Every record that the manifest has, in the order of writing."""
    store, uid = open_store(stage.store), run["metadata"]["uid"]
    records = await read_records(store, await accepted_keys(store, stage.uid, uid))
    return [record.index for record in records]


def test_fewer_nodes_are_planned_for_when_the_environment_is_scaled(stage):
    stage.kubectl("scale", f"computeenvironment/{stage.name}", "--replicas=1")
    stage.kubectl.wait(
        f"computeenvironment/{stage.name}", "jsonpath={.status.partitioning.count}=1"
    )
    run = stage.wait_run(stage.submit(a_run(stage.name, ANSWER)), "Succeeded")
    assert results_of(run) == {0: 42}


def test_layer_of_the_catalogue_is_staged_and_seen_by_the_function(stage, tmp_path):
    spec = raster_spec()
    path = write_raster(tmp_path / "dem.tif", spec)
    stamp = {"id": "2024", "uri": str(path)}
    stage.kubectl.apply(
        {
            "apiVersion": "geopod.dev/v1alpha1",
            "kind": "Layer",
            "metadata": {"name": "dem"},
            "spec": {"type": "raster", "timestamps": [stamp]},
        }
    )
    layers = [{"pathId": "dem", "timestampId": "2024"}]
    patch = json.dumps({"spec": {"layers": layers}})
    stage.kubectl("patch", "computeenvironment", stage.name, "--type=merge", f"-p={patch}")
    stage.kubectl.wait(
        f"computeenvironment/{stage.name}", "jsonpath={.status.layers[*].state}=Resolved"
    )
    text = "def f(params):\n    return int(params['2024']['raster'].sum())\n"
    run = stage.wait_run(stage.submit(a_run(stage.name, text)), "Succeeded")
    assert sum(results_of(run).values()) == int(spec.values().sum())


def test_agent_that_is_told_to_end_hands_its_task_back(stage, tmp_path):
    name = stage.submit(a_run(stage.name, NOTE_AND_WAIT.format(folder=tmp_path)))
    until((tmp_path / "began-0").exists)
    agent = next(it for it in stage.children if it.args[-2] == "geopod.agent")
    agent.terminate()
    assert agent.wait(120) == 0
    assert not (stage.node_root(0) / deployment.READY_FILE.lstrip("/")).exists()
    (tmp_path / "go").touch()
    stage.start_node(0)
    run = stage.wait_run(name, "Succeeded")
    assert results_of(run) == {0: 0}
    assert (tmp_path / "began-0").read_text() == "xx"


@TWO_USERS
def test_two_users_hand_over_a_file_through_the_gateway(space):
    text = "import os\ndef f(params):\n    return os.getuid().to_bytes(4, 'big') * (2 << 20)\n"
    with a_stage(space, two_users=True, has_gateway=True, nodes=1, largeResult=True) as stage:
        stage.start_gateway()
        stage.start_coordinator()
        stage.start_node(0)
        stage.wait_ready(1)
        ready = stage.node_root(0) / deployment.READY_FILE.lstrip("/")
        assert ready.exists()
        run = stage.wait_run(stage.submit(a_run(stage.name, text)), "Succeeded")
        data = asyncio.run(result_bytes(stage, run))
        assert data == deployment.RUNNER_UID.to_bytes(4, "big") * (2 << 20)
        assert not list((stage.node_root(0) / "scratch" / "tasks").rglob("*.bin"))


async def result_bytes(stage, run) -> bytes:
    """The first result, read with nothing but what the run's status gives."""
    token = run["status"]["results"]["token"]
    store = open_store(stage.store, token_file=lambda: token, cache=stage.home / "cache")
    try:
        keys = await accepted_keys(store, stage.uid, run["metadata"]["uid"])
        (record,) = await read_records(store, keys)
        assert record.entry is not None
        return await read_result(store, record.entry)
    finally:
        await store.close()


def test_status_of_a_run_is_small(stage):
    run = stage.wait_run(stage.submit(a_run(stage.name, ANSWER)), "Succeeded")
    assert len(json.dumps(run["status"])) < 16_000
