"""Sleep: why an environment has no nodes, whether its coordinator goes too, what wakes it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from geopod.api import names, reasons
from geopod.api.environment import ComputeEnvironmentSpec
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.facts import Facts
from geopod_operator.environment.policies.idle import idle_due
from geopod_operator.environment.resolved import Identity

SUSPENDED = EnvironmentCondition.SUSPENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Whether the environment sleeps."""

    asleep: bool
    reason: str
    message: str
    keeps_coordinator: bool = True

    @property
    def by_hand(self) -> bool:
        """Whether a person, not a run, wakes it."""
        return self.asleep and self.reason == "UserRequested"


AWAKE = Rest(asleep=False, reason="Awake", message=reasons.sentence(SUSPENDED, "Awake"))


def rest_of(spec: ComputeEnvironmentSpec, identity: Identity, facts: Facts) -> Rest:
    """Return whether the environment sleeps now; what a person asked for wins over everything."""
    terminated = identity.annotations.get(names.ANNOTATION_TERMINATED)
    if terminated:
        message = f"terminated{_by(terminated)}; only resume() wakes it."
        return _by_hand(message, keeps_coordinator=False)
    if spec.suspend:
        message = reasons.sentence(SUSPENDED, "UserRequested")
        return _by_hand(message, keeps_coordinator=False)
    if spec.nodes == 0:
        message = "asleep because spec.nodes is 0; scale it up to wake it."
        return _by_hand(message, keeps_coordinator=True)
    due = idle_due(spec, identity, facts)
    if spec.idle is None or due is None or facts.now < due or _was_by_hand(facts):
        return AWAKE
    seconds = spec.idle.after_seconds
    return Rest(
        asleep=True,
        reason="IdleTimeout",
        message=reasons.sentence(SUSPENDED, "IdleTimeout", seconds=seconds),
        keeps_coordinator=spec.idle.policy == "ScaleToZero",
    )


def _was_by_hand(facts: Facts) -> bool:
    """Say whether a person has just woken it: its idle time begins anew."""
    told = facts.condition(SUSPENDED)
    return told is not None and told.is_true and told.reason == "UserRequested"


def _by_hand(message: str, *, keeps_coordinator: bool) -> Rest:
    return Rest(
        asleep=True,
        reason="UserRequested",
        message=message,
        keeps_coordinator=keeps_coordinator,
    )


def _by(terminated: str) -> str:
    """Return who terminated it, from the annotation `{"time", "user"}`."""
    try:
        said = json.loads(terminated)
    except ValueError:
        return ""
    user = said.get("user") if isinstance(said, dict) else None
    return f" by {str(user)[:63]}" if user else ""
