"""The operator as a process of this machine against a real API server, and a whole life.

Its pods are placed on simulated nodes, which run anything: no image of geopod is needed. The
coordinator's half of the status is written by hand.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

import pytest
from cluster.process_builders import condition_of, until
from cluster.simulated_builders import (
    a_placement,
    a_runtime,
    an_environment,
    operating,
    places_pods,
    without_the_installed_one,
)

NAME = "e1"
CHILDREN = (
    "deployments,statefulsets,services,serviceaccounts,roles,rolebindings,networkpolicies,"
    "poddisruptionbudgets,pods"
)
OURS = "--selector=app.kubernetes.io/managed-by=geopod"
LAYER = {
    "apiVersion": "geopod.dev/v1alpha1",
    "kind": "Layer",
    "metadata": {"name": "dem"},
    "spec": {"type": "raster", "timestamps": [{"id": "1", "uri": "s3://bucket/dem.tif"}]},
}
"""Never read: the coordinators here are simulated."""


@pytest.fixture(scope="module", autouse=True)
def alone(process_cluster, kubectl, definitions):
    with without_the_installed_one(kubectl):
        yield


@pytest.fixture
def runtime(process_cluster, kubectl, namespace):
    """A ComputeRuntime; the namespace's pods run on simulated nodes."""
    if "mutatingadmissionpolicies" not in kubectl("api-resources", "--output=name"):
        pytest.skip("this Kubernetes has no MutatingAdmissionPolicy: pods cannot be placed")
    name = f"runtime-{secrets.token_hex(4)}"
    placement = a_placement(name, namespace.namespace)
    kubectl.apply(a_runtime(name), *placement)
    until(lambda: places_pods(namespace))
    yield name
    kubectl("delete", "computeruntime", name)
    for each in placement:
        kubectl("delete", each["kind"].lower(), name)


def tell_layers_resolved(namespace, nodes):
    """Write what a coordinator writes."""
    environment = namespace.get("computeenvironment", NAME)
    moment = environment["metadata"]["creationTimestamp"]
    resolved = {"type": "LayersResolved", "status": "True", "reason": "Resolved"}
    resolved |= {"observedGeneration": environment["metadata"]["generation"]}
    resolved |= {"message": "the plan is stored.", "lastTransitionTime": moment}
    counts = {"connected": nodes, "ready": nodes, "busy": 0, "idle": nodes, "outdated": 0}
    status = {"conditions": [resolved], "nodes": counts}
    status["coordinator"] = {"pod": "c", "epoch": 1, "startTime": moment, "protocol": 1}
    manifest = {
        "apiVersion": environment["apiVersion"],
        "kind": environment["kind"],
        "metadata": {"name": NAME},
        "status": status,
    }
    how = ("--server-side", "--subresource=status", "--field-manager=geopod-coordinator")
    namespace("apply", *how, "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))


def replicas(namespace, number):
    namespace.wait(f"statefulset/{NAME}-node", f"jsonpath={{.status.readyReplicas}}={number}")


def is_gone(namespace):
    return not namespace.get(CHILDREN, OURS)["items"]


def test_environment_lives_its_whole_life(runtime, namespace, tmp_path):
    with operating(namespace, tmp_path) as operator:
        before = operator.writes()
        layers = [{"pathId": "dem", "timestampId": "1"}]
        namespace.apply(LAYER, an_environment(runtime, layers=layers))
        namespace.wait(f"deployment/{NAME}-coordinator", "create")
        namespace.wait(f"computeenvironment/{NAME}", "condition=CoordinatorReady")
        assert namespace.get("secret", f"{NAME}-link")["data"].keys() >= {"link-key"}
        assert namespace.get("statefulset", OURS)["items"] == []

        tell_layers_resolved(namespace, 2)
        namespace.wait(f"statefulset/{NAME}-node", "create")
        assert operator.writes() - before <= 30
        replicas(namespace, 2)
        namespace.wait(f"computeenvironment/{NAME}", "condition=Ready")

        namespace("scale", "computeenvironment", NAME, "--replicas=3")
        tell_layers_resolved(namespace, 3)
        replicas(namespace, 3)
        namespace.wait(f"computeenvironment/{NAME}", "condition=Ready")

        namespace("patch", "computeenvironment", NAME, "--type=merge", "-p", suspended("true"))
        namespace.wait(f"computeenvironment/{NAME}", "condition=Suspended")
        namespace.wait(f"statefulset/{NAME}-node", "jsonpath={.spec.replicas}=0")
        namespace("patch", "computeenvironment", NAME, "--type=merge", "-p", suspended("false"))
        namespace.wait(f"computeenvironment/{NAME}", "condition=CoordinatorReady")
        tell_layers_resolved(namespace, 3)
        replicas(namespace, 3)

        namespace("delete", "computeenvironment", NAME)
        until(lambda: is_gone(namespace))
        assert operator.answer("/livez") == (200, "ok\n")


def suspended(value):
    return f'{{"spec": {{"suspend": {value}}}}}'


def test_restarted_operator_heals_what_was_deleted_and_changes_nothing_else(
    runtime, namespace, tmp_path
):
    with operating(namespace, tmp_path):
        namespace.apply(an_environment(runtime))
        namespace.wait(f"computeenvironment/{NAME}", "condition=CoordinatorReady")
    before = versions(namespace)
    namespace("delete", "service", f"{NAME}-nodes")
    with operating(namespace, tmp_path):
        namespace.wait(f"service/{NAME}-nodes", "create")
    after = versions(namespace)
    assert {name for name in before if after[name] != before[name]} == {("Service", "e1-nodes")}
    assert condition_of(namespace.get("computeenvironment", NAME), "Accepted")[0] == "True"


def versions(namespace):
    kinds = "services,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets"
    return {
        (it["kind"], it["metadata"]["name"]): it["metadata"]["resourceVersion"]
        for it in namespace.get(kinds, OURS)["items"]
        if it["kind"] != "PodDisruptionBudget"
    }


def test_missing_setting_is_one_sentence_with_the_fix(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    variables = {"GEOPOD_SIGNING_KEY_FILE": str(key), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "geopod_operator"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "GEOPOD_AGENT_IMAGE" in done.stderr
    assert "fix:" in done.stderr


def settled(namespace, operator):
    """Wait until all nodes are there and the operator writes nothing any more."""
    counts = []

    def is_quiet():
        counts.append((operator.writes(), namespace("get", "cenv", "-o", UNTOLD)))
        return counts[-QUIET:] == [(counts[-1][0], "")] * QUIET

    until(is_quiet, timeout_s=400)


QUIET = 5
"""So many looks in a row, each a call of kubectl, tell the same."""
UNTOLD = "jsonpath={.items[?(@.status.replicas!=@.spec.nodes)].metadata.name}"
MANY, LARGE = 12, 50


def test_many_environments_cost_the_same_each_and_nothing_while_they_rest(
    runtime, namespace, tmp_path
):
    with operating(namespace, tmp_path) as operator:
        small = (an_environment(runtime, f"e{number}", nodes=1) for number in range(MANY))
        namespace.apply(*small, an_environment(runtime, "large", nodes=LARGE))
        settled(namespace, operator)
        assert operator.writes() <= 30 * (MANY + 1)
        asked = operator.answer("/metrics")[1]
        assert 'kind="Pod",verb="watch"' not in asked
        assert 'kind="Secret",verb="list"' not in asked
    before = versions(namespace)
    assert len(before) > 5 * MANY
    with operating(namespace, tmp_path) as operator:
        until(lambda: operator.writes() >= 10 * (MANY + 1))
        settled(namespace, operator)
    assert versions(namespace) == before
