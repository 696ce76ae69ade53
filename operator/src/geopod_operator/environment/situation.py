"""Everything that one plan found out, before it is told in a status and done in objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from geopod.api.environment import ComputeEnvironmentSpec
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.causes import Findings
from geopod_operator.environment.dependencies import Dependencies
from geopod_operator.environment.facts import Facts
from geopod_operator.environment.observed import Observed
from geopod_operator.environment.policies.scale import Scale
from geopod_operator.environment.policies.suspend import Rest
from geopod_operator.environment.resolved import Resolved

PATIENCE = timedelta(seconds=10)
"""Pods that are not ready so soon are normal; their cause is looked for only afterwards."""
OFTEN, SELDOM = timedelta(seconds=30), timedelta(seconds=120)
NOTHING = Findings()
CAUSE_REASONS = frozenset({
    "Unschedulable", "ImagePullFailed", "CrashLoop", "QuotaExceeded", "OutOfMemory", "PodRefused",
})  # fmt: skip  # a set of words reads best in lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One environment, resolved and looked at."""

    observed: Observed
    resolved: Resolved
    facts: Facts
    dependencies: Dependencies
    rest: Rest
    scale: Scale
    wanted_hash: str
    """Template hash that nodes shall have; the last known one while dependencies are built."""
    secrets: tuple[str, ...] = ()
    """Values that no message may show."""
    nodes: Findings = NOTHING
    coordinator: Findings = NOTHING

    @property
    def now(self) -> datetime:
        """The time of the plan in whole seconds, as the API server keeps times."""
        return self.observed.now.replace(microsecond=0)

    @property
    def spec(self) -> ComputeEnvironmentSpec:
        """The environment's spec."""
        return self.resolved.spec

    @property
    def total(self) -> int:
        """Nodes that there shall be when all is done."""
        return 0 if self.rest.asleep else self.spec.nodes

    @property
    def coordinator_ready(self) -> bool:
        """Whether the coordinator serves."""
        return self.facts.coordinator_up

    @property
    def nodes_ready(self) -> bool:
        """Whether all nodes there shall be are ready, with the wanted template."""
        facts = self.facts
        is_current = not facts.outdated and facts.template_hash in {"", self.wanted_hash}
        return facts.ready >= self.total and (
            self.total == 0 or (is_current and not facts.lost and facts.stateful_set is not None)
        )

    @property
    def under_way(self) -> bool:
        """Whether nodes are being added, replaced or taken away."""
        return not self.nodes_ready or self.facts.replicas > self.total


def is_gate_open(spec: ComputeEnvironmentSpec, facts: Facts, dependencies: Dependencies) -> bool:
    """Say whether node pods may be created: layers, dependencies and coordinator are there.

    Where no node runs, the plan must be of this generation: a wrong layer must not cost GPU pods.
    Without layers and files nothing can be wrong with the plan: nodes start beside the coordinator,
    once its pod is there, so that no quota is spent on nodes first.
    """
    if not dependencies.ready:
        return False
    if not spec.layers and not spec.files:
        return facts.coordinator_placed
    resolved = facts.condition(EnvironmentCondition.LAYERS_RESOLVED)
    if resolved is None or not resolved.is_true:
        return False
    is_fresh = (resolved.observed_generation or 0) >= facts.generation
    return facts.coordinator_up and (is_fresh or facts.replicas > 0)


def waiting_since(facts: Facts, dependencies: Dependencies, rest: Rest) -> datetime | None:
    """Return since when pods are waited for; None: all that are wanted are there."""
    told: list[EnvironmentCondition] = []
    if not dependencies.ready and dependencies.watches_pods:
        told.append(EnvironmentCondition.DEPENDENCIES_READY)
    if not facts.coordinator_up and (not rest.asleep or rest.keeps_coordinator):
        told.append(EnvironmentCondition.COORDINATOR_READY)
    if facts.stateful_set is not None and facts.ready < facts.replicas and not rest.asleep:
        told.append(EnvironmentCondition.NODES_READY)
    times = [facts.now if facts.holds(it) else facts.since(it) for it in told]
    return min(times, default=None)


def next_listing(observed: Observed, facts: Facts, since: datetime | None) -> datetime | None:
    """Return when to list pods for causes: after 10 s, then every 30 s, later every 120 s.

    Every 10 s while broken pods are to make room: who mends a spec waits for that.
    """
    if since is None:
        return None
    first = since + PATIENCE
    listed = observed.pods_listed_at
    if listed is None or listed < since:
        return first
    if facts.is_held_up:
        return max(first, listed + PATIENCE)
    is_young = observed.now - since < SELDOM
    return max(first, listed + (OFTEN if is_young else SELDOM))
