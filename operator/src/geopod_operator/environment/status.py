"""The operator's half of an environment's status: the conditions and what goes with them."""

from __future__ import annotations

from typing import Any

from geopod.api import names
from geopod.api.conditions import Condition
from geopod.api.environment_status import ComputeEnvironmentStatus
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.access import Tokens
from geopod_operator.environment.conditions import judge, refused
from geopod_operator.environment.facts import Facts
from geopod_operator.environment.observed import Observed, Raw
from geopod_operator.environment.policies.idle import idle_since
from geopod_operator.environment.policies.runs import stamp
from geopod_operator.environment.resolved import Identity, Refusal
from geopod_operator.environment.situation import Situation

Kind = EnvironmentCondition
OWN = (
    "observedGeneration", "conditions", "phase", "selector", "replicas", "templateHash", "runtime",
    "gpus", "access", "idleSince", "suspendedAt", "resumedAt", "failures",
)  # fmt: skip  # names read best in lines
"""Fields of the status that the operator owns, so that each write sends all of them."""
COUNTS = frozenset({"conditions", "idleSince", "replicas"})
"""What changes with every pod of a thousand, and with every run."""


def refused_status(
    observed: Observed, identity: Identity, facts: Facts, refusal: Refusal, minted: Tokens
) -> Raw:
    """Return the status of a spec that cannot be; what runs already is told as it was."""
    now = observed.now.replace(microsecond=0)
    conditions = refused(facts.status.conditions, refusal, generation=identity.generation, now=now)
    known = facts.status.to_wire()
    kept = {key: known[key] for key in OWN if key in known}
    return kept | _common(identity, minted, conditions)


def told_status(at: Situation, minted: Tokens) -> Raw:
    """Return the whole of the operator's half."""
    facts, resolved, before = at.facts, at.resolved, at.facts.status
    conditions = judge(at)
    status = _common(resolved.identity, minted, conditions)
    status |= {
        "selector": selector(resolved.identity.name),
        "replicas": facts.pods,
        "runtime": {
            "name": resolved.spec.runtime,
            "interpreter": resolved.interpreter.name,
            "image": resolved.image,
            "bundleKey": at.dependencies.key,
        },
    }
    if at.dependencies.bundle.lock_sha256:
        status["runtime"]["lockSha256"] = at.dependencies.bundle.lock_sha256
    if at.wanted_hash:
        status["templateHash"] = at.wanted_hash
    if resolved.gpu is not None:
        total = resolved.gpu.count * at.scale.replicas
        status["gpus"] = {"resourceName": resolved.gpu.resource_name, "total": total}
    since = idle_since(resolved.identity, facts)
    if since is not None and facts.stateful_set is not None:
        status["idleSince"] = stamp(since)
    for name, time in (
        ("suspendedAt", at.now if _fell_asleep(at) else before.suspended_at),
        ("resumedAt", at.now if _woke(at) else before.resumed_at),
    ):
        if time is not None:
            status[name] = stamp(time)
    failures = _failures(at)
    return status | ({"failures": failures} if failures else {})


def changed(observed: Observed, status: Raw) -> Raw | None:
    """Return the status to write; None: the object says so already."""
    present = ComputeEnvironmentStatus.model_validate(
        {k: v for k, v in (observed.environment.get("status") or {}).items() if k in OWN},
        extra="ignore",
    ).to_wire()
    present["conditions"] = _own_conditions(present.get("conditions", []))
    wanted = ComputeEnvironmentStatus.model_validate(status).to_wire()
    return None if _filled(present) == _filled(wanted) else status


def tells_counts_alone(observed: Observed, status: Raw) -> bool:
    """Say whether a status differs from the object's in counts alone: of pods, in sentences."""
    present = observed.environment.get("status") or {}
    return _without_counts(present) == _without_counts(status)


def _without_counts(status: Raw) -> Raw:
    kept = {key: status[key] for key in OWN if key in status and key not in COUNTS}
    conditions = [
        {key: value for key, value in it.items() if key != "message"}
        for it in _own_conditions(status.get("conditions", []))
    ]
    return kept | {"conditions": sorted(conditions, key=lambda it: str(it["type"]))}


def selector(environment: str) -> str:
    """Return the label selector of the node pods."""
    labels = names.child_labels(environment, "node")
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels))


def _filled(status: Raw) -> Raw:
    """Return a status whose lists do not depend on the order in which they were written."""
    conditions = sorted(status.get("conditions", []), key=lambda it: str(it["type"]))
    return {**status, "conditions": conditions}


def _own_conditions(conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [it for it in conditions if it["type"] != Kind.LAYERS_RESOLVED]


def _common(identity: Identity, minted: Tokens, conditions: tuple[Condition, ...]) -> Raw:
    return {
        "observedGeneration": identity.generation,
        "conditions": _own_conditions([it.to_wire() for it in conditions]),
        "phase": _phase(identity, conditions),
        "access": {
            "token": minted.user,
            "sharedToken": minted.user_shared,
            "expiresAt": stamp(minted.expires_at),
        },
    }


def _phase(identity: Identity, conditions: tuple[Condition, ...]) -> str:
    held = {it.type for it in conditions if it.is_true}
    if identity.annotations.get(names.ANNOTATION_TERMINATED):
        return "Terminated"
    if Kind.SUSPENDED in held and Kind.ACCEPTED in held:
        return "Suspended"
    if Kind.STALLED in held:
        return "Failed"
    if Kind.READY in held:
        return "Ready"
    begun = {Kind.DEPENDENCIES_READY, Kind.LAYERS_RESOLVED, Kind.COORDINATOR_READY}
    return "Starting" if held.issuperset(begun) else "Pending"


def _fell_asleep(at: Situation) -> bool:
    return at.rest.asleep and not at.facts.holds(Kind.SUSPENDED)


def _woke(at: Situation) -> bool:
    return not at.rest.asleep and at.facts.holds(Kind.SUSPENDED)


def _failures(at: Situation) -> list[Raw]:
    """Return the nodes that do not run; while pods are not listed, those known before."""
    facts, before = at.facts, at.facts.status
    if at.nodes_ready or at.rest.asleep:
        return []
    if at.observed.pods is not None:
        return [dict(it) for it in at.nodes.failures]
    is_current = before.observed_generation == facts.generation
    return (
        [it.to_wire() for it in before.failures] if is_current and facts.ready < facts.pods else []
    )
