"""Roll-out: which node pods of an earlier template to replace now, idle ones first.

The coordinator drains nodes and names them in `status.drained`; the operator deletes their pods,
by uid and never more than `maxUnavailable` at once. A pod that cannot work anyway goes at once:
a StatefulSet with updateStrategy OnDelete would keep a broken pod for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from geopod.api.environment import ComputeEnvironmentSpec

from geopod_operator.environment.crashes import last_end
from geopod_operator.environment.facts import Facts, template_hash_of
from geopod_operator.environment.observed import Raw, Ref
from geopod_operator.environment.outcome import Delete
from geopod_operator.environment.troubles import index_of, is_ready

_PERCENT = re.compile(r"([0-9]+)%")


def max_unavailable(spec: ComputeEnvironmentSpec) -> int:
    """Return how many nodes may be away at once: a share is rounded up, at least one."""
    share = spec.rollout.max_unavailable
    if isinstance(share, int):
        return share
    percent = _PERCENT.fullmatch(share)
    return max(-(-spec.nodes * int(percent[1]) // 100), 1) if percent else 1


def outdated_pods(pods: Iterable[Raw], wanted_hash: str) -> list[Raw]:
    """Return the node pods of an earlier template, by index."""
    old = [it for it in pods if template_hash_of(it) not in {"", wanted_hash}]
    return sorted(old, key=index_of)


def pods_to_replace(
    spec: ComputeEnvironmentSpec, facts: Facts, pods: Iterable[Raw], *, wanted_hash: str
) -> tuple[Delete, ...]:
    """Return the pods to delete now, so that the StatefulSet makes them anew."""
    alive = [it for it in pods if not it["metadata"].get("deletionTimestamp")]
    old = outdated_pods(alive, wanted_hash)
    broken = [it for it in old if _cannot_work(it, facts.now)]
    ready = sum(is_ready(it) for it in alive)
    away = max(spec.nodes - ready, 0)
    room = max(max_unavailable(spec) - away, 0)
    drained = [it for it in old if is_ready(it) and index_of(it) in facts.drained]
    return tuple(_delete(it) for it in [*broken, *drained[:room]])


def _cannot_work(pod: Raw, now: datetime) -> bool:
    """Say whether no task can be running in a pod: one of its containers does not stay up."""
    status = pod.get("status") or {}
    if status.get("phase") in {"Pending", "Failed"}:
        return True
    states = status.get("containerStatuses", [])
    if any("running" not in it.get("state", {}) for it in states):
        return True
    return not is_ready(pod) and any(last_end(it, now) is not None for it in states)


def _delete(pod: Raw) -> Delete:
    metadata = pod["metadata"]
    return Delete(ref=Ref("Pod", metadata["name"]), uid=metadata["uid"])
