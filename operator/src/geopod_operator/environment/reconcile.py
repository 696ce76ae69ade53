"""The recipe: what is observed of one environment → what to do. No other place decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from geopod.api import names

from geopod_operator.environment.accepted import identity_of, resolve
from geopod_operator.environment.access import Tokens, mint_tokens
from geopod_operator.environment.children import (
    contested,
    is_current,
    is_leftover,
    name_conflict,
)
from geopod_operator.environment.conditions import restart_ends_at, stalled_at
from geopod_operator.environment.dependencies import Dependencies, dependencies_of
from geopod_operator.environment.desired.nodes import template_hash
from geopod_operator.environment.facts import Facts, read_facts
from geopod_operator.environment.hashing import stamped
from geopod_operator.environment.listing import listing_at, look, needed_pods, node_pods
from geopod_operator.environment.observed import Observed, Raw, Ref, ref_of
from geopod_operator.environment.outcome import Delete, Event, Needs, Outcome
from geopod_operator.environment.policies.idle import WARNING, idle_due
from geopod_operator.environment.policies.lost_bundle import lost_bundle, stuck_pods
from geopod_operator.environment.policies.node_loss import lost_pods
from geopod_operator.environment.policies.rollout import pods_to_replace
from geopod_operator.environment.policies.runs import expired_results, expired_runs
from geopod_operator.environment.policies.scale import coordinators_of, scale_of
from geopod_operator.environment.policies.suspend import rest_of
from geopod_operator.environment.policies.ttl import deletion_due, end_of_term
from geopod_operator.environment.purge import plan_deletion, wanted_finalizers
from geopod_operator.environment.refused import plan_refused
from geopod_operator.environment.resolved import Refusal, Resolved
from geopod_operator.environment.situation import Situation, is_gate_open
from geopod_operator.environment.status import changed, tells_counts_alone, told_status
from geopod_operator.environment.tidings import tidings, tidings_of_runs
from geopod_operator.environment.waiting import plan_waiting
from geopod_operator.environment.wanted import must_be_remade, standing_children, wanted_nodes

LEFTOVERS_S = 2.0
"""The garbage collector removes the children of a deleted environment within seconds."""


def plan(observed: Observed) -> Outcome:
    """Return what to do for one environment now.

    Pure: the same observation gives the same plan, and a plan carried out and observed again
    asks for nothing. If `needs` of the outcome is true, fetch that and plan again.
    """
    identity = identity_of(observed.environment)
    minted = mint_tokens(identity, observed.settings, observed.now)
    if observed.environment["metadata"].get("deletionTimestamp"):
        return plan_deletion(observed, identity)
    unknown = _unknown(observed, [
        Ref("StatefulSet", names.node_name(identity.name)),
        Ref("Deployment", names.coordinator_name(identity.name)),
    ])  # fmt: skip  # one child per line
    if unknown:
        return Outcome(needs=Needs(children=unknown))
    facts = read_facts(observed)
    resolved = resolve(observed)
    if isinstance(resolved, Refusal):
        return plan_refused(observed, identity, facts, resolved, minted)
    due = deletion_due(resolved.spec, identity, facts)
    if due is not None and observed.now >= due:
        return end_of_term(identity)
    return _plan_living(observed, resolved, facts, minted)


def _plan_living(observed: Observed, resolved: Resolved, facts: Facts, minted: Tokens) -> Outcome:
    dependencies = dependencies_of(observed, resolved, facts)
    at = _situation(observed, resolved, facts, dependencies, minted)
    standing = standing_children(
        resolved,
        observed.settings,
        minted,
        coordinators=coordinators_of(facts, at.rest),
    )
    nodes = wanted_nodes(at)
    wanted = [*standing, *dependencies.wanted, *([nodes] if nodes is not None else [])]
    unknown = _unknown(observed, [*dependencies.lookups, *(ref_of(it) for it in wanted)])
    if unknown:
        return Outcome(needs=Needs(children=unknown))
    held = contested(observed, wanted)
    if any(is_leftover(observed, ref) for ref in held):
        return Outcome(stale=held, requeue_after=LEFTOVERS_S)
    if held:
        refusal = name_conflict(min(held))
        refused = plan_refused(observed, resolved.identity, facts, refusal, minted)
        return replace(refused, stale=held)
    needs = needed_pods(at)
    if needs:
        return Outcome(needs=needs)
    return _outcome(look(at), standing, nodes, minted)


def _situation(
    observed: Observed,
    resolved: Resolved,
    facts: Facts,
    dependencies: Dependencies,
    minted: Tokens,
) -> Situation:
    rest = rest_of(resolved.spec, resolved.identity, facts)
    gate_open = is_gate_open(resolved.spec, facts, dependencies)
    is_known = dependencies.ready
    hashed = template_hash(resolved, dependencies.bundle) if is_known else ""
    return Situation(
        observed=observed,
        resolved=resolved,
        facts=facts,
        dependencies=dependencies,
        rest=rest,
        scale=scale_of(resolved.spec, facts, rest, gate_open=gate_open),
        wanted_hash=hashed or facts.status.template_hash or "",
        secrets=minted.secrets,
    )


def _outcome(at: Situation, standing: list[Raw], nodes: Raw | None, minted: Tokens) -> Outcome:
    observed, facts = at.observed, at.facts
    deletes = [*at.dependencies.deletes]
    times = [datetime.fromtimestamp(minted.slot.next, observed.now.tzinfo)]
    events: list[Event] = []
    applies = _stale(observed, [*standing, *map(stamped, at.dependencies.wanted)])
    if nodes is not None and must_be_remade(facts.stateful_set, nodes):
        deletes.append(_orphaning(facts.stateful_set))
        times.append(observed.now)
    elif nodes is not None:
        applies += _stale(observed, [nodes])
    if observed.pods is not None:
        deletes += lost_bundle(observed, at.dependencies.bundle, _nodes(at))
        deletes += stuck_pods(facts.stateful_set, _nodes(at))
        replaced = pods_to_replace(at.spec, facts, _nodes(at), wanted_hash=at.wanted_hash)
        losses = lost_pods(at.spec, facts, _nodes(at))
        deletes += [*(replaced if facts.template_hash == at.wanted_hash else ()), *losses.deletes]
        times += [losses.retry_at] if losses.retry_at else []
        events += [_replaced(losses.deletes)] if losses.deletes else []
    runs = plan_waiting(at)
    finished = expired_runs(observed.runs, observed.now, keep=at.spec.history_limit)
    gone = expired_results(_but(observed.runs, finished.deletes), at.now)
    status = told_status(at, minted)
    written, holds_counts = changed(observed, status), False
    if written is not None and observed.counts_wait_s > 0 and tells_counts_alone(observed, written):
        times.append(observed.now + timedelta(seconds=observed.counts_wait_s))
        written, holds_counts = None, True
    times += [
        time
        for time in (*_life(at), *(it.retry_at for it in (runs, finished, gone, at.dependencies)))
        if time is not None
    ]
    told_runs = (*runs.statuses, *gone.statuses)
    return Outcome(
        deletes=(*deletes, *finished.deletes),
        applies=tuple(applies),
        run_statuses=told_runs,
        finalizers=wanted_finalizers(observed.environment, at.spec),
        status=written,
        holds_counts=holds_counts,
        events=(*tidings(at, status), *events, *tidings_of_runs(told_runs)),
        requeue_after=max((min(times) - observed.now).total_seconds(), 1.0),
    )


def _life(at: Situation) -> Iterable[datetime | None]:
    """Yield the times at which sleep, term, drains and causes want another look."""
    identity, facts = at.resolved.identity, at.facts
    due = idle_due(at.spec, identity, facts)
    if due is not None and not at.rest.asleep:
        yield due - WARNING if due - WARNING > at.observed.now else due
    yield deletion_due(at.spec, identity, facts)
    yield at.scale.retry_at
    yield stalled_at(at)
    yield restart_ends_at(at)
    yield listing_at(at)


def _stale(observed: Observed, wanted: Iterable[Raw]) -> list[Raw]:
    """Return what must be applied; builder objects are made once and never changed."""
    return [it for it in wanted if not is_current(observed, it)]


def _unknown(observed: Observed, refs: Iterable[Ref]) -> frozenset[Ref]:
    return frozenset(ref for ref in refs if ref not in observed.children)


def _but(runs: Iterable[Raw], deletes: Iterable[Delete]) -> list[Raw]:
    """Return the runs that are not deleted in the same go."""
    names_gone = {it.ref.name for it in deletes}
    return [run for run in runs if run["metadata"]["name"] not in names_gone]


def _nodes(at: Situation) -> list[Raw]:
    return node_pods(at.observed.pods or (), at.resolved.identity.name)


def _orphaning(live: Raw | None) -> Delete:
    assert live is not None  # noqa: S101  # a wanted field differs from a live one
    metadata = live["metadata"]
    ref = Ref("StatefulSet", metadata["name"])
    return Delete(ref=ref, uid=metadata["uid"], propagation="Orphan")


def _replaced(deletes: tuple[Delete, ...]) -> Event:
    pods = ", ".join(it.ref.name for it in deletes[:10])
    return Event(type="Warning", reason="NodeReplaced", message=f"deleted by force: {pods}.")
