"""What time alone brings: deadlines, patience that ends. Judged on Tick, in one pass."""

from __future__ import annotations

from geopod.api.results import TaskRecord
from geopod.dispatch.actions import Action, Cancel
from geopod.dispatch.assignment import release_partitions, spread
from geopod.dispatch.ending import machine_record, record_failures, stop_run
from geopod.dispatch.retry import cancelled
from geopod.dispatch.revoking import lose_lease, settle
from geopod.dispatch.state import Lease, Run, State, Stop


def tick(state: State, actions: list[Action]) -> None:
    """Judge every deadline: linear in runs, nodes and live leases, not in tasks."""
    for run in list(state.runs.values()):
        _judge_run(state, run, actions)
    for lease in list(state.leases.values()):
        if lease.id in state.leases and lease.cancel_due is not None:
            _end_cancel(state, lease, actions)
    for node in list(state.nodes.values()):
        for lease in list(node.leases.values())[: node.slots]:
            if lease.id in state.leases:
                _judge_lease(state, lease, actions)
    for run in list(state.running.values()):
        release_partitions(state, run)
        spread(state, run, actions)
    state.may_admit = True


def _judge_run(state: State, run: Run, actions: list[Action]) -> None:
    """End a run that waited too long for its start, or runs too long."""
    if run.finished is not None or run.stop is not None:
        return
    order = run.order
    if run.started is None and state.now >= order.created + order.queue_timeout_s:
        message = (
            f"The run did not start within {order.queue_timeout_s:g} s of its submission "
            f"(queueTimeoutSeconds){'' if state.size else '; the environment has no nodes'}."
        )
        stop = Stop("Failed", "QueueDeadlineExceeded", message, "queueTimeoutSeconds")
        stop_run(state, run, stop, actions)
    limit = order.run_timeout_s
    if run.started is not None and limit is not None and state.now >= run.started + limit:
        message = f"The run did not end within {limit:g} s (runTimeoutSeconds)."
        stop = Stop("Failed", "DeadlineExceeded", message, "runTimeoutSeconds")
        stop_run(state, run, stop, actions)


def _end_cancel(state: State, lease: Lease, actions: list[Action]) -> None:
    """Record tasks as cancelled whose node does not answer CANCEL; what it says later is late."""
    if lease.cancel_due is None or state.now < lease.cancel_due:
        return
    run = state.runs[lease.run]
    lease.cancel_due = None
    records: list[TaskRecord] = [
        machine_record(
            state,
            index=index,
            attempt=lease.open.pop(index),
            node=lease.node,
            failure=cancelled(lease.cancel_by),
        )
        for index in sorted(lease.cancelling)
        if index in lease.open
    ]
    if records:
        record_failures(state, run, records, actions)
        settle(state, run, lease, actions)


def _judge_lease(state: State, lease: Lease, actions: list[Action]) -> None:
    """Revoke a lease whose node let the task's own deadline pass without a word."""
    run, settings = state.runs[lease.run], state.settings
    allowed = run.order.timeout_s + settings.deadline_grace_s
    if not lease.started:
        allowed += settings.start_grace_s
    if state.now < lease.since + allowed:
        return
    actions.append(Cancel(lease.node, lease.id, None))
    lose_lease(state, lease, f"silent for {state.now - lease.since:.0f} s", actions)
