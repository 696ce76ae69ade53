"""A ComputeEnvironment's status as its coordinator writes it, and as a client reads it. Pure.

The operator writes the other half of the status: two field managers, disjoint fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from geopod.api import names
from geopod.api.compact import shorten
from geopod.api.layer_report import report_layer
from geopod.api.messages import PROTOCOL
from geopod.api.plan import Plan
from geopod.api.raw_conditions import ConditionWriter, find_raw
from geopod.api.reasons import EnvironmentCondition
from geopod.api.run_report import seconds, timestamp
from geopod.api.runs import Condition, EnvironmentState

MESSAGE_BYTES = 1024
REASON_BYTES = 256
Phase = Literal["Pending", "Starting", "Ready", "Suspended", "Terminated", "Failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorReport:
    """What the coordinator's half of the status says beside the environment's state."""

    now: float
    """Seconds since the epoch."""
    generation: int
    """Of the ComputeEnvironment that the plan is about."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """The status so far, for transition times."""
    pod: str = ""
    started: float = 0.0
    outdated: int = 0
    """Nodes of an earlier template."""
    drained: str = ""
    """Ranges of nodes that hold nothing and may be replaced."""
    plan: Plan | None = None
    layers: Sequence[Mapping[str, Any]] = ()
    """`spec.layers`: told as they were given, also while there is no plan."""


def coordinator_status(state: EnvironmentState, report: CoordinatorReport) -> dict[str, Any]:
    """Return all that a coordinator owns of its environment's status: by server-side apply."""
    status: dict[str, Any] = {
        "coordinator": {
            "pod": report.pod,
            "epoch": state.epoch,
            "startTime": timestamp(report.started),
            "protocol": PROTOCOL,
        },
        "nodes": {
            "connected": state.connected,
            "ready": state.ready,
            "busy": state.busy,
            "idle": max(0, state.ready - state.busy),
            "outdated": report.outdated,
        },
        "activeRuns": state.active_runs,
        "queuedRuns": state.queued_runs,
    }
    if state.last_activity:
        status["lastActivityTime"] = timestamp(state.last_activity)
    if report.drained:
        status["drained"] = report.drained
    if state.lost:
        status["lost"] = state.lost
    return status | _planned(state, report)


def environment_state(manifest: Mapping[str, Any]) -> EnvironmentState:
    """Return an environment's state as its whole status tells it.

    The phase follows from the conditions; one about an earlier generation does not count.
    """
    metadata, spec = manifest["metadata"], manifest["spec"]
    status = manifest.get("status") or {}
    conditions = status.get("conditions", ())
    nodes, coordinator = status.get("nodes") or {}, status.get("coordinator") or {}
    ready = find_raw(conditions, EnvironmentCondition.READY) or {}
    phase = _phase(manifest, conditions)
    return EnvironmentState(
        uid=metadata["uid"],
        name=metadata["name"],
        phase=phase,
        reason=_reason(conditions, ready, phase),
        message=ready.get("message", ""),
        conditions=[
            Condition(
                type=it["type"],
                status=it["status"] == "True",
                reason=it["reason"],
                message=it.get("message", ""),
            )
            for it in conditions
        ],
        epoch=coordinator.get("epoch", 0),
        protocol=coordinator.get("protocol", 0),
        nodes=spec.get("nodes", 1),
        connected=nodes.get("connected", 0),
        staged=nodes.get("ready", 0),
        ready=nodes.get("ready", 0),
        busy=nodes.get("busy", 0),
        lost=status.get("lost", ""),
        python=spec.get("interpreter", "python3.12").removeprefix("python"),
        plan_sha256=(status.get("partitioning") or {}).get("planSha256", ""),
        layers=[{"key": it["timestampId"], **it} for it in status.get("layers", ())],
        active_runs=status.get("activeRuns", 0),
        queued_runs=status.get("queuedRuns", 0),
        last_activity=seconds(status.get("lastActivityTime")) or 0.0,
    )


def _planned(state: EnvironmentState, report: CoordinatorReport) -> dict[str, Any]:
    """Return condition, layers and plan; while one is read again those of before stay."""
    before = report.before
    resolved = find_raw(before.get("conditions", ()), EnvironmentCondition.LAYERS_RESOLVED) or {}
    is_known = (
        resolved.get("status") == "True" and resolved.get("observedGeneration") == report.generation
    )
    if report.plan is None and state.phase != "Failed" and is_known:
        kept = {name: before[name] for name in ("layers", "partitioning") if name in before}
        return {"conditions": [dict(resolved)], **kept}
    planned: dict[str, Any] = {"conditions": [_layers_resolved(state, report)]}
    if report.layers:
        planned["layers"] = [_layer(entry, state, report.plan) for entry in report.layers[:64]]
    if report.plan is not None:
        planned["partitioning"] = _partitioning(report.plan, state.plan_sha256)
    return planned


def _layers_resolved(state: EnvironmentState, report: CoordinatorReport) -> dict[str, Any]:
    write = ConditionWriter(
        report.before.get("conditions", ()), generation=report.generation, now=report.now
    )
    kind = EnvironmentCondition.LAYERS_RESOLVED
    if report.plan is not None:
        parts = len(report.plan.partitions) or report.plan.nodes
        write.say(kind, "Planned", status=True, count=len(report.plan.layers), parts=parts)
    elif state.phase == "Failed":
        write.set(kind, state.reason or "LayerUnreachable", _told(state), status=False)
    else:
        write.say(kind, "Reading", status=False, count=len(report.layers))
    return write.done()[0]


def _told(state: EnvironmentState) -> str:
    """Return what failed and what mends it, as `errors.from_condition` takes it apart again."""
    fixes = " ".join(f"{number}) {fix}" for number, fix in enumerate(state.fixes, start=1))
    return shorten(f"{state.message} fix: {fixes}" if fixes else state.message, MESSAGE_BYTES)


def _layer(entry: Mapping[str, Any], state: EnvironmentState, plan: Plan | None) -> dict[str, Any]:
    """Return what the status says of one entry of `spec.layers`."""
    key = entry.get("timestampId", "latest")
    told: dict[str, Any] = {"pathId": entry["pathId"], "timestampId": key}
    planned = next((it for it in plan.layers if it.key == key), None) if plan else None
    if plan is None or planned is None:
        failed = state.phase == "Failed"
        reason = {"reason": shorten(state.message, REASON_BYTES)} if failed else {}
        return told | {"state": "Failed" if failed else "Reading"} | reason
    known = report_layer(planned, plan)
    if "reason" in known:
        known["reason"] = shorten(known["reason"], REASON_BYTES)
    return told | known


def _partitioning(plan: Plan, sha256: str) -> dict[str, Any]:
    parts = plan.partitions
    empty = sum(part.core is None for part in parts) if plan.work is not None else 0
    counts = {
        "count": len(parts) or plan.nodes,
        "empty": empty,
        "featuresOutside": sum(plan.totals.features_outside.values()),
    }
    return counts | ({"planSha256": sha256} if sha256 else {})


def _phase(manifest: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]]) -> Phase:
    """Return the phase in a client's words, worst first."""
    metadata = manifest["metadata"]
    generation = metadata.get("generation", 0)

    def holds(kind: EnvironmentCondition) -> bool:
        found = find_raw(conditions, kind)
        is_old = found is not None and found.get("observedGeneration", 0) < generation
        return found is not None and found["status"] == "True" and not is_old

    if names.ANNOTATION_TERMINATED in (metadata.get("annotations") or {}):
        return "Terminated"
    if holds(EnvironmentCondition.STALLED):
        return "Failed"
    if holds(EnvironmentCondition.SUSPENDED):
        return "Suspended"
    if holds(EnvironmentCondition.READY):
        return "Ready"
    return "Starting" if holds(EnvironmentCondition.COORDINATOR_READY) else "Pending"


def _reason(conditions: Sequence[Mapping[str, Any]], ready: Mapping[str, Any], phase: Phase) -> str:
    if phase == "Ready":
        return ""
    stalled = find_raw(conditions, EnvironmentCondition.STALLED)
    if phase == "Failed" and stalled is not None:
        return str(stalled["reason"])
    return str(ready.get("reason", ""))
