"""Term of an environment: it is deleted so long after its last activity, never after creation."""

from __future__ import annotations

from datetime import datetime, timedelta

from geopod.api.environment import ComputeEnvironmentSpec
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.facts import Facts
from geopod_operator.environment.observed import Ref
from geopod_operator.environment.outcome import Delete, Event, Outcome
from geopod_operator.environment.policies.idle import idle_due, idle_since, not_before
from geopod_operator.environment.resolved import Identity


def deletion_due(spec: ComputeEnvironmentSpec, identity: Identity, facts: Facts) -> datetime | None:
    """Return when the environment deletes itself; None: not as things are.

    By `ttlSeconds`, counted from when the operator has seen it first (clocks of API server and
    operator may differ by minutes), or by the idle policy Delete.
    """
    times: list[datetime] = []
    since = idle_since(identity, facts)
    if spec.ttl_seconds is not None and since is not None:
        since = max(since, facts.since(EnvironmentCondition.ACCEPTED))
        times.append(not_before(identity, since + timedelta(seconds=spec.ttl_seconds)))
    if spec.idle is not None and spec.idle.policy == "Delete":
        due = idle_due(spec, identity, facts)
        times += [due] if due is not None else []
    return min(times, default=None)


def end_of_term(identity: Identity) -> Outcome:
    """Return the plan for an environment whose term has ended: it goes, and an Event says why."""
    message = "nobody has used the environment for as long as its spec allows."
    return Outcome(
        deletes=(Delete(ref=Ref("ComputeEnvironment", identity.name), uid=identity.uid),),
        events=(Event(type="Normal", reason="Expired", message=message),),
    )
