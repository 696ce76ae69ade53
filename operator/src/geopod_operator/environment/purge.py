"""Deletion: children go by their owner; with `results.onDelete: Purge` the store is emptied first.

Our only finalizer exists only for that, and goes after 300 s whatever happened, with a Warning.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from geopod.api import names
from geopod.api.environment import ComputeEnvironmentSpec

from geopod_operator.environment.access import mint_purge_token
from geopod_operator.environment.desired.network import build_policy
from geopod_operator.environment.desired.purge import purge_job, purge_name, purge_secret
from geopod_operator.environment.hashing import stamped
from geopod_operator.environment.observed import Observed, Raw, Ref
from geopod_operator.environment.outcome import Delete, Event, Needs, Outcome
from geopod_operator.environment.resolved import Identity

PATIENCE = timedelta(seconds=300)
LOOK_AGAIN_S = 5.0


def wanted_finalizers(environment: Raw, spec: ComputeEnvironmentSpec) -> tuple[str, ...] | None:
    """Return the finalizers that the environment shall have; None: it has them."""
    present: list[str] = environment["metadata"].get("finalizers") or []
    others = [it for it in present if it != names.FINALIZER_PURGE]
    wanted = [*others, names.FINALIZER_PURGE] if spec.results.on_delete == "Purge" else others
    return None if set(wanted) == set(present) else tuple(wanted)


def plan_deletion(observed: Observed, identity: Identity) -> Outcome:
    """Return what to do for an environment that is being deleted."""
    metadata = observed.environment["metadata"]
    finalizers: list[str] = metadata.get("finalizers") or []
    if names.FINALIZER_PURGE not in finalizers:
        return Outcome()
    name = purge_name(identity)
    writers = (
        Ref("StatefulSet", names.node_name(identity.name)),
        Ref("Deployment", names.coordinator_name(identity.name)),
    )
    job_ref, secret_ref = Ref("Job", name), Ref("Secret", name)
    build = Ref("NetworkPolicy", names.BUILD_NETWORK_POLICY)
    unknown = {it for it in (*writers, job_ref, secret_ref, build) if it not in observed.children}
    if unknown:
        return Outcome(needs=Needs(children=frozenset(unknown)))
    others = tuple(it for it in finalizers if it != names.FINALIZER_PURGE)
    job = observed.children[job_ref]
    is_late = observed.now - datetime.fromisoformat(metadata["deletionTimestamp"]) >= PATIENCE
    if is_late or _is_done(job):
        events = [] if _is_done(job) else [_timed_out(job)]
        return Outcome(
            deletes=(Delete(ref=job_ref), Delete(ref=secret_ref)),
            finalizers=others,
            events=tuple(events),
        )
    return _next_step(observed, identity, writers, job)


def _next_step(
    observed: Observed, identity: Identity, writers: tuple[Ref, ...], job: Raw | None
) -> Outcome:
    """Return the next step: first whoever writes to the store goes, then the folder."""
    live = [observed.children[it] for it in writers]
    left = [it for it in live if it is not None]
    if left:
        return Outcome(
            deletes=tuple(
                Delete(ref=Ref(it["kind"], it["metadata"]["name"]), uid=it["metadata"]["uid"])
                for it in left
                if not it["metadata"].get("deletionTimestamp")
            ),
            requeue_after=LOOK_AGAIN_S,
        )
    settings = observed.settings
    applies: tuple[Raw, ...] = ()
    if job is None:
        token = mint_purge_token(identity, settings, observed.now)
        policy = build_policy(identity.namespace, settings)
        has_policy = observed.children[Ref("NetworkPolicy", policy["metadata"]["name"])] is not None
        applies = (
            *(() if has_policy else (stamped(policy),)),
            stamped(purge_secret(identity, token)),
            stamped(purge_job(identity, settings)),
        )
    return Outcome(applies=applies, requeue_after=LOOK_AGAIN_S)


def _is_done(job: Raw | None) -> bool:
    conditions = ((job or {}).get("status") or {}).get("conditions", [])
    return any(it["type"] == "Complete" and it["status"] == "True" for it in conditions)


def _timed_out(job: Raw | None) -> Event:
    seconds = int(PATIENCE.total_seconds())
    state = "is still going on" if job is not None else "has not begun"
    message = (
        f"results were not purged within {seconds} s: the Job {state}. They stay in the store."
    )
    return Event(type="Warning", reason="PurgeTimedOut", message=message)
