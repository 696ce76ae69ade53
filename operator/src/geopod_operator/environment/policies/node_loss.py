"""Lost machines: Wait leaves a dead node's pod alone, Replace deletes it by force, once it is safe.

Safe: Kubernetes itself has given the pod up, the coordinator has given the node up in this epoch
(late results lose), and `replaceAfterSeconds` have passed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from geopod.api.environment import ComputeEnvironmentSpec

from geopod_operator.environment.facts import Facts
from geopod_operator.environment.observed import Raw, Ref
from geopod_operator.environment.outcome import Delete
from geopod_operator.environment.troubles import index_of

GIVEN_UP = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
DEFAULT_AFTER_S = 120


@dataclass(frozen=True, slots=True)
class Losses:
    """Pods to delete by force now, and when the next one may be due."""

    deletes: tuple[Delete, ...] = ()
    retry_at: datetime | None = None


def lost_pods(spec: ComputeEnvironmentSpec, facts: Facts, pods: Iterable[Raw]) -> Losses:
    """Return the pods of lost machines to replace."""
    if spec.node_failure_policy != "Replace":
        return Losses()
    after = timedelta(seconds=spec.replace_after_seconds or DEFAULT_AFTER_S)
    deletes: list[Delete] = []
    waiting: list[datetime] = []
    for pod in sorted(pods, key=index_of):
        metadata = pod["metadata"]
        if index_of(pod) not in facts.lost or not _is_given_up(pod):
            continue
        due = datetime.fromisoformat(metadata["deletionTimestamp"]) + after
        if facts.now >= due:
            ref = Ref("Pod", metadata["name"])
            deletes.append(Delete(ref=ref, uid=metadata["uid"], grace_s=0))
        else:
            waiting.append(due)
    return Losses(tuple(deletes), min(waiting, default=None))


def _is_given_up(pod: Raw) -> bool:
    if not pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions", [])
    return any(
        it["type"] == "DisruptionTarget" and it["status"] == "True" and it["reason"] in GIVEN_UP
        for it in conditions
    )
