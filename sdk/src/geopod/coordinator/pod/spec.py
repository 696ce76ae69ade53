"""From a ComputeEnvironment and the Layers it names to a coordinator's settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geopod.api import names
from geopod.api.layer_sources import LATEST, layer_source, on_volume
from geopod.coordinator.plans import PlanFailed
from geopod.coordinator.pod.settings import PodSettings
from geopod.coordinator.settings import CoordinatorSettings
from geopod.errors import LayerNotFoundError

REDIAL_GRACE_S = 30.0
"""Across machines a closed socket may be a broken network: nodes dial again within seconds."""

Layers = Mapping[str, Mapping[str, Any]]
"""pathId -> `Layer.spec`."""


def coordinator_settings(
    manifest: Mapping[str, Any], layers: Layers, pod: PodSettings
) -> CoordinatorSettings:
    """Return what a coordinator does for this spec and this catalogue."""
    spec = manifest["spec"]
    planning, unplannable = planning_request(spec, layers, pod)
    return CoordinatorSettings(
        environment_uid=pod.environment_uid,
        name=pod.environment,
        nodes=spec.get("nodes", 1),
        python=spec.get("interpreter", "python3.12").removeprefix("python"),
        store=pod.store,
        link_key=pod.link_key,
        agent_host="",
        agent_port=pod.port,
        planning=planning,
        refreshed=refresh_text(manifest),
        unplannable=unplannable,
        max_concurrent_runs=spec.get("maxConcurrentRuns", 8),
        max_queued_runs=spec.get("maxQueuedRuns", 1000),
        min_ready_nodes=spec.get("minReadyNodes", 1),
        suspended=spec.get("suspend", False),
        redial_grace_s=REDIAL_GRACE_S,
    )


def refresh_text(manifest: Mapping[str, Any]) -> str:
    """Return the annotation whose change plans the layers anew."""
    return str((manifest["metadata"].get("annotations") or {}).get(names.ANNOTATION_REFRESH, ""))


def planning_request(
    spec: Mapping[str, Any], layers: Layers, pod: PodSettings
) -> tuple[dict[str, Any], PlanFailed | None]:
    """Return what planning reads (`{}` without layers and files), or why it cannot begin."""
    entries, files = spec.get("layers", ()), spec.get("files", ())
    if not entries and not files:
        return {}, None
    sources = []
    for entry in entries:
        found = layers.get(entry["pathId"], {})
        source = layer_source(entry, found)
        if source is None:
            return {}, _missing(entry, layers, pod.namespace)
        claim = found.get("volumeClaim")
        sources.append(source | {"hrefs": [on_volume(it, claim) for it in source["hrefs"]]})
    request: dict[str, Any] = {
        "layers": sources,
        "files": [_file(sha256, pod.namespace) for sha256 in files],
        "options": spec.get("partitioning", {}),
    }
    limits = {
        "memoryBytes": pod.node_memory,
        "scratchBytes": pod.node_scratch,
        "agentMemoryBytes": pod.agent_memory,
    }
    return request | {name: limit for name, limit in limits.items() if limit is not None}, None


def _file(sha256: str, namespace: str) -> dict[str, Any]:
    """Return a plain file of the namespace: agents fetch it from the store by its key."""
    key = names.file_key(sha256, namespace=namespace)
    return {"key": sha256, "href": key, "sha256": sha256, "bytes": 0}


def _missing(entry: Mapping[str, Any], layers: Layers, namespace: str) -> PlanFailed:
    stamps = {
        name: [stamp["id"] for stamp in spec.get("timestamps", ())][:5]
        for name, spec in sorted(layers.items())[:3]
    }
    error = LayerNotFoundError.missing(
        path_id=entry["pathId"],
        timestamp_id=entry.get("timestampId", LATEST),
        namespace=namespace,
        nearest=stamps,
    )
    details = {**error.details, "reason": "LayerUnreachable"}
    return PlanFailed(code=error.code, fact=error.fact, fixes=list(error.fixes), details=details)
