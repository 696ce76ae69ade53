"""Machines, quotas and pods of a cluster as what they mean for an environment. Pure."""

from __future__ import annotations

from typing import Any

from geopod.backends import Finding, Machine
from geopod.backends.kubernetes.manifests import Manifest

FULL = 1.0
IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName"})


def interpreters(runtime: Manifest) -> list[str]:
    """Return the interpreters that a ComputeRuntime offers."""
    return [str(it["name"]) for it in runtime["spec"].get("interpreters", ())]


def by_minor(interpreter: str) -> tuple[int, str]:
    """Return a key that sorts `python3.9` before `python3.10`."""
    minor = interpreter.rpartition(".")[2]
    return (int(minor) if minor.isdigit() else 0, interpreter)


def machine(node: Manifest) -> Machine:
    """Return what a cluster node offers to pods."""
    from geopod.api.quantities import parse_bytes, parse_cpu  # loads pydantic

    room = (node.get("status") or {}).get("allocatable") or {}
    conditions = (node.get("status") or {}).get("conditions", ())
    ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
    return Machine(
        name=node["metadata"]["name"],
        cpus=parse_cpu(room.get("cpu", "0")) / 1000,
        memory_bytes=parse_bytes(room.get("memory", "0")),
        gpus={key: int(value) for key, value in room.items() if "gpu" in key and "/" in key},
        ready=ready and not (node.get("spec") or {}).get("unschedulable"),
    )


def quota_rows(quota: Manifest) -> list[dict[str, str]]:
    """Return one row per resource that a quota limits."""
    status = quota.get("status") or {}
    used = status.get("used") or {}
    return [
        {
            "quota": str(quota["metadata"]["name"]),
            "resource": str(resource),
            "used": str(used.get(resource, "0")),
            "hard": str(hard),
        }
        for resource, hard in (status.get("hard") or {}).items()
    ]


def share(row: dict[str, str]) -> float:
    """Return how much of a limit is used, 1.0: all of it."""
    from geopod.api.quantities import parse_thousandths  # loads pydantic

    hard = parse_thousandths(row["hard"])
    return parse_thousandths(row["used"]) / hard if hard else FULL


def pod_findings(pod: Manifest) -> list[Finding]:
    """Return what keeps one pod from running."""
    status: dict[str, Any] = pod.get("status") or {}
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            words = condition.get("message") or condition.get("reason") or "no words"
            fixes = ("enable_gpu=False", "fewer or smaller nodes", "geopod capacity")
            return [Finding(about="scheduling", ok=False, fact=f"{words}", fixes=fixes)]
    return [
        finding
        for container in status.get("containerStatuses", ())
        if (finding := _container_finding(container)) is not None
    ]


def _container_finding(container: Manifest) -> Finding | None:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting"), state.get("terminated")
    name = container["name"]
    if waiting and waiting.get("reason") in IMAGE_REASONS:
        return Finding(
            about="image",
            ok=False,
            fact=f"{name}: {container.get('image')}: {waiting.get('message') or waiting['reason']}",
            fixes=("administrator: image or secret of the ComputeRuntime",),
            fatal=True,
        )
    if waiting and waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
        fact = f"{name}: {waiting['reason']}: {waiting.get('message') or 'no words'}"
        return Finding(about="start", ok=False, fact=fact, fixes=("env.explain()",))
    if ended and ended.get("exitCode"):
        fact = f"{name}: ended with exit {ended['exitCode']} ({ended.get('reason', 'no reason')})"
        return Finding(about="start", ok=False, fact=fact)
    return None


def times_of(finding: Finding, times: int) -> Finding:
    """Return a finding that holds for so many pods."""
    if times == 1:
        return finding
    return Finding(
        about=finding.about,
        ok=finding.ok,
        fact=f"{times} pods: {finding.fact}",
        fixes=finding.fixes,
        fatal=finding.fatal,
    )
