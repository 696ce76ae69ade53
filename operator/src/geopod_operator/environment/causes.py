"""Root causes of nodes or a coordinator that are not ready: grouped, the most frequent first.

Scheduler, kubelet and admission are quoted, secrets masked. The sentences are those of
`geopod.api.reasons`. Source: operator design, §5.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from geopod.api import reasons
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.masking import mask, shortened
from geopod_operator.environment.observed import Raw
from geopod_operator.environment.troubles import (
    Trouble,
    refusals_of,
    signal_name,
    time_of,
    troubles_of,
)

PULL_WORDS, PLACE_WORDS, CRASH_WORDS, REFUSAL_WORDS, FAILURE_WORDS = 160, 200, 200, 600, 256
MAX_FAILURES = 10
_NO_RUN = "?"
"""A pod's status does not tell which run it was."""
_STORAGE = re.compile(r"(?i)ephemeral[ -]storage|emptydir")
_INSUFFICIENT = re.compile(r"(\d+) Insufficient ([A-Za-z0-9./-]*[A-Za-z0-9])")
RECENT = timedelta(minutes=20)
"""Controllers repeat a refused creation at least every 17 minutes."""
RANK = (
    "ImagePullFailed", "PodRefused", "QuotaExceeded", "Unschedulable", "OutOfMemory", "CrashLoop",
)  # fmt: skip  # words read best in a line
"""Of equally frequent causes the first: what needs a person before what may heal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the pods ask for and where: the values of the sentences."""

    condition: EnvironmentCondition
    total: int
    """Pods wanted."""
    namespace: str
    runtime: str
    pull_secrets: tuple[str, ...]
    cpu: str
    memory: str
    storage: str
    gpus: str
    secrets: tuple[str, ...] = ()
    """Values that no message may show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One cause and the pods that it keeps from being ready."""

    reason: str
    message: str
    count: int
    """Pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found when pods and Events were listed."""

    causes: tuple[Cause, ...] = ()
    failures: tuple[Raw, ...] = ()
    """For `status.failures`, the first ten."""


def find_causes(
    pods: Sequence[Raw],
    events: Sequence[Raw],
    *,
    asked: Asked,
    now: datetime,
    messages: Iterable[str] = (),
) -> Findings:
    """Return the causes. `events`: of pods; `messages`: refused creations."""
    troubles = troubles_of(pods, events, now=now)
    missing = max(asked.total - len(pods), 0)
    groups: dict[tuple[str, str, str], list[Trouble]] = defaultdict(list)
    for trouble in troubles:
        words = trouble.words.replace(trouble.pod, "{pod}")
        groups[trouble.reason, trouble.kind, words].append(trouble)
    causes = [_cause(group, len(group), asked, len(pods)) for group in groups.values()]
    if missing:
        refused = refusals_of(messages)
        causes += [_cause([trouble], missing, asked, len(pods)) for trouble in refused]
    causes.sort(key=lambda it: (-it.count, RANK.index(it.reason), it.message))
    return Findings(
        causes=tuple(causes),
        failures=tuple(_failure(it, asked) for it in troubles[:MAX_FAILURES]),
    )


def recent_refusals(events: Iterable[Raw], now: datetime) -> list[str]:
    """Return the messages of FailedCreate Events that are not history, the latest first."""
    told = [
        (time, event.get("message", ""))
        for event in events
        if event.get("reason") == "FailedCreate" and (time := time_of(event))
    ]
    recent = (it for it in told if now - datetime.fromisoformat(it[0]) <= RECENT)
    return [message for _, message in sorted(recent, reverse=True)]


def _cause(group: list[Trouble], count: int, asked: Asked, there: int) -> Cause:
    first = group[0]
    match first.reason:
        case "PodRefused":
            message = _refusal(first, asked)
        case "OutOfMemory":
            message = _out_of_memory(group, asked)
        case "CrashLoop":
            words = _words(first.words, CRASH_WORDS, asked)
            message = _say(
                asked,
                "CrashLoop",
                pod=first.pod,
                container=first.container,
                exit=first.exit_code,
                signal=signal_name(first.exit_code),
                count=sum(it.count for it in group),
                words=words,
            )
        case "QuotaExceeded":
            message = _say(
                asked,
                "QuotaExceeded",
                quota=first.kind,
                namespace=asked.namespace,
                words=_words(first.words, PLACE_WORDS, asked),
                fits=there,
                total=asked.total,
            )
        case "Unschedulable":
            message = _no_place(first, count, asked)
        case _:
            message = _say(
                asked,
                "ImagePullFailed",
                image=first.image,
                count=count,
                total=asked.total,
                words=_words(first.words, PULL_WORDS, asked),
                runtime=asked.runtime,
                secrets=", ".join(asked.pull_secrets),
            )
    return Cause(reason=first.reason, message=message, count=count)


def _refusal(trouble: Trouble, asked: Asked) -> str:
    words = _words(trouble.words, REFUSAL_WORDS, asked)
    if trouble.kind == "config":
        return (
            f"{trouble.pod}: {words}. Secret or key named in spec.env or spec.secrets is missing."
            if asked.condition == EnvironmentCondition.NODES_READY
            else f"{trouble.pod}: {words}. Create the Secret that a Layer's credentials name."
        )
    if trouble.kind == "evicted" and _STORAGE.search(trouble.words):
        return (
            f"node {trouble.index} used more than {asked.storage} of scratch: {words}. "
            "Raise spec.resources.ephemeralStorage."
        )
    if trouble.kind in {"evicted", "failed"}:
        return f"{trouble.pod}: {words}."
    return f"the namespace refuses the pod: {words}."


def _out_of_memory(group: list[Trouble], asked: Asked) -> str:
    first = group[0]
    count = sum(it.count for it in group)
    if first.container == "runner":
        said = _say(
            asked, "OutOfMemory", index=first.index, limit=asked.memory, count=count, run=_NO_RUN
        )
        return said.replace(f", last in run {_NO_RUN}", "")
    return (
        f"{first.pod}/{first.container} went over its memory limit {count} times. "
        "Raise agentResources.memory of the ComputeRuntime."
    )


def _no_place(trouble: Trouble, count: int, asked: Asked) -> str:
    words = _words(trouble.words, PLACE_WORDS, asked)
    lacking = _INSUFFICIENT.findall(trouble.words)
    if lacking:
        # Machines that lack several things are counted for each: what most of them lack decides.
        _, resource = max(lacking, key=lambda it: (int(it[0]), "/" in it[1]))
        advice = f"No machine has room for so much {resource}: lower it or add machines."
    elif "taint" in words:
        advice = "Machines are kept free by taints: add tolerations to spec.template."
    elif "selector" in words or "affinity" in words:
        advice = "No machine has the labels asked for: check nodeSelector and affinity."
    else:
        advice = "The autoscaler has not reacted."
    return _say(
        asked,
        "Unschedulable",
        count=count,
        total=asked.total,
        words=words,
        cpu=asked.cpu,
        memory=asked.memory,
        gpus=asked.gpus,
        advice=advice,
    )


def _say(asked: Asked, reason: str, **values: object) -> str:
    condition = EnvironmentCondition.NODES_READY if reason == "OutOfMemory" else asked.condition
    return reasons.sentence(condition, reason, **values)


def _words(text: str, limit: int, asked: Asked) -> str:
    return shortened(mask(text, asked.secrets), limit)


def _failure(trouble: Trouble, asked: Asked) -> Raw:
    failure: Raw = {
        "index": trouble.index,
        "pod": trouble.pod,
        "reason": trouble.reason,
        "message": _words(trouble.words, FAILURE_WORDS, asked),
        "count": trouble.count,
    }
    return failure | ({"lastTime": trouble.last_time} if trouble.last_time else {})
