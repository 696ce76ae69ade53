"""A world for the operator's plans: valid objects, and an API server of dictionaries.

`World.settle()` plays shell and controllers: it fetches what a plan needs, carries the outcome out
and plans again until nothing is asked for.
"""

from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from api_builders import IMAGE, a_layer_spec, a_runtime_spec, an_environment_spec
from geopod_operator.environment.observed import Observed, Ref, Settings, ref_of
from geopod_operator.environment.reconcile import plan

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
NAMESPACE = "tenant"
UID = "6f1c2f0e-8d5b-4c57-9b1e-2d0f6a7b8c9d"
AGENT_IMAGE = "registry.example/geopod-agent@sha256:" + "a" * 64
DATA = Path(__file__).parent / "data" / "operator"
ROUNDS = 12


def settings(**changes: Any) -> Settings:
    return replace(
        Settings(
            agent_image=AGENT_IMAGE,
            store="http://geopod-gateway.geopod.svc:8080",
            signing_key=b"k" * 32,
            gateway_namespace="geopod",
        ),
        **changes,
    )


def an_environment(name="ndvi", *, annotations=None, generation=1, status=None, **spec) -> dict:
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": UID,
        "generation": generation,
        "creationTimestamp": "2026-11-26T11:59:00Z",
        "annotations": annotations or {},
    }
    environment = {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": "ComputeEnvironment",
        "metadata": metadata,
        "spec": an_environment_spec(**spec),
    }
    return environment | ({"status": status} if status else {})


def a_runtime(**changes) -> dict:
    """A runtime whose image has the base packages, so that nothing needs a builder."""
    offered = {"name": "python3.12", "image": IMAGE, "basePackages": True}
    spec = a_runtime_spec(interpreters=[offered], **changes)
    return {
        "kind": "ComputeRuntime",
        "metadata": {"name": "default", "generation": 1},
        "spec": spec,
    }


def a_layer(name="dem", **changes) -> dict:
    spec = a_layer_spec(**changes)
    return {"kind": "Layer", "metadata": {"name": name, "generation": 1}, "spec": spec}


def a_run(name="run-1", *, phase=None, age_s=30, status=None, **spec) -> dict:
    created = NOW - timedelta(seconds=age_s)
    run = {
        "kind": "ComputeRun",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "generation": 1,
            "creationTimestamp": created.isoformat().replace("+00:00", "Z"),
        },
        "spec": {
            "environment": "ndvi",
            "function": {"format": "cloudpickle", "pythonVersion": "3.12"},
            "queueTimeoutSeconds": 3600,
            **spec,
        },
    }
    said = dict(status or {})
    if phase:
        said["phase"] = phase
    return run | ({"status": said} if said else {})


def recorded(name: str) -> dict:
    """Return objects of a real cluster, trimmed: {"pods", "events", "deployment"}."""
    return json.loads((DATA / f"{name}.json").read_text("utf-8"))


def golden(name: str, text: str) -> str:
    """Return the text kept under `name`; GEOPOD_UPDATE_GOLDEN=1 keeps this one first."""
    path = DATA / "golden" / name
    if os.environ.get("GEOPOD_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return path.read_text("utf-8")


class World:
    """Objects as an API server keeps them, and what the operator remembers."""

    def __init__(self, environment=None, **more):
        self.environment = environment or an_environment()
        self.runtime = more.pop("runtime", a_runtime())
        self.layers = more.pop("layers", [a_layer()])
        self.settings = more.pop("settings", settings())
        self.runs = list(more.pop("runs", []))
        self.now = more.pop("now", NOW)
        assert not more, more
        self.objects: dict[Ref, dict] = {}
        self.known: set[Ref] = set()
        self.applied: dict[Ref, int] = {}
        self.pods: list[dict] = []
        self.events_there: list[dict] = []
        self.pods_listed_at = None
        self.counts_wait_s = 0.0
        self.told: dict[str, datetime] = {}
        self.refused: dict[Ref, str] = {}
        self.log: list[tuple[str, Any]] = []
        self.events: list = []

    # ---- the shell

    def observe(self, *, pods=None, events=None) -> Observed:
        return Observed(
            now=self.now,
            settings=self.settings,
            environment=copy.deepcopy(self.environment),
            runtime=copy.deepcopy(self.runtime),
            runtimes=("default",) if self.runtime else ("gpu",),
            layers=tuple(copy.deepcopy(self.layers)),
            runs=tuple(copy.deepcopy(self.runs)),
            children={ref: copy.deepcopy(self.objects.get(ref)) for ref in self.known},
            applied=dict(self.applied),
            pods=pods,
            events=events,
            pods_listed_at=self.pods_listed_at,
            counts_wait_s=self.counts_wait_s,
            told=dict(self.told),
            refused=dict(self.refused),
        )

    def plan(self):
        """Plan with everything that the plan asks for."""
        pods = events = None
        for _ in range(5):
            outcome = plan(self.observe(pods=pods, events=events))
            if not outcome.needs:
                return outcome
            self.known |= outcome.needs.children
            if outcome.needs.pods:
                self.log.append(("list", outcome.needs.pod_selector))
                pods, events = tuple(self.pods), tuple(self.events_there)
                self.pods_listed_at = self.now
        raise AssertionError(f"never whole: {outcome.needs}")

    def step(self):
        """Plan once and carry it out."""
        outcome = self.plan()
        self.known -= outcome.stale
        for each in outcome.deletes:
            self.log.append(("delete", each.ref))
            self.objects.pop(each.ref, None)
            self.known.discard(each.ref)
            self.pods = [it for it in self.pods if it["metadata"]["name"] != each.ref.name]
            self.runs = [it for it in self.runs if Ref("ComputeRun", _name(it)) != each.ref]
            if each.ref.kind == "ComputeEnvironment":
                return outcome
        for manifest in outcome.applies:
            self._apply(manifest)
        for told in outcome.run_statuses:
            self.log.append(("run", told.name))
            run = next(it for it in self.runs if _name(it) == told.name)
            run["status"] = merged(run.get("status") or {}, told.status)
        if outcome.finalizers is not None:
            self.log.append(("finalizers", outcome.finalizers))
            self.environment["metadata"]["finalizers"] = list(outcome.finalizers)
        if outcome.status is not None:
            self.log.append(("status", "environment"))
            self._write_status(outcome.status)
        for event in outcome.events:
            self.told[event.reason] = self.now
            self.events.append(event)
        return outcome

    def settle(self):
        """Carry plans out until one asks for nothing; return that last one."""
        for _ in range(ROUNDS):
            before = len(self.log)
            outcome = self.step()
            if not any(kind != "list" for kind, _ in self.log[before:]):
                return outcome
        raise AssertionError(f"no fixed point: {self.log[-10:]}")

    def settle_or_end(self):
        """Like `settle`; an environment that deletes itself is at its end."""
        for _ in range(ROUNDS):
            before = len(self.log)
            self.step()
            done = [it for it in self.log[before:] if it[0] != "list"]
            if not done or done[-1] == ("delete", Ref("ComputeEnvironment", "ndvi")):
                return
        raise AssertionError(f"no fixed point: {self.log[-10:]}")

    def _apply(self, manifest):
        ref = ref_of(manifest)
        if ref in self.refused:
            return
        self.log.append(("apply", ref))
        old = self.objects.get(ref)
        new = copy.deepcopy(manifest)
        generation = old["metadata"]["generation"] if old else 0
        if old is None or old.get("spec") != new.get("spec"):
            generation += 1
        new["metadata"]["generation"] = generation
        new["metadata"]["uid"] = old["metadata"]["uid"] if old else f"uid-{ref.kind}-{ref.name}"
        if old and "status" in old:
            new["status"] = old["status"]
        self.objects[ref] = new
        self.known.add(ref)
        self.applied[ref] = generation

    def _write_status(self, status):
        old = self.environment.get("status") or {}
        from geopod_operator.environment.status import OWN

        foreign = {key: value for key, value in old.items() if key not in OWN}
        kept = [it for it in old.get("conditions", []) if it["type"] == "LayersResolved"]
        self.environment["status"] = (
            foreign | status | {"conditions": [*status["conditions"], *kept]}
        )

    # ---- the controllers and the coordinator

    @property
    def stateful_set(self) -> dict | None:
        return self.objects.get(Ref("StatefulSet", f"{_name(self.environment)}-node"))

    @property
    def deployment(self) -> dict | None:
        return self.objects.get(Ref("Deployment", f"{_name(self.environment)}-coordinator"))

    def start_coordinator(self, **status):
        """The coordinator is up and has made its plan."""
        self.deployment["status"] = {"availableReplicas": 1, "replicas": 1}
        self.coordinator_says(coordinator={"pod": "c-1", "epoch": 1, "protocol": 1}, **status)
        self.layers_resolved()

    def stop_coordinator(self):
        self.deployment["status"] = {"replicas": 0}

    def layers_resolved(self, *, status="True", reason="Planned", message="planned."):
        said = self.environment.setdefault("status", {}).setdefault("conditions", [])
        said[:] = [it for it in said if it["type"] != "LayersResolved"]
        said.append({
            "type": "LayersResolved",
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": self.environment["metadata"]["generation"],
            "lastTransitionTime": "2026-11-26T11:59:30Z",
        })  # fmt: skip

    def coordinator_says(self, **status):
        self.environment.setdefault("status", {}).update(status)

    def start_nodes(self, ready=None):
        """Pods of the StatefulSet as asked for, `ready` of them ready (all of them: None)."""
        replicas = self.stateful_set["spec"]["replicas"]
        ready = replicas if ready is None else ready
        self.pods = [
            a_pod(index, template=self.stateful_set["spec"]["template"], ready=index < ready)
            for index in range(replicas)
        ]
        self.stateful_set["status"] = {"replicas": replicas} | {
            key: count  # Kubernetes leaves out what is 0
            for key, count in (("readyReplicas", ready), ("updatedReplicas", replicas))
            if count
        }
        self.coordinator_says(
            nodes={"connected": ready, "ready": ready, "busy": 0, "idle": ready, "outdated": 0}
        )

    def run_until_ready(self):
        self.settle()
        self.start_coordinator()
        self.settle()
        self.start_nodes()
        self.settle()
        return self

    def change(self, **spec):
        """The user changes the spec; the coordinator has seen it."""
        self.environment["spec"].update(spec)
        self.environment["metadata"]["generation"] += 1
        if any(it["type"] == "LayersResolved" for it in self.conditions_raw):
            self.layers_resolved()

    def later(self, seconds: float):
        self.now += timedelta(seconds=seconds)
        return self

    # ---- reading

    @property
    def status(self) -> dict:
        return self.environment.get("status") or {}

    @property
    def conditions_raw(self) -> list:
        return self.status.get("conditions", [])

    def condition(self, kind: str) -> tuple[str, str]:
        found = next(it for it in self.conditions_raw if it["type"] == kind)
        return found["status"], found["reason"]

    def message(self, kind: str) -> str:
        return next(it for it in self.conditions_raw if it["type"] == kind)["message"]

    @property
    def told_reasons(self) -> list[str]:
        return [it.reason for it in self.events]


def a_pod(index=0, *, name="ndvi", template=None, ready=True, **status) -> dict:
    labels = {
        "app.kubernetes.io/name": "geopod",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "node",
        "app.kubernetes.io/managed-by": "geopod",
        "apps.kubernetes.io/pod-index": str(index),
    }
    word = "True" if ready else "False"
    return {
        "kind": "Pod",
        "metadata": {"name": f"{name}-node-{index}", "uid": f"pod-{index}", "labels": labels},
        "spec": copy.deepcopy(template["spec"]) if template else {"containers": []},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": word, "lastTransitionTime": "2026-11-26T11:59:40Z"}
            ],
            "containerStatuses": [
                {"name": it, "ready": ready, "restartCount": 0, "state": {"running": {}}}
                for it in ("agent", "runner")
            ],
            **status,
        },
    }


def merged(old: dict, new: dict) -> dict:
    """Return a run's status after a server-side apply: conditions by type."""
    conditions = {it["type"]: it for it in old.get("conditions", [])}
    conditions |= {it["type"]: it for it in new.get("conditions", [])}
    return old | new | {"conditions": list(conditions.values())}


def _name(found: dict) -> str:
    return found["metadata"]["name"]
