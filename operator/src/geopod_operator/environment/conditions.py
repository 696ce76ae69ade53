"""The conditions that the operator writes, in the order in which Ready looks at them.

Source: operator design, §2. LayersResolved is the coordinator's; Ready and Stalled follow.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from geopod.api import reasons
from geopod.api.conditions import NOT_IN_READY, Condition, find, set_condition, summarize
from geopod.api.reasons import FATAL, EnvironmentCondition

from geopod_operator.environment.causes import Findings
from geopod_operator.environment.facts import ranges
from geopod_operator.environment.policies.scale import coordinators_of
from geopod_operator.environment.refusals import refused_causes
from geopod_operator.environment.resolved import Refusal
from geopod_operator.environment.situation import CAUSE_REASONS, Situation
from geopod_operator.environment.troubles import ready_time

Kind = EnvironmentCondition
STALLED_AFTER = timedelta(seconds=60)
"""A fatal cause may heal within this time: a registry that was away, a Secret that comes late."""
RESTART = timedelta(seconds=30)
"""A coordinator is there again within this time, and so long its nodes may take to dial it."""
PASSING: dict[str, frozenset[str]] = {
    Kind.COORDINATOR_READY: frozenset({"Starting"}),
    Kind.NODES_READY: frozenset({"Scaling"}),
    Kind.AVAILABLE: frozenset({"BelowMinimum"}),
}
"""What is wrong while a coordinator restarts, and passes by itself."""
MAX_MESSAGE = 4096
TRUE, FALSE = True, False


class Said(NamedTuple):
    """One condition before it is written."""

    status: bool
    reason: str
    message: str


def say(kind: Kind, reason: str, *, status: bool, **values: object) -> Said:
    """Return a condition with the sentence of its reason."""
    return Said(status, reason, reasons.sentence(kind, reason, **values))


def refused(
    before: tuple[Condition, ...], refusal: Refusal, *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions of a spec that cannot be: Accepted, and what follows from it."""
    said = Said(FALSE, refusal.reason, refusal.message)
    conditions = _set(before, Kind.ACCEPTED, said, generation=generation, now=now)
    return summarize(conditions, generation=generation, now=now)


def judge(at: Situation) -> tuple[Condition, ...]:
    """Return all conditions, the coordinator's own among them as it is."""
    judges: dict[Kind, Callable[[Situation], Said]] = {
        Kind.ACCEPTED: lambda _: say(Kind.ACCEPTED, "Accepted", status=True),
        Kind.DEPENDENCIES_READY: _dependencies,
        Kind.COORDINATOR_READY: _coordinator,
        Kind.NODES_READY: _nodes,
        Kind.AVAILABLE: _available,
        Kind.PROGRESSING: _progressing,
        Kind.SUSPENDED: lambda it: Said(it.rest.asleep, it.rest.reason, it.rest.message),
    }
    conditions = at.facts.status.conditions
    generation = at.facts.generation
    for kind, judged in judges.items():
        conditions = _set(conditions, kind, judged(at), generation=generation, now=at.now)
    summary = summarize(conditions, generation=generation, now=at.now)
    ready = find(summary, Kind.READY)
    if ready is None or (ready.reason == "Reconciling" and not at.coordinator_ready):
        # Layers are not known because their reader is not there: that is what matters.
        said = _coordinator(at)
    else:
        said = Said(ready.is_true, ready.reason, ready.message)
    if not said.status and restart_ends_at(at, conditions) is not None:
        said = Said(TRUE, "Ready", _restarts(at))
    stalled = _stalled(conditions, at)
    conditions = _set(conditions, Kind.STALLED, stalled, generation=generation, now=at.now)
    return _set(conditions, Kind.READY, said, generation=generation, now=at.now)


def stalled_at(at: Situation) -> datetime | None:
    """Return when a fatal cause that is new will count as stalled."""
    times = [
        it.last_transition_time + STALLED_AFTER
        for it in at.facts.status.conditions
        if it.type in {Kind.COORDINATOR_READY, Kind.NODES_READY}
        and it.status == "False"
        and it.reason in FATAL
    ]
    return min((time for time in times if time > at.now), default=None)


def restart_ends_at(
    at: Situation, conditions: tuple[Condition, ...] | None = None
) -> datetime | None:
    """Return until when an environment that was ready stays so while its coordinator restarts.

    None: nothing of that kind goes on. Runs are taken meanwhile and start within moments.
    """
    told = at.facts.status.conditions
    ready = find(told, Kind.READY)
    if ready is None or not ready.is_true or ready.observed_generation != at.facts.generation:
        return None
    now = {it.type: it for it in (told if conditions is None else conditions)}
    coordinator = now.get(Kind.COORDINATOR_READY)
    wrong = {kind: it.reason for kind, it in now.items() if it.status == "False"}
    passing = PASSING.keys() & wrong.keys()
    others = wrong.keys() - passing - NOT_IN_READY
    is_passing = passing and all(wrong[kind] in PASSING[kind] for kind in passing)
    if coordinator is None or at.rest.asleep or others or not is_passing:
        return None
    end = coordinator.last_transition_time + RESTART
    return end if at.facts.pods >= at.total and at.now < end else None


def _restarts(at: Situation) -> str:
    return f"the coordinator restarts; {at.facts.pods} nodes are up."


def _set(
    conditions: tuple[Condition, ...], kind: Kind, said: Said, *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    return set_condition(
        conditions,
        kind,
        status=said.status,
        reason=said.reason,
        message=said.message[:MAX_MESSAGE],
        generation=generation,
        now=now,
    )


def _dependencies(at: Situation) -> Said:
    found = at.dependencies
    refused = refused_causes(at.observed.refused, Kind.DEPENDENCIES_READY, secrets=at.secrets)
    if refused and not found.ready:
        return Said(FALSE, refused[0].reason, refused[0].message)
    return Said(found.ready, found.reason, found.message)


def _coordinator(at: Situation) -> Said:
    if at.coordinator_ready:
        return say(Kind.COORDINATOR_READY, "Available", status=True)
    if coordinators_of(at.facts, at.rest) == 0:
        return Said(FALSE, "Starting", "the coordinator starts when the environment wakes.")
    cause = _cause(at, Kind.COORDINATOR_READY, at.coordinator)
    if cause is None and at.facts.pods:
        return Said(FALSE, "Starting", _restarts(at))
    return cause or say(Kind.COORDINATOR_READY, "Starting", status=False)


def _nodes(at: Situation) -> Said:
    facts, total = at.facts, at.total
    if at.nodes_ready:
        return say(Kind.NODES_READY, "AllReady", status=True, total=total)
    scaling = say(Kind.NODES_READY, "Scaling", status=False, count=facts.ready, total=total)
    if facts.ready >= total and not facts.lost and not at.observed.refused:
        return scaling
    cause = _cause(at, Kind.NODES_READY, at.nodes)
    if cause is not None:
        return cause
    before = facts.condition(Kind.NODES_READY)
    was_there = before is not None and (before.is_true or before.reason == "NodeLost")
    if facts.lost and was_there:  # a node that never answered is one that starts
        indexes = ranges(facts.lost)
        return say(Kind.NODES_READY, "NodeLost", status=False, indexes=indexes)
    return scaling


def _cause(at: Situation, kind: Kind, findings: Findings) -> Said | None:
    """Return the most frequent cause; while pods are not listed, the one that was found before."""
    if findings.causes:
        first, *others = findings.causes
        more = "".join(f" Also: {it.message}" for it in others[:2])
        return Said(FALSE, first.reason, f"{first.message}{more}")
    before = at.facts.condition(kind)
    if at.observed.pods is not None or before is None or before.is_true:
        return None
    is_current = before.observed_generation == at.facts.generation
    if before.reason in CAUSE_REASONS and is_current:
        return Said(FALSE, before.reason, before.message)
    return None


def _available(at: Situation) -> Said:
    minimum = min(at.spec.min_ready_nodes, max(at.spec.nodes, 1))
    if at.coordinator_ready and not at.rest.asleep and at.facts.ready >= minimum:
        return say(Kind.AVAILABLE, "MinimumReady", status=True)
    count = at.facts.ready
    return say(Kind.AVAILABLE, "BelowMinimum", status=False, count=count, minimum=minimum)


def _progressing(at: Situation) -> Said:
    if at.rest.asleep or not at.under_way:
        return say(Kind.PROGRESSING, "RolloutComplete", status=False)
    before = at.facts.condition(Kind.PROGRESSING)
    seconds = at.spec.rollout.progress_deadline_seconds
    exceeded = "ProgressDeadlineExceeded"
    words = _nodes(at).message.rstrip(".")
    late = say(Kind.PROGRESSING, exceeded, status=False, seconds=seconds, words=words)
    if before is not None and before.observed_generation == at.facts.generation:
        if before.reason == exceeded:
            return late
        if before.is_true and _last_progress(at, before) + timedelta(seconds=seconds) <= at.now:
            return late
    count = max(min(at.facts.ready, at.total) - at.facts.outdated, 0)
    return say(Kind.PROGRESSING, "RollingOut", status=True, count=count, total=at.total)


def _last_progress(at: Situation, before: Condition) -> datetime:
    """Return when something last moved: the roll-out began, or a pod became ready."""
    pods = at.observed.pods
    if pods is None:
        return at.now  # only what was looked at is judged
    times = [time for pod in pods if (time := ready_time(pod)) is not None]
    return max([before.last_transition_time, *times])


def _stalled(conditions: tuple[Condition, ...], at: Situation) -> Said:
    """Return whether a person is needed; what pods do is given a minute first."""
    for kind in Kind:
        if kind in {Kind.READY, Kind.STALLED}:
            continue
        found = find(conditions, kind)
        is_fatal = found is not None and found.status == "False" and found.reason in FATAL
        if found is None or not is_fatal:
            continue
        is_of_pods = kind in {Kind.COORDINATOR_READY, Kind.NODES_READY}
        if is_of_pods and at.now - found.last_transition_time < STALLED_AFTER:
            continue
        if kind == Kind.LAYERS_RESOLVED and found.observed_generation != at.facts.generation:
            continue
        return Said(TRUE, found.reason, found.message)
    return say(Kind.STALLED, "NotStalled", status=False)
