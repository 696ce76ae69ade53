"""Environments that cannot become ready, each for a reason of its own, and what is said of each."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.namespace_builders import a_namespace
from cluster.testcluster.kubectl import Kubectl

API_VERSION = "geopod.dev/v1alpha1"
MINOR = "python3.13"
SCRIPT = "sitecustomize.py"
"""Read by every Python that starts with its folder in PYTHONPATH."""
BAD_START = """\
import os, signal, sys

match os.environ.get("TROUBLE"):
    case "crash":
        sys.stderr.write("the licence file is missing\\n")
        sys.stderr.flush()
        os._exit(3)
    case "memory":
        kept = []
        while True:
            kept.append(b"1" * (1 << 24))
    case "disk":
        with open("/tmp/filling", "wb") as filling:
            for _ in range(8):
                filling.write(b"1" * (1 << 24))
        signal.pause()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One environment, and the condition, reason and sentence that its user shall read."""

    spec: Mapping[str, Any]
    condition: str
    reason: str
    words: str
    """A pattern that the sentence matches."""
    stalls: bool = False
    """Whether it needs a person, and says so."""
    event: str = ""
    """Reason of the Event that tells of it, if one does."""
    runtime: Mapping[str, Any] = field(default_factory=dict)
    """What its ComputeRuntime has beside the cluster's own; `image` and `python` of each Python."""
    namespace: tuple[Mapping[str, Any], ...] = ()
    """Objects that its namespace has; empty: it shares one with others."""

    def told_by(self, environment: dict[str, Any]) -> bool:
        """Whether the resource says all that it should: the condition, and Ready in its words."""
        said = {it["type"]: it for it in environment.get("status", {}).get("conditions", ())}
        cause, ready = said.get(self.condition), said.get("Ready")
        stalled = said.get("Stalled", {}).get("status") == "True"
        if cause is None or ready is None or stalled is not self.stalls:
            return False
        return (cause["status"], cause["reason"]) == ("False", self.reason) == (
            ready["status"],
            ready["reason"],
        ) and re.search(self.words, ready["message"], re.DOTALL) is not None


def _bad_start(word: str, **spec: Any) -> dict[str, Any]:
    """An environment whose runner does something bad as soon as its Python starts."""
    volume = {"name": "trouble", "configMap": {"name": "trouble"}}
    mount = {"name": "trouble", "mountPath": "/trouble", "readOnly": True}
    return {
        "env": [{"name": "PYTHONPATH", "value": "/trouble"}, {"name": "TROUBLE", "value": word}],
        "template": {"volumes": [volume], "volumeMounts": [mount]},
        **spec,
    }


def _object(kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **content}


SCRIPTS = _object("ConfigMap", "trouble", data={SCRIPT: BAD_START})
"""What the runners of `_bad_start` read."""
QUOTA = _object("ResourceQuota", "small", spec={"hard": {"pods": "2"}})
LIMITS = _object(
    "LimitRange", "tight", spec={"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}
)
SECRET = {"name": "KEY", "secretKeyRef": {"name": "no-such-secret", "key": "word"}}
SHARE = {"name": "share", "nfs": {"server": "192.0.2.1", "path": "/"}}
"""An administrator may give it to all nodes of a runtime; a Restricted namespace takes none."""
NODES = "NodesReady"

TROUBLES: Mapping[str, Trouble] = {
    "bad-image": Trouble(
        spec={},
        runtime={"image": "{registry}/no-such-image@sha256:" + "0" * 64},
        condition=NODES,
        reason="ImagePullFailed",
        words=r"image \S+/no-such-image\S+ cannot be pulled on 1/1 nodes: .*not found.*"
        r"Check ComputeRuntime \S+ and imagePullSecrets",
        stalls=True,
        event="ImagePullFailed",
    ),
    "missing-secret": Trouble(
        spec={"env": [SECRET]},
        condition=NODES,
        reason="PodRefused",
        words=r'secret "no-such-secret" not found\. Secret or key named in spec\.env or '
        r"spec\.secrets is missing",
        stalls=True,
    ),
    "quota": Trouble(
        spec={"nodes": 3},
        namespace=(QUOTA,),
        condition=NODES,
        reason="QuotaExceeded",
        words=r"quota small in \S+ refuses pods: .*\. 1 of 3 nodes fit; lower spec\.nodes or raise",
        event="QuotaExceeded",
    ),
    "limit-range": Trouble(
        spec={"resources": {"cpu": "20m", "memory": "2Gi"}},
        namespace=(LIMITS,),
        condition=NODES,
        reason="PodRefused",
        words=r"the namespace refuses the pod: maximum memory usage per Container is 1Gi",
        stalls=True,
    ),
    "pod-security": Trouble(
        spec={},
        runtime={"podTemplate": {"volumes": [SHARE]}},
        condition=NODES,
        reason="PodRefused",
        words=r'the namespace refuses the pod: violates PodSecurity "restricted:\S+": restricted '
        r'volume types \(volume "share" uses restricted volume type "nfs"\)',
        stalls=True,
    ),
    "no-gpu": Trouble(
        spec={"enableGpu": True, "gpu": {"resourceName": "nvidia.com/gpu", "count": 16}},
        condition=NODES,
        reason="Unschedulable",
        words=r"1/1 nodes wait for a place: .*Insufficient nvidia\.com/gpu.*Each asks .*"
        r"16 nvidia\.com/gpu\. No machine has room for so much nvidia\.com/gpu",
        event="Unschedulable",
    ),
    "crash": Trouble(
        spec=_bad_start("crash"),
        condition=NODES,
        reason="CrashLoop",
        words=r"crash-node-0/runner exited 3 \(no signal\) \d+ times: the licence file is missing",
    ),
    "memory": Trouble(
        spec=_bad_start("memory", resources={"cpu": "20m", "memory": "128Mi"}),
        condition=NODES,
        reason="OutOfMemory",
        words=r"node 0 went over 128Mi \d+ times\. Raise spec\.resources\.memory or spec\.nodes",
        event="OutOfMemory",
    ),
    "disk": Trouble(
        spec=_bad_start(
            "disk", resources={"cpu": "20m", "memory": "256Mi", "ephemeralStorage": "32Mi"}
        ),
        condition=NODES,
        reason="PodRefused",
        words=r"node 0 used more than 32Mi of scratch: .*Raise spec\.resources\.ephemeralStorage",
        stalls=True,
    ),
    "no-package": Trouble(
        spec={"requirements": ["there-is-no-such-package-1f2e"]},
        condition="DependenciesReady",
        reason="ResolutionFailed",
        words=r"requirements cannot be installed for python3\.13 \S+: .*"
        r"there-is-no-such-package-1f2e",
        stalls=True,
        event="DependencyInstallFailed",
    ),
    "no-index": Trouble(
        spec={"requirements": ["six"]},
        runtime={"index": {"url": "http://{host}:1/simple"}},
        condition="DependenciesReady",
        reason="IndexUnreachable",
        words=r"the package index http://\S+:1/simple does not answer: .*Next try in \d+ s",
        event="DependencyInstallFailed",
    ),
    "no-python": Trouble(
        spec={"interpreter": "python3.99"},
        condition="Accepted",
        reason="UnknownInterpreter",
        words=r"ComputeRuntime default does not offer python3\.99\. Offered: .*python3\.13",
        stalls=True,
    ),
    "no-runtime": Trouble(
        spec={"runtime": "no-such-runtime"},
        condition="Accepted",
        reason="RuntimeNotFound",
        words=r"no ComputeRuntime 'no-such-runtime' \(there are: .*default",
        stalls=True,
    ),
    "no-layer": Trouble(
        spec={"layers": [{"pathId": "no-such-layer"}]},
        condition="Accepted",
        reason="LayerNotFound",
        words="no-such-layer",
        stalls=True,
    ),
}
"""Name of the environment → what is wrong with it."""


def an_environment(name: str, trouble: Trouble, runtime: str) -> dict[str, Any]:
    """The ComputeEnvironment."""
    small = {"cpu": "20m", "memory": "256Mi"}
    spec = {"nodes": 1, "interpreter": MINOR, "runtime": runtime, "resources": small}
    return {
        "apiVersion": API_VERSION,
        "kind": "ComputeEnvironment",
        "metadata": {"name": name},
        "spec": {**spec, **trouble.spec},
    }


def a_runtime(
    name: str, trouble: Trouble, usual: Mapping[str, Any], addresses: Mapping[str, str]
) -> dict[str, Any]:
    """The trouble's own ComputeRuntime: the usual one but for what is wrong."""
    spec = {**usual}
    for key, value in trouble.runtime.items():
        if key == "image":
            image = value.format(**addresses)
            spec["interpreters"] = [{**it, "image": image} for it in usual["interpreters"]]
        else:
            spec[key] = {
                part: it.format(**addresses) if isinstance(it, str) else it
                for part, it in value.items()
            }
    return {
        "apiVersion": API_VERSION,
        "kind": "ComputeRuntime",
        "metadata": {"name": name},
        "spec": spec,
    }


@dataclass(frozen=True, slots=True)
class Ward:
    """Where the sick environments are."""

    kubectl: Kubectl
    names: Mapping[str, Kubectl]
    """Environment → kubectl of its namespace."""
    runtimes: tuple[str, ...]

    def environment(self, name: str) -> dict[str, Any]:
        return self.names[name].get("computeenvironment", name)

    def end(self) -> None:
        """Delete all of it, without waiting."""
        spaces = sorted({kubectl.namespace for kubectl in self.names.values()})
        self.kubectl("delete", "namespace", *spaces, "--wait=false", "--ignore-not-found")
        self.kubectl("delete", "computeruntime", *self.runtimes, "--ignore-not-found")


def open_ward(kubectl: Kubectl, addresses: Mapping[str, str]) -> Ward:
    """Create all environments at once."""
    mark = secrets.token_hex(4)
    usual = kubectl.get("computeruntime", "default")["spec"]
    runtimes = {name: f"{name}-{mark}" for name, it in TROUBLES.items() if it.runtime}
    spaces = {
        name: f"trouble-{mark}-{name}" if trouble.namespace else f"trouble-{mark}"
        for name, trouble in TROUBLES.items()
    }
    kubectl.apply(
        *(a_runtime(runtimes[name], TROUBLES[name], usual, addresses) for name in runtimes),
        *(a_namespace(space) for space in sorted(set(spaces.values()))),
    )
    within = {name: kubectl.within(space) for name, space in spaces.items()}
    for name, trouble in TROUBLES.items():
        within[name].apply(
            *(SCRIPTS, *trouble.namespace),
            an_environment(name, trouble, runtimes.get(name, "default")),
        )
    return Ward(kubectl, within, tuple(runtimes.values()))
