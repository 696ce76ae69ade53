"""A bundle that is recorded and not in the store any more: forgotten, so that it is built anew.

Agents end with `deployment.AGENT_EXIT_NO_BUNDLE` when the store has not what the record says.
Source: operator design, §8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from geopod.api import deployment, names

from geopod_operator.environment.desired.builder import TIME
from geopod_operator.environment.observed import Observed, Raw, Ref
from geopod_operator.environment.outcome import Delete
from geopod_operator.environment.resolved import Bundle


def lost_bundle(observed: Observed, bundle: Bundle, pods: Iterable[Raw]) -> tuple[Delete, ...]:
    """Return the record to delete, if an agent has missed its bundle since it was written."""
    ref = Ref("ConfigMap", names.bundle_name(bundle.key)) if bundle.key else None
    record = observed.children.get(ref) if ref is not None else None
    if ref is None or record is None:
        return ()
    written = datetime.fromisoformat(record["data"][TIME])
    if not any(time > written for pod in pods for time in _misses(pod)):
        return ()
    return (Delete(ref=ref, uid=record["metadata"].get("uid")),)


def stuck_pods(stateful_set: Raw | None, pods: Iterable[Raw]) -> tuple[Delete, ...]:
    """Return the pods that ask for an earlier build of the bundle and so can never start."""
    wanted = _digest_in(stateful_set["spec"]["template"]) if stateful_set else ""
    return tuple(
        Delete(ref=Ref("Pod", pod["metadata"]["name"]), uid=pod["metadata"]["uid"])
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and _digest_in(pod) not in {"", wanted}
        and any(_misses(pod))
    )


def _misses(pod: Raw) -> Iterator[datetime]:
    """Yield when the pod's agent, which does not run now, has missed its bundle."""
    for status in (pod.get("status") or {}).get("containerStatuses", []):
        if status["name"] != "agent" or "running" in status.get("state", {}):
            continue
        for state in (status.get("state", {}), status.get("lastState", {})):
            ended = state.get("terminated") or {}
            if ended.get("exitCode") == deployment.AGENT_EXIT_NO_BUNDLE:
                yield datetime.fromisoformat(ended["finishedAt"])


def _digest_in(pod_or_template: Raw) -> str:
    for container in pod_or_template.get("spec", {}).get("containers", []):
        for variable in container.get("env", []):
            if variable["name"] == deployment.ENV_BUNDLE_SHA256:
                return str(variable.get("value", ""))
    return ""
