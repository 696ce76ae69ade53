"""Idle: since when nobody uses the nodes, and when that has lasted long enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from geopod.api import names
from geopod.api.environment import ComputeEnvironmentSpec

from geopod_operator.environment.facts import Facts
from geopod_operator.environment.resolved import Identity

WARNING = timedelta(minutes=2)
"""So long before the nodes go, an Event says so."""


def last_activity(identity: Identity, facts: Facts) -> datetime:
    """Return when the environment was last used: a run, its creation, or its waking."""
    status = facts.status
    known = (status.last_activity_time, status.resumed_at, identity.created)
    return max(_aware(time) for time in known if time is not None)


def idle_since(identity: Identity, facts: Facts) -> datetime | None:
    """Return since when nobody uses the nodes; None: somebody does."""
    return None if facts.has_unfinished else last_activity(identity, facts)


def idle_due(spec: ComputeEnvironmentSpec, identity: Identity, facts: Facts) -> datetime | None:
    """Return when the idle policy takes effect; None: not as things are."""
    since = idle_since(identity, facts)
    if spec.idle is None or since is None:
        return None
    return not_before(identity, since + timedelta(seconds=spec.idle.after_seconds))


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
