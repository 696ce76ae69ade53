"""What the objects say of an environment's state, read once per plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geopod.api import deployment, names
from geopod.api.conditions import Condition, find
from geopod.api.environment_status import ComputeEnvironmentStatus

from geopod_operator.environment.children import is_ours
from geopod_operator.environment.observed import Observed, Raw, Ref

FINISHED = frozenset({"Succeeded", "Failed", "Cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One environment as it is."""

    now: datetime
    generation: int
    status: ComputeEnvironmentStatus
    stateful_set: Raw | None
    deployment: Raw | None
    has_unfinished: bool
    """A run waits or runs, as far as operator or coordinator know."""

    @property
    def replicas(self) -> int:
        """Node pods that the StatefulSet is asked for."""
        return int(self.stateful_set["spec"].get("replicas", 1)) if self.stateful_set else 0

    @property
    def pods(self) -> int:
        """Node pods that there are."""
        return int(self._set_status.get("replicas", 0))

    @property
    def ready(self) -> int:
        """Nodes that are ready, as the kubelets or, sooner, the coordinator say."""
        ready = int(self._set_status.get("readyReplicas", 0))
        if self.coordinator_up and self.status.nodes is not None:
            ready = max(ready, self.status.nodes.ready)
        return min(ready, self.pods)

    @property
    def is_held_up(self) -> bool:
        """Whether pods of an earlier template stand where others shall, and not all work."""
        updated = int(self._set_status.get("updatedReplicas", 0))  # left out where it is 0
        return updated < self.pods and self.ready < self.pods

    @property
    def outdated(self) -> int:
        """Nodes of an earlier template."""
        return self.status.nodes.outdated if self.status.nodes else 0

    @property
    def coordinator_placed(self) -> bool:
        """Whether the coordinator's pod was made; it need not run yet."""
        return self._coordinators("replicas") > 0

    @property
    def coordinator_up(self) -> bool:
        """Whether the coordinator's Deployment has its pod, and it serves."""
        return self._coordinators("availableReplicas") > 0

    @property
    def drained(self) -> frozenset[int]:
        """Indexes of nodes that hold no task and get none."""
        return frozenset(indexes(self.status.drained or ""))

    @property
    def lost(self) -> frozenset[int]:
        """Indexes of nodes whose pods are there and that do not answer the coordinator."""
        return frozenset(it for it in indexes(self.status.lost or "") if it < self.pods)

    @property
    def active_runs(self) -> int:
        """Runs that run now."""
        return self.status.active_runs or 0

    @property
    def template_hash(self) -> str:
        """Template hash of the pods that the StatefulSet makes."""
        return template_hash_of(self.stateful_set["spec"]["template"]) if self.stateful_set else ""

    def condition(self, condition_type: str) -> Condition | None:
        """Return a condition as it was last written."""
        return find(self.status.conditions, condition_type)

    def holds(self, condition_type: str) -> bool:
        """Say whether a condition was last written as True."""
        found = self.condition(condition_type)
        return found is not None and found.is_true

    def since(self, condition_type: str) -> datetime:
        """Return since when a condition is what it is; now if it was never written."""
        found = self.condition(condition_type)
        return found.last_transition_time if found is not None else self.now

    def _coordinators(self, counted: str) -> int:
        if self.deployment is None or not self.deployment["spec"].get("replicas", 1):
            return 0
        return int((self.deployment.get("status") or {}).get(counted, 0))

    @property
    def _set_status(self) -> dict[str, Any]:
        return (self.stateful_set.get("status") or {}) if self.stateful_set else {}


def read_facts(observed: Observed) -> Facts:
    """Return what the observed objects say."""
    environment = observed.environment
    metadata = environment["metadata"]
    # What a later version of geopod wrote is no reason to stop.
    status = ComputeEnvironmentStatus.model_validate(
        environment.get("status") or {}, extra="ignore"
    )
    name = metadata["name"]
    counted = (status.active_runs or 0) + (status.queued_runs or 0)
    return Facts(
        now=observed.now,
        generation=metadata.get("generation", 0),
        status=status,
        stateful_set=_alive(observed, Ref("StatefulSet", names.node_name(name))),
        deployment=_alive(observed, Ref("Deployment", names.coordinator_name(name))),
        has_unfinished=counted > 0 or any(is_unfinished(run) for run in observed.runs),
    )


def _alive(observed: Observed, ref: Ref) -> Raw | None:
    """Return a child that is the environment's own and stays."""
    live = observed.children.get(ref)
    if live is None or live["metadata"].get("deletionTimestamp"):
        return None
    return live if is_ours(live, observed.environment["metadata"]["uid"]) else None


def is_unfinished(run: Raw) -> bool:
    """Say whether a run still wants nodes."""
    if run["metadata"].get("deletionTimestamp") or run["spec"].get("cancel"):
        return False
    return (run.get("status") or {}).get("phase") not in FINISHED


def indexes(ranges: str) -> Iterator[int]:
    """Yield the indexes of compressed ranges, `0-3,9`."""
    for part in ranges.split(","):
        first, dash, last = part.partition("-")
        if first:
            yield from range(int(first), int(last if dash else first) + 1)


def ranges(numbers: frozenset[int]) -> str:
    """Return indexes as compressed ranges, `0-3,9`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def template_hash_of(pod_or_template: Raw) -> str:
    """Return the template hash that a node pod was made with, empty if it tells none."""
    for container in pod_or_template.get("spec", {}).get("containers", []):
        for variable in container.get("env", []):
            if variable["name"] == deployment.ENV_TEMPLATE_HASH:
                return str(variable.get("value", ""))
    return ""
