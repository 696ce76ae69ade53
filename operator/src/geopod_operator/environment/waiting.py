"""Runs of an environment that no coordinator serves at the moment: why they wait, when they end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from geopod.api import reasons
from geopod.api.reasons import RunCondition

from geopod_operator.environment.conditions import judge
from geopod_operator.environment.observed import Raw
from geopod_operator.environment.outcome import RunStatus
from geopod_operator.environment.policies.runs import (
    RunPlan,
    Wait,
    mismatched_runs,
    orphaned_runs,
    run_age,
    waiting_runs,
)
from geopod_operator.environment.situation import Situation

PATIENCE = timedelta(seconds=20)
"""A coordinator that starts takes a run over within this time: nothing need be said."""


def plan_waiting(at: Situation) -> RunPlan:
    """Return what to tell the runs that wait without a coordinator."""
    now, identity = at.now, at.resolved.identity
    runs = at.observed.runs
    ended = list(orphaned_runs(runs, now, environment=identity.name, uid=identity.uid))
    is_off = at.rest.by_hand and not at.rest.keeps_coordinator
    if at.facts.coordinator_up and not is_off:
        return RunPlan(statuses=tuple(ended))
    python = at.resolved.interpreter.name.removeprefix("python")
    ended += mismatched_runs(_others(runs, ended), now, python=python)
    others = _others(runs, ended)
    old = [it for it in others if is_off or run_age(it, now) >= PATIENCE]
    waiting = waiting_runs(old, now, _suspended(at) if is_off else _not_ready(at))
    times = [waiting.retry_at] if waiting.retry_at else []
    times += [now + PATIENCE] if len(old) < len(others) else []
    return RunPlan(statuses=(*ended, *waiting.statuses), retry_at=min(times, default=None))


def wait_message(environment: str, words: str) -> Wait:
    """Return the wait for an environment that is not ready."""
    message = reasons.sentence(
        RunCondition.ACCEPTED, "EnvironmentNotReady", environment=environment, words=words
    )
    return Wait("EnvironmentNotReady", message)


def _others(runs: Iterable[Raw], ended: Iterable[RunStatus]) -> list[Raw]:
    names = {it.name for it in ended}
    return [it for it in runs if it["metadata"]["name"] not in names]


def _suspended(at: Situation) -> Wait:
    message = reasons.sentence(
        RunCondition.ACCEPTED, "Suspended", environment=at.resolved.identity.name
    )
    return Wait("Suspended", message)


def _not_ready(at: Situation) -> Wait:
    ready = next(it for it in judge(at) if it.type == "Ready")
    return wait_message(at.resolved.identity.name, ready.message)
