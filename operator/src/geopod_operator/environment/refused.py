"""What is still done for a spec that cannot be: nothing starts, but sleep and term still hold."""

from __future__ import annotations

from geopod.api.environment import ComputeEnvironmentSpec
from pydantic import ValidationError

from geopod_operator.environment.access import Tokens
from geopod_operator.environment.facts import Facts
from geopod_operator.environment.observed import Observed, Raw
from geopod_operator.environment.outcome import Event, Outcome, RunStatus
from geopod_operator.environment.policies.runs import Wait, expired_runs, waiting_runs
from geopod_operator.environment.policies.scale import scale_of
from geopod_operator.environment.policies.suspend import rest_of
from geopod_operator.environment.policies.ttl import deletion_due, end_of_term
from geopod_operator.environment.resolved import Identity, Refusal
from geopod_operator.environment.status import changed, refused_status
from geopod_operator.environment.tidings import not_told, tidings_of_runs
from geopod_operator.environment.waiting import wait_message
from geopod_operator.environment.wanted import shrunk

LOOK_AGAIN_S = 300.0
CONTESTED_S = 30.0
"""A name that somebody else holds is looked at sooner: nobody tells when it is free."""


def plan_refused(
    observed: Observed, identity: Identity, facts: Facts, refusal: Refusal, minted: Tokens
) -> Outcome:
    """Return the plan for a spec that is not accepted: the status, and what time alone does."""
    spec = _spec(observed.environment)
    if spec is not None:
        due = deletion_due(spec, identity, facts)
        if due is not None and observed.now >= due:
            return end_of_term(identity)
    nodes = _fewer_nodes(spec, identity, facts) if refusal.reason != "NameConflict" else None
    waiting = _waiting(observed, identity, facts, refusal)
    finished = expired_runs(
        observed.runs, observed.now, keep=spec.history_limit if spec is not None else None
    )
    status = refused_status(observed, identity, facts, refusal, minted)
    is_conflict = refusal.reason == "NameConflict"
    event = Event(type="Warning", reason="NameConflict", message=refusal.message)
    return Outcome(
        deletes=finished.deletes,
        applies=(nodes,) if nodes is not None else (),
        run_statuses=waiting,
        status=changed(observed, status),
        events=(
            *not_told(observed, [event] if is_conflict else []),
            *tidings_of_runs(waiting),
        ),
        requeue_after=CONTESTED_S if is_conflict else LOOK_AGAIN_S,
    )


def _spec(environment: Raw) -> ComputeEnvironmentSpec | None:
    try:
        return ComputeEnvironmentSpec.model_validate(environment["spec"])
    except (ValidationError, ValueError):
        return None


def _fewer_nodes(
    spec: ComputeEnvironmentSpec | None, identity: Identity, facts: Facts
) -> Raw | None:
    if spec is None:
        return None
    scale = scale_of(spec, facts, rest_of(spec, identity, facts), gate_open=False)
    return shrunk(identity, facts, scale.replicas)


def _waiting(
    observed: Observed, identity: Identity, facts: Facts, refusal: Refusal
) -> tuple[RunStatus, ...]:
    if facts.coordinator_up:
        return ()
    wait: Wait = wait_message(identity.name, refusal.message)
    return waiting_runs(observed.runs, observed.now.replace(microsecond=0), wait).statuses
