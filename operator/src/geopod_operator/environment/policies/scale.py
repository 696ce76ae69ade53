"""How many node pods to ask for now: up only through the gate, down only after a drain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from geopod.api.environment import ComputeEnvironmentSpec
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.facts import Facts
from geopod_operator.environment.policies.suspend import Rest


@dataclass(frozen=True, slots=True)
class Scale:
    """Node pods to ask for."""

    replicas: int
    retry_at: datetime | None = None
    """When a drain that is going on ends by force."""


def scale_of(spec: ComputeEnvironmentSpec, facts: Facts, rest: Rest, *, gate_open: bool) -> Scale:
    """Return how many node pods to ask for."""
    wanted, current = (0 if rest.asleep else spec.nodes), facts.replicas
    if wanted >= current:
        return Scale(wanted if gate_open else current)
    if facts.active_runs == 0 or rest.reason == "IdleTimeout":
        return Scale(wanted)
    deadline = _drain_began(facts, rest) + timedelta(seconds=spec.rollout.drain_seconds)
    if facts.now >= deadline:
        return Scale(wanted)
    while current > wanted and current - 1 in facts.drained:
        current -= 1
    return Scale(current, deadline)


def _drain_began(facts: Facts, rest: Rest) -> datetime:
    """Return when the nodes were asked to drain: the time of the condition that told so."""
    told = EnvironmentCondition.SUSPENDED if rest.asleep else EnvironmentCondition.PROGRESSING
    return facts.since(told) if facts.holds(told) else facts.now


def coordinators_of(facts: Facts, rest: Rest) -> int:
    """Return how many coordinators to ask for: it goes last, when the nodes have handed back."""
    if not rest.asleep or rest.keeps_coordinator:
        return 1
    was_up = facts.deployment is not None and facts.deployment["spec"].get("replicas", 1)
    return 1 if was_up and (facts.replicas > 0 or facts.pods > 0) else 0
