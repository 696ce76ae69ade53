"""Events: what people should hear of once, read from how the conditions changed.

One per cause, however many nodes; at most one per reason in five minutes. Source: design, §9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Literal

from geopod.api.conditions import Condition
from geopod.api.reasons import EnvironmentCondition, RunCondition

from geopod_operator.environment.observed import Observed, Raw, Ref
from geopod_operator.environment.outcome import Event, RunStatus
from geopod_operator.environment.policies.idle import WARNING, idle_due
from geopod_operator.environment.situation import Situation

Kind = EnvironmentCondition
QUIET = timedelta(minutes=5)
MOST_RUNS = 10
"""Of so many runs that end in one go Events tell; their own status tells of each."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A change of a condition that is worth an Event."""

    kind: Kind
    status: Literal["True", "False"]
    event: str
    """Reason of the Event; empty: the condition's own."""
    type: Literal["Normal", "Warning"] = "Normal"
    reasons: str = ""
    """Reasons of the condition; empty: any."""
    anew: bool = True
    """Told also when the condition is written for the first time."""

    def fits(self, was: Condition | None, now: Condition) -> bool:
        """Say whether a condition changed like this."""
        return (
            (self.kind, self.status) == (now.type, now.status)
            and (not self.reasons or now.reason in self.reasons.split())
            and (self.anew or was is not None)
        )


CAUSES = "ImagePullFailed Unschedulable QuotaExceeded OutOfMemory"
FAILED = "ResolutionFailed IndexUnreachable BuilderFailed"
RULES = (
    Rule(Kind.DEPENDENCIES_READY, "True", "DependenciesResolved", reasons="Built"),
    Rule(Kind.DEPENDENCIES_READY, "False", "DependencyInstallFailed", "Warning", FAILED),
    Rule(Kind.COORDINATOR_READY, "True", "CoordinatorReady"),
    Rule(Kind.COORDINATOR_READY, "False", "", "Warning", CAUSES),
    Rule(Kind.NODES_READY, "True", "NodesReady"),
    Rule(Kind.NODES_READY, "False", "", "Warning", f"{CAUSES} NodeLost"),
    Rule(Kind.SUSPENDED, "True", "Suspended"),
    Rule(Kind.SUSPENDED, "False", "Resumed", anew=False),
    Rule(Kind.PROGRESSING, "True", "RolloutStarted", anew=False),
    Rule(Kind.PROGRESSING, "False", "RolloutComplete", "Normal", "RolloutComplete", anew=False),
)
"""The first that fits tells."""


def tidings(at: Situation, status: Raw) -> tuple[Event, ...]:
    """Return the Events of one plan: `status` is what it writes."""
    before = {it.type: it for it in at.facts.status.conditions}
    after = {it["type"]: Condition.model_validate(it) for it in status["conditions"]}
    events = [*_changes(before, after), *_scaling(at), *_warning(at)]
    if at.facts.holds(Kind.SUSPENDED):  # Resumed says it already
        events = [it for it in events if it.reason != "RolloutStarted"]
    serving = at.facts.status.coordinator
    if serving is not None and serving.epoch > 1 and not at.facts.holds(Kind.SUSPENDED):
        events = [_again(it) for it in events]
    return not_told(at.observed, events)


def _again(event: Event) -> Event:
    """Return the Event of a coordinator that has served before."""
    is_start = event.reason == "CoordinatorReady"
    return replace(event, reason="CoordinatorRestarted") if is_start else event


def tidings_of_runs(told: Iterable[RunStatus]) -> tuple[Event, ...]:
    """Return the Events about runs whose end, or that of their results, the operator tells."""
    found = (event for it in told if (event := _of_run(it)) is not None)
    return tuple(islice(found, MOST_RUNS))


def _of_run(told: RunStatus) -> Event | None:
    said = {it["type"]: it for it in told.status["conditions"]}
    results, failed = said.get(RunCondition.RESULTS_AVAILABLE), said.get(RunCondition.FAILED)
    about = Ref("ComputeRun", told.name)
    if results is not None:  # told only once they are gone
        return Event(
            type="Normal", reason="ResultsExpired", message=results["message"], about=about
        )
    if failed is None:
        return None
    accepted = said.get(RunCondition.ACCEPTED, {"reason": ""})
    is_mismatch = accepted["reason"] == "InterpreterMismatch"
    reason = "InterpreterMismatch" if is_mismatch else "RunFailed"
    return Event(type="Warning", reason=reason, message=failed["message"], about=about)


def not_told(observed: Observed, events: list[Event]) -> tuple[Event, ...]:
    """Return those that were not told in the last five minutes, one per reason."""
    chosen: dict[str, Event] = {}
    for event in events:
        told = observed.told.get(event.reason)
        if event.reason not in chosen and (told is None or observed.now - told >= QUIET):
            chosen[event.reason] = event
    return tuple(chosen.values())


def _changes(before: dict[str, Condition], after: dict[str, Condition]) -> Iterator[Event]:
    for kind, now in after.items():
        was = before.get(kind)
        if was is not None and (was.status, was.reason) == (now.status, now.reason):
            continue
        for rule in RULES:
            if rule.fits(was, now):
                yield Event(type=rule.type, reason=rule.event or now.reason, message=now.message)
                break


def _scaling(at: Situation) -> Iterator[Event]:
    current, wanted = at.facts.replicas, at.scale.replicas
    sleeps_or_wakes = at.rest.asleep or at.facts.holds(Kind.SUSPENDED)  # told by an Event already
    if at.facts.stateful_set is not None and current != wanted and not sleeps_or_wakes:
        yield Event(
            type="Normal", reason="NodesScaled", message=f"from {current} to {wanted} nodes."
        )


def _warning(at: Situation) -> Iterator[Event]:
    due = idle_due(at.spec, at.resolved.identity, at.facts)
    if due is None or at.rest.asleep or at.spec.idle is None:
        return
    left = due - at.observed.now
    told = at.observed.told.get("IdleWarning")
    if left <= WARNING and (told is None or due - told > WARNING + QUIET):
        seconds = max(int(left.total_seconds()), 0)
        message = f"idle: {at.spec.idle.policy} in {seconds} s unless a run comes."
        yield Event(type="Normal", reason="IdleWarning", message=message)
