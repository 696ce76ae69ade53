"""The operator as a process of this machine, and pods that run on simulated nodes alone.

They run anything at once: no image of geopod is needed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

from cluster.process_builders import until
from port_builders import free_port

IMAGE = "registry.example/{}@sha256:" + "0" * 64
STOP_S = 120


def a_runtime(name):
    interpreter = {"name": "python3.12", "image": IMAGE.format("runtime"), "abi": "cp312"}
    interpreter |= {"python": "/usr/bin/python3", "basePackages": True}
    return {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": "ComputeRuntime",
        "metadata": {"name": name},
        "spec": {"interpreters": [interpreter]},
    }


def an_environment(runtime, name="e1", **spec):
    return {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": "ComputeEnvironment",
        "metadata": {"name": name},
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
    """A running operator that watches one namespace."""

    def __init__(self, namespace, folder, **variables):
        self.port = free_port()
        self.log = folder / "operator.log"
        key = folder / "key"
        key.write_bytes(bytes(range(32)))
        environ = os.environ | {
            "KUBECONFIG": str(namespace.kubeconfig),
            "GEOPOD_SIGNING_KEY_FILE": str(key),
            "GEOPOD_AGENT_IMAGE": IMAGE.format("agent"),
            "GEOPOD_STORE": "http://geopod-gateway.geopod-system.svc:8080",
            "GEOPOD_GATEWAY_NAMESPACE": "geopod-system",
            "GEOPOD_WATCH_NAMESPACES": namespace.namespace,
            "GEOPOD_METRICS_PORT": str(self.port),
            **variables,
        }
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "geopod_operator"], env=environ, stdout=log, stderr=log
            )

    def answer(self, path):
        """Status and text of a probe; 0: nobody listens yet."""
        assert self.child.poll() is None, self.log.read_text("utf-8")
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=60) as said:
                return said.status, said.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def writes(self):
        """How many writes the API server has answered, of everything but runtimes."""
        writing = ('verb="create"', 'verb="patch"', 'verb="delete"')
        requests = self.samples("geopod_api_requests_total")
        own = ((name, value) for name, value in requests if "ComputeRuntime" not in name)
        return int(sum(value for name, value in own if any(verb in name for verb in writing)))

    def counted(self, metric):
        """The sum of a metric over all its labels."""
        return int(sum(value for _, value in self.samples(metric)))

    def samples(self, metric):
        """Name with labels, and value, of each sample of a metric."""
        for line in self.answer("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name.partition("{")[0] == metric:
                yield name, float(value)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(STOP_S)


@contextmanager
def operating(namespace, folder, **variables):
    process = Process(namespace, folder, **variables)
    try:
        until(lambda: process.answer("/readyz")[0] == 200, timeout_s=180)
        yield process
        assert process.stop() == 0, process.log.read_text("utf-8")
    finally:
        if process.child.poll() is None:
            process.child.kill()
            process.child.wait()


@contextmanager
def without_the_installed_one(kubectl):
    """No other operator works meanwhile: two of different images would change each other's work."""
    system = kubectl.within("geopod-system")
    deployment = "deployment/geopod-operator"
    is_there = bool(system("get", deployment, "--ignore-not-found", "-o=name"))
    if is_there:
        system("scale", deployment, "--replicas=0")
        chosen = "--selector=app.kubernetes.io/component=operator"
        system("wait", "pod", chosen, "--for=delete", "--timeout=180s", timeout_s=190)
    try:
        yield
    finally:
        if is_there:
            system("scale", deployment, "--replicas=1")
            system("rollout", "status", deployment, "--timeout=180s", timeout_s=190)
