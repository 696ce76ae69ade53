"""The operator as a process of this machine against a real API server, and a whole life.

Its pods are placed on simulated nodes, which run anything: no image of geopod is needed. The
coordinator's half of the status is written by hand.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from cluster.process_builders import condition_of, free_port, until
from cluster.testcluster.image_contexts import PROJECT

NAME = "e1"
IMAGE = "registry.example/{}@sha256:" + "0" * 64
CHILDREN = (
    "deployments,statefulsets,services,serviceaccounts,roles,rolebindings,networkpolicies,"
    "poddisruptionbudgets,pods"
)
OURS = "--selector=app.kubernetes.io/managed-by=geopod"
STOP_S = 60


def a_runtime(name):
    interpreter = {"name": "python3.12", "image": IMAGE.format("runtime"), "abi": "cp312"}
    interpreter |= {"python": "/usr/bin/python3", "basePackages": True}
    return {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": "ComputeRuntime",
        "metadata": {"name": name},
        "spec": {"interpreters": [interpreter]},
    }


def an_environment(runtime, **spec):
    return {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": "ComputeEnvironment",
        "metadata": {"name": NAME},
        "spec": {"runtime": runtime, "nodes": 2, **spec},
    }


def a_placement(name, namespace):
    """Every pod of a namespace goes to a simulated node, whatever it asks for."""
    patches = '[JSONPatch{op: "add", path: "/spec/nodeName", value: "simulated-0"}]'
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    policy = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [pods | {"resources": ["pods"]}]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patches}}],
    }
    where = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding = {"policyName": name, "matchResources": {"namespaceSelector": where}}
    return (
        {**kind, "kind": "MutatingAdmissionPolicy", "spec": policy},
        {**kind, "kind": "MutatingAdmissionPolicyBinding", "spec": binding},
    )


@pytest.fixture
def runtime(process_cluster, kubectl, namespace):
    """A ComputeRuntime; the namespace's pods run on simulated nodes."""
    if "mutatingadmissionpolicies" not in kubectl("api-resources", "--output=name"):
        pytest.skip("this Kubernetes has no MutatingAdmissionPolicy: pods cannot be placed")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(PROJECT / "crds"))
    name = f"runtime-{secrets.token_hex(4)}"
    placement = a_placement(name, namespace.namespace)
    kubectl.apply(a_runtime(name), *placement)
    until(lambda: places_pods(namespace))
    yield name
    kubectl("delete", "computeruntime", name)
    for each in placement:
        kubectl("delete", each["kind"].lower(), name)


def places_pods(namespace):
    """Whether the policy holds already: the API server takes a moment."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "placed"}}
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "c", "image": "none", "securityContext": confined}
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod["spec"] = {"containers": [container], "securityContext": security}
    told = namespace("create", "--dry-run=server", "-o=json", "-f", "-", stdin=json.dumps(pod))
    return json.loads(told)["spec"].get("nodeName") == "simulated-0"


class Process:
    """A running operator."""

    def __init__(self, namespace, folder):
        self.port = free_port()
        self.log = folder / "operator.log"
        key = folder / "key"
        key.write_bytes(bytes(range(32)))
        variables = os.environ | {
            "KUBECONFIG": str(namespace.kubeconfig),
            "GEOPOD_SIGNING_KEY_FILE": str(key),
            "GEOPOD_AGENT_IMAGE": IMAGE.format("agent"),
            "GEOPOD_STORE": "http://geopod-gateway.geopod-system.svc:8080",
            "GEOPOD_GATEWAY_NAMESPACE": "geopod-system",
            "GEOPOD_WATCH_NAMESPACES": namespace.namespace,
            "GEOPOD_METRICS_PORT": str(self.port),
        }
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "geopod_operator"], env=variables, stdout=log, stderr=log
            )

    def answer(self, path):
        """Status and text of a probe; 0: nobody listens yet."""
        assert self.child.poll() is None, self.log.read_text("utf-8")
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=5) as said:
                return said.status, said.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def writes(self):
        """How many writes the API server has answered, of everything but runtimes."""
        counted = 0.0
        for line in self.answer("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if not name.startswith("geopod_api_requests_total") or "ComputeRuntime" in name:
                continue
            if any(f'verb="{verb}"' in name for verb in ("create", "patch", "delete")):
                counted += float(value)
        return int(counted)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(STOP_S)


@contextmanager
def operating(namespace, folder):
    process = Process(namespace, folder)
    try:
        until(lambda: process.answer("/readyz")[0] == 200, timeout_s=90)
        yield process
        assert process.stop() == 0, process.log.read_text("utf-8")
    finally:
        if process.child.poll() is None:
            process.child.kill()
            process.child.wait()


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
        namespace.apply(an_environment(runtime))
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
        until(lambda: is_gone(namespace), timeout_s=90)
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
        timeout=30,
    )
    assert done.returncode == 1
    assert "GEOPOD_AGENT_IMAGE" in done.stderr
    assert "fix:" in done.stderr
