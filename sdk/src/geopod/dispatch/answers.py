"""What nodes answer for their leases: results, failures, tasks handed back. One answer per task."""

from __future__ import annotations

from msgspec import structs

from geopod.api.results import TaskReason, TaskRecord
from geopod.dispatch import tasks as code
from geopod.dispatch.actions import Action, Commit, Forget, RunChanged
from geopod.dispatch.batching import learn
from geopod.dispatch.ending import record_failures
from geopod.dispatch.events import HandedBack, TaskFailed, TaskProgressed, TasksDone, TaskStarted
from geopod.dispatch.fencing import valid_lease
from geopod.dispatch.retry import CLASS_OF, cancelled, may_retry
from geopod.dispatch.revoking import Revocation, revoke, settle
from geopod.dispatch.state import NodePhase, State


def take_done(state: State, event: TasksDone, actions: list[Action]) -> None:
    """Commit results that come from the right lease, each task once; the others lose."""
    lease = valid_lease(state, lease_id=event.lease, node=event.node, epoch=event.epoch)
    run = None if lease is None else state.runs[lease.run]
    if lease is None or run is None or run.tasks is None:
        late = [record.index for record in event.records]
        actions.append(Forget(event.node, event.lease, late))
        return
    won: list[TaskRecord] = []
    late = []
    waiting, finish = lease.open, run.tasks.finish
    for record in event.records:
        if waiting.get(record.index) == record.attempt and record.failure is None:
            del waiting[record.index]
            finish(record.index, code.SUCCEEDED)
            won.append(record)
        else:
            late.append(record.index)
    if late:
        actions.append(Forget(event.node, event.lease, late))
    if not won:
        return
    actions.append(Commit(lease.run, won, lease.node, lease.id))
    learn(run, lease, won)
    settle(state, run, lease, actions)


def take_failed(state: State, event: TaskFailed, actions: list[Action]) -> None:
    """Try a failed task again if its class has budget; else its failure is final."""
    record, failure = event.record, event.record.failure
    lease = valid_lease(state, lease_id=event.lease, node=event.node, epoch=event.epoch)
    if lease is None or failure is None or lease.open.get(record.index) != record.attempt:
        actions.append(Forget(event.node, event.lease, [record.index]))
        return
    run = state.runs[lease.run]
    if run.tasks is None:
        return
    index = record.index
    del lease.open[index]
    retry_class = CLASS_OF[failure.reason]
    asked = run.stop is not None or index in lease.cancelling
    again = not asked and may_retry(run.order.retries, run.tasks.attempts.get(index), retry_class)
    if again:
        run.tasks.put_back(index, charge=retry_class, same_attempt=False)
        actions.append(Forget(event.node, event.lease, [index]))
    else:
        if asked and failure.reason is TaskReason.CANCELLED:  # the node cannot know by whom
            by = lease.cancel_by if run.stop is None else run.stop.by
            fact = cancelled(by).fact
            record = structs.replace(record, failure=structs.replace(failure, fact=fact))
        record_failures(state, run, [record], actions, lease=lease)
    settle(state, run, lease, actions, waiting=[index] if again else ())


def take_back(state: State, event: HandedBack, actions: list[Action]) -> None:
    """Let tasks wait again that a node gives back; a node that drains costs no attempt."""
    lease = valid_lease(state, lease_id=event.lease, node=event.node, epoch=event.epoch)
    if lease is None:
        actions.append(Forget(event.node, event.lease, list(event.indexes)))
        return
    returned = [index for index in dict.fromkeys(event.indexes) if index in lease.open]
    revocation = Revocation(
        event.reason,
        ran=returned[0] if returned else None,  # a node that closes gives it back, too
        is_charged=state.nodes[lease.node].phase is not NodePhase.DRAINING,
        keeps_attempt=True,
    )
    revoke(state, lease, returned, revocation, actions)


def take_started(state: State, event: TaskStarted) -> None:
    """Restart the clock of a lease: staging and loading do not count against its task."""
    lease = valid_lease(state, lease_id=event.lease, node=event.node, epoch=event.epoch)
    if lease is not None:
        lease.started = True
        lease.since = state.now


def take_progress(state: State, event: TaskProgressed, actions: list[Action]) -> None:
    """Keep what a running task says of itself, for the run's status."""
    lease = valid_lease(state, lease_id=event.lease, node=event.node, epoch=event.epoch)
    if lease is None or event.index not in lease.open:
        return
    fraction = event.fraction
    known = fraction is not None and 0.0 <= fraction <= 1.0
    lease.progress = (fraction if known and fraction is not None else 0.0, event.text)
    actions.append(RunChanged(lease.run))
