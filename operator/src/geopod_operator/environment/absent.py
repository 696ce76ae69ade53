"""What to do with runs whose environment is not there, or is another one of the same name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from geopod.api import reasons
from geopod.api.reasons import RunCondition

from geopod_operator.environment.observed import Raw
from geopod_operator.environment.outcome import Outcome
from geopod_operator.environment.policies.runs import (
    Wait,
    expired_runs,
    orphaned_runs,
    waiting_runs,
)
from geopod_operator.environment.tidings import tidings_of_runs

MAX_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A name that runs ask for, and the uid of the environment that has it, if one has."""

    now: datetime
    namespace: str
    name: str
    """The environment that is not there."""
    environments: tuple[str, ...] = ()
    """Names of those that are there, for a message."""
    uid: str | None = None
    """uid of the environment that has the name now: runs of an earlier one end, others wait."""
    runs: tuple[Raw, ...] = ()
    """ComputeRuns that name it: new, unfinished (LIST after a deletion) and finished ones."""


def plan_absent(absence: Absence) -> Outcome:
    """Return what to do about runs without an environment: tell, end, delete after their term."""
    now = absence.now
    orphans = orphaned_runs(absence.runs, now, environment=absence.name, uid=absence.uid)
    if absence.uid is not None or absence.name in absence.environments:
        return Outcome(run_statuses=orphans, events=tidings_of_runs(orphans))
    ended = {it.name for it in orphans}
    waiting = waiting_runs(
        (it for it in absence.runs if it["metadata"]["name"] not in ended), now, _wait(absence)
    )
    finished = expired_runs(absence.runs, now, keep=None)
    times = [it for it in (waiting.retry_at, finished.retry_at) if it is not None]
    told = (*orphans, *waiting.statuses)
    return Outcome(
        deletes=finished.deletes,
        run_statuses=told,
        events=tidings_of_runs(told),
        requeue_after=max((min(times) - now).total_seconds(), 1.0) if times else None,
    )


def _wait(absence: Absence) -> Wait:
    there = sorted(absence.environments)
    listed = ", ".join(there[:MAX_NAMES]) or "none"
    more = f" and {len(there) - MAX_NAMES} more" if len(there) > MAX_NAMES else ""
    message = reasons.sentence(
        RunCondition.ACCEPTED,
        "EnvironmentNotFound",
        environment=absence.name,
        namespace=absence.namespace,
        names=f"{listed}{more}",
    )
    return Wait("EnvironmentNotFound", message)
