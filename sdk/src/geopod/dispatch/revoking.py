"""How tasks leave a lease without a result: the node is lost, drains, or stays silent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from geopod.api.results import TaskRecord
from geopod.dispatch.actions import Action, RunChanged
from geopod.dispatch.assignment import fill, place
from geopod.dispatch.ending import finish_if_done, machine_record, record_failures
from geopod.dispatch.fencing import close_lease
from geopod.dispatch.retry import (
    MAX_ATTEMPTS,
    Attempts,
    RetryClass,
    cancelled,
    may_retry,
    node_lost,
)
from geopod.dispatch.state import Lease, Run, State
from geopod.dispatch.tasks import SUCCEEDED, TaskTable


@dataclass(frozen=True, slots=True)
class Revocation:
    """Why tasks are taken away, and who pays."""

    why: str
    """In words, for GP-E306: `evicted: disk pressure`."""
    ran: int | None = None
    """The task that was running, or may have been. The others only waited behind it."""
    is_charged: bool = True
    """The Infra budget of the task that ran pays."""
    keeps_attempt: bool = False
    """The node says that it began none of the others: another node gets their attempt.
    Otherwise the next attempt has its own number, so that a late writer never meets it."""


def lose_lease(state: State, lease: Lease, why: str, actions: list[Action]) -> None:
    """Revoke a whole lease; the first task of a lease that ran is charged."""
    node = state.nodes[lease.node]
    ran = list(node.leases).index(lease.id) < node.slots
    first = next(iter(lease.open)) if ran and lease.open else None
    revoke(state, lease, list(lease.open), Revocation(why, ran=first), actions)


def revoke(
    state: State,
    lease: Lease,
    indexes: Collection[int],
    revocation: Revocation,
    actions: list[Action],
) -> None:
    """Take tasks away from a lease: they wait again, or fail when that was enough."""
    run = state.runs[lease.run]
    if run.tasks is None:
        return
    ended = [
        record
        for index in indexes
        if (record := _take_away(state, run, run.tasks, lease, index, revocation)) is not None
    ]
    record_failures(state, run, ended, actions)
    waiting = [index for index in indexes if run.tasks.is_pending(index)]
    settle(state, run, lease, actions, waiting=waiting)


def settle(
    state: State,
    run: Run,
    lease: Lease,
    actions: list[Action],
    *,
    waiting: Sequence[int] = (),
) -> None:
    """After an answer: close what is done, end the run if it is, find work for the node.

    `waiting`: tasks of the lease that must be found another node.
    """
    lease.started = True
    lease.since = state.now
    lease.progress = None
    if not lease.open:
        close_lease(state, lease)
    if not finish_if_done(state, run, actions):
        actions.append(RunChanged(run.order.uid))
        if waiting:
            place(state, run, waiting, actions)
    fill(state, state.nodes[lease.node], actions)


def _take_away(  # the run, its table and the lease are looked up once for all indexes
    state: State, run: Run, table: TaskTable, lease: Lease, index: int, revocation: Revocation
) -> TaskRecord | None:
    """Let one task wait again, or return the record with which it ends."""
    attempt = lease.open.pop(index)
    if run.stop is not None or index in lease.cancelling:
        by = lease.cancel_by if run.stop is None else run.stop.by
        return machine_record(
            state, index=index, attempt=attempt, node=lease.node, failure=cancelled(by)
        )
    times = _put_back(run, table, index, revocation)
    if times is None:
        return None
    rule = run.order.retries
    limit = rule.limit if RetryClass.INFRA in rule.on else 0
    failure = node_lost(times=times, limit=limit, why=revocation.why, kept=table.counts[SUCCEEDED])
    return machine_record(state, index=index, attempt=attempt, node=lease.node, failure=failure)


def _put_back(run: Run, table: TaskTable, index: int, revocation: Revocation) -> int | None:
    """Let a task wait again; else return how often it lost its node, which was enough."""
    attempts = table.attempts.get(index) or Attempts()
    has_run = index == revocation.ran
    if has_run and revocation.is_charged:
        if not may_retry(run.order.retries, attempts, RetryClass.INFRA):
            return attempts.charges.get(RetryClass.INFRA, 0) + 1
        table.put_back(index, charge=RetryClass.INFRA, same_attempt=False)
        return None
    keeps_attempt = revocation.keeps_attempt and not has_run
    if not keeps_attempt and attempts.number >= MAX_ATTEMPTS:
        return attempts.number
    table.put_back(index, charge=None, same_attempt=keeps_attempt)
    return None
