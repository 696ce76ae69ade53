"""What is wrong with one pod, or with the creation of pods: read from objects, not yet grouped.

Reasons as in the operator design, §5. Facts about kubelets that the rules rest on: the reasons
ErrImagePull and ImagePullBackOff alternate; a crashed container is `terminated` until its back-off
begins; a missing Secret that is a volume shows in an Event alone; a StatefulSet replaces an evicted
pod at once, so that an Event alone tells of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from signal import Signals

from geopod_operator.environment.crashes import last_end
from geopod_operator.environment.observed import Raw

PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
POD_INDEX = "apps.kubernetes.io/pod-index"
SIGNALLED = 128
"""Exit codes above it are 128 and the number of a signal."""
_PULL_NOISE = (
    re.compile(r'Back-off pulling image "[^"]*": '),
    re.compile(r"ErrImagePull: "),
    re.compile(r"rpc error: code = \w+ desc = "),
    re.compile(r'failed to pull and unpack image "[^"]*": '),
)
_MISSING = re.compile(r"not found|references non-existent")
OFTEN = 5
"""Mounts fail now and then while a kubelet is busy; so often in a row it is the volume."""
REPLACED = timedelta(minutes=2)
"""So soon after an eviction a new pod of its name is there: grace period and all."""
_QUOTA = re.compile(r"exceeded quota: (?P<quota>[^,]+), (?P<words>.*)", re.DOTALL)
_FORBIDDEN = re.compile(r"is forbidden: (?P<words>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps one pod from being ready."""

    reason: str
    words: str
    """What was said, in a spelling that is equal for equal causes."""
    pod: str = ""
    index: int = 0
    container: str = ""
    image: str = ""
    exit_code: int = 0
    count: int = 1
    """How often it happened to this pod."""
    last_time: str = ""
    kind: str = ""
    """Which of several messages of one reason."""


def troubles_of(pods: Iterable[Raw], events: Sequence[Raw], *, now: datetime) -> list[Trouble]:
    """Return the trouble of each pod that has one, by index."""
    mounts, evictions = (
        {event["involvedObject"].get("name", ""): event for event in _of_reason(events, reason)}
        for reason in ("FailedMount", "Evicted")
    )
    found = [it for pod in pods if (it := _trouble(pod, mounts, evictions, now=now)) is not None]
    return sorted(found, key=lambda it: (it.index, it.pod))


def _of_reason(events: Iterable[Raw], reason: str) -> list[Raw]:
    """Return the Events of a reason, the latest last."""
    return sorted((it for it in events if it.get("reason") == reason), key=time_of)


def time_of(event: Raw) -> str:
    """Return when an Event was last seen, empty if it does not tell."""
    series = event.get("series") or {}
    return (
        series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    )


def index_of(pod: Raw) -> int:
    """Return the index of a node pod; 0 for the coordinator's."""
    metadata = pod["metadata"]
    text = (metadata.get("labels") or {}).get(POD_INDEX) or metadata["name"].rpartition("-")[2]
    return int(text) if text.isdecimal() else 0


def is_ready(pod: Raw) -> bool:
    """Say whether the kubelet calls a pod ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)


def ready_time(pod: Raw) -> datetime | None:
    """Return since when a pod is ready; None: it is not."""
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def _trouble(
    pod: Raw, mounts: dict[str, Raw], evictions: dict[str, Raw], *, now: datetime
) -> Trouble | None:
    name = pod["metadata"]["name"]
    if is_ready(pod):
        return None
    if name in evictions and _was_evicted(pod, evictions[name]):
        return _evicted(pod, evictions[name])
    if pod["metadata"].get("deletionTimestamp"):
        return None
    return _of_pod(pod, now) or (_unmounted(pod, mounts[name]) if name in mounts else None)


def _of_pod(pod: Raw, now: datetime) -> Trouble | None:
    """Return the trouble that the pod's own status tells of."""
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    if status.get("phase") == "Failed" and status.get("reason"):
        return _failed(pod)
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Trouble(
                reason="Unschedulable",
                words=_before(condition.get("message", ""), " preemption:"),
                pod=name,
                index=index_of(pod),
                last_time=condition.get("lastTransitionTime", ""),
            )
    states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    found = (_of_container(pod, state, now=now) for state in states)
    return next((it for it in found if it is not None), None)


def _unmounted(pod: Raw, event: Raw) -> Trouble | None:
    """Return the trouble of a volume that does not come; a slow kubelet is none."""
    about, metadata = event["involvedObject"], pod["metadata"]
    if about.get("uid") not in {None, metadata.get("uid")}:
        return None  # of an earlier pod of this name
    words = event.get("message", "").rpartition(" : ")[2]
    is_missing = _MISSING.search(words) is not None
    if not is_missing and int(event.get("count") or 1) < OFTEN:
        return None
    return Trouble(
        reason="PodRefused",
        kind="config" if is_missing else "failed",
        words=words,
        pod=metadata["name"],
        index=index_of(pod),
    )


def _was_evicted(pod: Raw, event: Raw) -> bool:
    """Say whether an eviction is the pod's own, or of the one that it has replaced."""
    if event["involvedObject"].get("uid") == pod["metadata"].get("uid"):
        return True
    created, evicted = pod["metadata"].get("creationTimestamp"), time_of(event)
    if not created or not evicted:
        return False
    age = datetime.fromisoformat(created) - datetime.fromisoformat(evicted)
    return timedelta() <= age <= REPLACED


def _evicted(pod: Raw, event: Raw) -> Trouble:
    return Trouble(
        reason="PodRefused",
        kind="evicted",
        words=event.get("message", ""),
        pod=pod["metadata"]["name"],
        index=index_of(pod),
        last_time=time_of(event),
    )


def _failed(pod: Raw) -> Trouble:
    status = pod["status"]
    is_eviction = status["reason"] == "Evicted"
    return Trouble(
        reason="PodRefused",
        kind="evicted" if is_eviction else "failed",
        words=status.get("message", status["reason"]),
        pod=pod["metadata"]["name"],
        index=index_of(pod),
    )


def _of_container(pod: Raw, state: Raw, *, now: datetime) -> Trouble | None:
    waiting = state.get("state", {}).get("waiting") or {}
    common = {
        "pod": pod["metadata"]["name"],
        "index": index_of(pod),
        "container": state["name"],
        "image": state.get("image", ""),
    }
    if waiting.get("reason") in PULL:
        words = _pull_words(waiting.get("message", waiting["reason"]))
        return Trouble(reason="ImagePullFailed", words=words, **common)
    if waiting.get("reason") in CONFIG:
        words = waiting.get("message", waiting["reason"])
        return Trouble(reason="PodRefused", kind="config", words=words, **common)
    ended = last_end(state, now)
    if ended is None:
        return None
    is_memory = ended.get("reason") == "OOMKilled"
    return Trouble(
        reason="OutOfMemory" if is_memory else "CrashLoop",
        kind=state["name"],
        words=ended.get("message", "").strip() or ended.get("reason", "no message"),
        exit_code=ended.get("exitCode", 0),
        count=max(state.get("restartCount", 0), 1),
        last_time=ended.get("finishedAt") or "",
        **common,
    )


def _pull_words(text: str) -> str:
    for noise in _PULL_NOISE:
        text = noise.sub("", text)
    return text


def _before(text: str, mark: str) -> str:
    return text.partition(mark)[0]


def signal_name(exit_code: int) -> str:
    """Return the signal that an exit code tells of."""
    number = exit_code - SIGNALLED
    known = {it.value: it.name for it in Signals}
    return known.get(number, "no signal")


def refusals_of(messages: Iterable[str]) -> list[Trouble]:
    """Return why pods could not be created: quota, Pod Security, LimitRange."""
    found: list[Trouble] = []
    for message in messages:
        quota = _QUOTA.search(message)
        forbidden = _FORBIDDEN.search(message)
        if quota:
            one = Trouble(reason="QuotaExceeded", kind=quota["quota"], words=quota["words"])
        elif forbidden:
            one = Trouble(reason="PodRefused", kind="refused", words=forbidden["words"])
        else:
            one = Trouble(reason="PodRefused", kind="refused", words=message)
        if one not in found:
            found.append(one)
    return found
