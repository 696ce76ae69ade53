"""Kills on a real Kubernetes while runs go on: each result once, an end for each run, no orphan.

The kills that every phase of a run meets are in tests/conformance/test_chaos.py; here die what only
a cluster has: containers and pods, a whole node, the operator, the builder, the API server.
"""

from __future__ import annotations

import os
import random
import signal
import time
import uuid

import geopod
import pytest
from cluster.kill_builders import (
    SYSTEM,
    api_server,
    component,
    kill_container,
    kill_pod,
    pods,
    stopped,
    wait_until,
)
from cluster.process_builders import a_environment
from cluster.testcluster.places import Places
from wheel_builders import a_wheel

MINOR = "python3.13"
TASKS = 16
"""Of a quarter of a second each."""
AWAY_S = float(os.environ.get("GEOPOD_CHAOS_AWAY_S", "8"))
"""How long the API server stands still; `make chaos` takes 30 s."""
ROUNDS = int(os.environ.get("GEOPOD_CHAOS_ROUNDS", "1"))
"""A container that dies often is started again later and later: `make chaos` takes more."""
SMALL = {"interpreter": MINOR, "memory": "512Mi", "cpus": 0.2, "progress": False}
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "operator": "Exists"}
REPLACED = {
    "interpreter": MINOR, "resources": {"memory": "512Mi", "cpu": "200m"},
    "nodeFailurePolicy": "Replace", "replaceAfterSeconds": 30,
    "template": {"tolerations": [UNREACHABLE | {"effect": "NoExecute", "tolerationSeconds": 1}]},
}  # fmt: skip  # a matter per line
"""An environment whose pods are soon given up with their machine."""
VICTIMS = ("coordinator", "agent", "runner", "node", "gateway", "operator", "api server")


def slow_square(number):
    """Return the square of a number, after a quarter of a second."""
    import time

    time.sleep(0.25)  # noqa: TID251  # the work
    return number * number


def submit(environment, tasks=TASKS):
    """A run that has its first result."""
    arguments = [(number,) for number in range(tasks)]
    run = environment.submit_map(slow_square, arguments, retries=geopod.Retry(limit=10))
    next(iter(run.as_completed(timeout=120)))
    return run


def check(run, tasks=TASKS):
    run.wait(240, progress=False)
    assert run.results() == [number * number for number in range(tasks)]
    assert run.counts["succeeded"] == tasks


@pytest.fixture(scope="module")
def doomed(kubectl):
    """The node that is lost: not the one with the store, which ends with its pod here."""
    (store,) = pods(kubectl.within(SYSTEM), component("gateway"))
    name = next(f"node-{k}" for k in (0, 1) if f"node-{k}" != store["spec"]["nodeName"])
    yield name
    kubectl("uncordon", name)


@pytest.fixture(scope="module")
def survivor(doomed):
    return "node-0" if doomed == "node-1" else "node-1"


@pytest.fixture(scope="module")
def run_on_a_lost_node(client, home, kubectl, doomed, survivor, process_cluster):
    """A run of two nodes on two machines; the second has been without power since it began."""
    system = kubectl.within(SYSTEM)
    kubectl("cordon", doomed)
    (operator,) = pods(system, component("operator"))
    kill_pod(system, operator["metadata"]["name"])  # it comes again where it stays
    home.apply(a_environment("far", nodes=1, **REPLACED))
    far = client.get_environment("far")
    far.wait_ready(progress=False)
    kubectl("uncordon", doomed)
    kubectl("cordon", survivor)
    far.scale(2)
    far.wait_ready(progress=False)
    kubectl("uncordon", survivor)
    run = submit(far)
    down = Places.of(process_cluster).node_down(int(doomed.removeprefix("node-")))
    down.touch()
    kubectl("cordon", doomed)  # before anybody has noticed
    yield run
    down.unlink()
    kubectl.wait(f"node/{doomed}", "condition=Ready")


@pytest.fixture(scope="module")
def environment(client, run_on_a_lost_node, home):
    """An environment to kill in, once Kubernetes has given the lost node's pod up.

    It tries that for some milliseconds and never again: not while the API server is killed.
    """
    made = client.environment("near", nodes=2, **SMALL)
    far = component("node", environment="far")
    wait_until(lambda: len(pods(home, far)) == 1)
    return made


def kill(victim, home, kubectl, cluster_name):
    """Kill one victim, and say nothing to anybody."""
    system, node = kubectl.within(SYSTEM), component("node", environment="near")
    match victim:
        case "coordinator":
            kill_container(home, component("coordinator", environment="near"), "coordinator")
        case "agent" | "runner":
            kill_container(home, node, victim, index=("agent", "runner").index(victim))
        case "node":
            kill_pod(home, "near-node-1")
        case "gateway" | "operator":
            kill_container(system, component(victim), victim)
        case _:
            os.kill(api_server(cluster_name), signal.SIGKILL)


def test_environment_is_built_though_builder_operator_and_gateway_die(
    client, home, kubectl, process_cluster
):
    name = f"geopodchaos{uuid.uuid4().hex[:8]}"
    a_wheel(Places.of(process_cluster).data("index"), name)
    built = client.environment("built", nodes=1, requirements=[name], wait=False, **SMALL)
    builders = []
    wait_until(lambda: builders.extend(pods(home, component("builder"))) or builders)
    kill_pod(home, builders[0]["metadata"]["name"])
    kill_container(kubectl.within(SYSTEM), component("operator"), "operator")
    kill_container(kubectl.within(SYSTEM), component("gateway"), "gateway")
    built.wait_ready(progress=False)

    def version(params):
        return __import__(name).VERSION

    assert built.execute(version, progress=False) == ["1.0"]
    built.delete()  # while both machines are there: one has no CPU for this environment too


def test_every_result_counts_once_whatever_is_killed(
    environment, client, home, kubectl, process_cluster
):
    chance = random.Random(f"cluster {os.environ.get('GEOPOD_SEED', '')}")  # noqa: S311  # moments, no secrets
    runs = []
    for _ in range(ROUNDS):
        for victim in chance.sample(VICTIMS, len(VICTIMS)):
            runs.append(submit(environment))
            time.sleep(chance.uniform(0.0, 0.5))  # noqa: TID251  # a random moment
            kill(victim, home, kubectl, process_cluster)
    for run in runs:
        check(run)
    wait_until(lambda: everything_is_ready(home))


def everything_is_ready(home):
    """Two nodes, one coordinator, nothing else: no orphan."""
    found = pods(home, "app.kubernetes.io/instance=near")
    return len(found) == 3 and all(
        status["ready"] for pod in found for status in pod["status"].get("containerStatuses", ())
    )


def test_run_goes_on_while_the_api_server_stands_still(environment, process_cluster):
    run = submit(environment)
    with stopped(api_server(process_cluster)):
        time.sleep(AWAY_S)  # noqa: TID251  # the outage itself
    check(run)


def test_lost_node_costs_no_result(run_on_a_lost_node):
    check(run_on_a_lost_node)


def test_pod_of_a_lost_node_is_replaced_elsewhere(run_on_a_lost_node, home, survivor):
    nodes = component("node", environment="far")
    where = [survivor] * 2
    wait_until(
        lambda: [it["spec"].get("nodeName") for it in pods(home, nodes)] == where, timeout_s=300
    )
    home.wait("cenv/far", "condition=Ready")
