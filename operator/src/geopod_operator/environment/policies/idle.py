"""Idle: since when nobody uses the nodes, and when that has lasted long enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from geopod.api import names
from geopod.api.environment import ComputeEnvironmentSpec
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.facts import Facts
from geopod_operator.environment.resolved import Identity

WARNING = timedelta(minutes=2)
"""So long before the nodes go, an Event says so."""


def last_activity(identity: Identity, facts: Facts) -> datetime:
    """Return since when nobody used it: a run, its waking, or that it could be used at all."""
    status = facts.status
    is_there = facts.holds(EnvironmentCondition.AVAILABLE)
    there = facts.since(EnvironmentCondition.AVAILABLE) if is_there else None
    # What was told already stays: a coordinator that is away for a moment is no long idleness.
    used = (status.last_activity_time, status.resumed_at, status.idle_since)
    known = (*used, identity.created, there)
    return max(_aware(time) for time in known if time is not None)


def idle_since(identity: Identity, facts: Facts) -> datetime | None:
    """Return since when nobody uses the nodes; None: somebody does."""
    return None if facts.has_unfinished else last_activity(identity, facts)


def idle_due(spec: ComputeEnvironmentSpec, identity: Identity, facts: Facts) -> datetime | None:
    """Return when the idle policy takes effect; None: not as things are.

    Not while nodes are being started or replaced: nobody could use them. The progress deadline
    bounds that, so an environment that never gets ready falls asleep too.
    """
    since = idle_since(identity, facts)
    if spec.idle is None or since is None or _is_under_way(facts):
        return None
    return not_before(identity, since + timedelta(seconds=spec.idle.after_seconds))


def _is_under_way(facts: Facts) -> bool:
    """Say whether the environment is awake and not yet what it shall be."""
    told = facts.condition(EnvironmentCondition.PROGRESSING)
    is_awake = not facts.holds(EnvironmentCondition.SUSPENDED)
    return is_awake and (told is None or told.is_true)


def not_before(identity: Identity, time: datetime) -> datetime:
    """Return `time`, or the later one until which a client asked to keep the environment."""
    asked = identity.annotations.get(names.ANNOTATION_KEEP_ALIVE_UNTIL, "")
    try:
        until = _aware(datetime.fromisoformat(asked))
    except ValueError:
        return time
    return max(time, until)


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
