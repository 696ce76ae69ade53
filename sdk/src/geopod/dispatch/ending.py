"""How tasks and runs end: final records, FailFast, cancel, the run's last word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from geopod.api.results import Failure, TaskReason, TaskRecord
from geopod.dispatch import tasks as code
from geopod.dispatch.actions import Action, Cancel, Commit, EndRun, FinalPhase, RunFinished
from geopod.dispatch.queue import leave_queue
from geopod.dispatch.retry import cancelled
from geopod.dispatch.state import Lease, NodePhase, Run, State, Stop
from geopod.dispatch.tasks import TaskTable

NO_NODE = -1
"""`TaskRecord.node` of a task that no node ended."""


def stop_run(state: State, run: Run, stop: Stop, actions: list[Action]) -> None:
    """End a run early: what waits is cancelled at once, nodes are told to stop the rest."""
    if run.stop is not None or run.finished is not None:
        return
    run.stop = stop
    if run.tasks is None:
        run.tasks = TaskTable(0)
    cancel_waiting(state, run, run.tasks.pending_indexes(), by=stop.by, actions=actions)
    for lease in list(run.leases.values()):
        cancel_leased(state, lease, None, by=stop.by, actions=actions)
    finish_if_done(state, run, actions)


def cancel_waiting(
    state: State, run: Run, indexes: Iterable[int], *, by: str, actions: list[Action]
) -> None:
    """Record tasks that wait as cancelled."""
    if run.tasks is None:
        return
    failure = cancelled(by)
    records = [
        machine_record(
            state, index=index, attempt=run.tasks.attempt(index) - 1, node=NO_NODE, failure=failure
        )
        for index in indexes
        if run.tasks.is_pending(index)
    ]
    record_failures(state, run, records, actions)


def cancel_leased(
    state: State, lease: Lease, indexes: Iterable[int] | None, *, by: str, actions: list[Action]
) -> None:
    """Tell a node to stop tasks of a lease (None: all); asked twice, it is told once."""
    wanted = [
        index
        for index in (lease.open if indexes is None else indexes)
        if index in lease.open and index not in lease.cancelling
    ]
    if not wanted:
        return
    lease.cancelling.update(wanted)
    lease.cancel_by = by
    lease.cancel_due = state.now + state.settings.cancel_answer_s
    whole = len(wanted) == len(lease.open)
    actions.append(Cancel(lease.node, lease.id, None if whole else wanted))


def machine_record(
    state: State, *, index: int, attempt: int, node: int, failure: Failure
) -> TaskRecord:
    """Return the record of a task that ended without a node's answer."""
    return TaskRecord(index=index, attempt=attempt, epoch=state.epoch, node=node, failure=failure)


def record_failures(
    state: State,
    run: Run,
    records: Sequence[TaskRecord],
    actions: list[Action],
    *,
    lease: Lease | None = None,
) -> None:
    """Make failures final; the failure policy may then end the run. `lease`: who reported them."""
    if not records or run.tasks is None:
        return
    for record in records:
        take_failure(run, run.tasks, record)
    if lease is None:
        actions.append(Commit(run.order.uid, records))
    else:
        actions.append(Commit(run.order.uid, records, lease.node, lease.id))
    _apply_policy(state, run, records, actions)


def take_failure(run: Run, table: TaskTable, record: TaskRecord) -> None:
    """Count one final failure."""
    failure = record.failure
    if failure is None:
        return
    if failure.reason is TaskReason.CANCELLED:
        table.finish(record.index, code.CANCELLED)
        run.failures.cancelled.add(record.index)
    else:
        table.finish(record.index, code.FAILED)
        run.failures.add(record, failure)


def _apply_policy(
    state: State, run: Run, records: Sequence[TaskRecord], actions: list[Action]
) -> None:
    """End the run if one of these failures must: it cannot be loaded anywhere, or FailFast."""
    for record in records:
        failure = record.failure
        if failure is None or failure.reason is TaskReason.CANCELLED:
            continue
        if failure.reason is TaskReason.FUNCTION_NOT_LOADABLE:
            reason, by = "FunctionNotLoadable", "a function that cannot be loaded"
            message = f"The function cannot be loaded: {failure.fact}"
        elif run.order.failure_policy == "FailFast":
            reason, by, message = "TaskFailed", f"the failure of task {record.index} (FailFast)", ""
        else:
            continue
        stop_run(state, run, Stop("Failed", reason, message, by), actions)
        return


def finish_if_done(state: State, run: Run, actions: list[Action]) -> bool:
    """End the run if every task has its record; tell whether it has ended."""
    if run.finished is not None:
        return True
    if run.tasks is None or run.tasks.open:
        return False
    leave_queue(state, run)
    state.running.pop(run.order.uid, None)
    phase, reason, message = _last_word(run, run.tasks)
    run.phase, run.reason, run.message = phase, reason, message
    run.finished = state.now
    state.may_admit = True
    actions += [
        EndRun(index, run.order.uid)
        for index in sorted(run.nodes)
        if state.nodes[index].phase is not NodePhase.LOST
    ]
    actions.append(RunFinished(run.order.uid, phase, reason, message))
    return True


def _last_word(run: Run, table: TaskTable) -> tuple[FinalPhase, str, str]:
    """Return phase, reason and message of a run whose tasks have all ended."""
    total, kept = table.total, table.counts[code.SUCCEEDED]
    if kept == total and (total or run.stop is None):
        return "Succeeded", "", ""
    sentence = run.failures.sentence(total=total, failed=table.counts[code.FAILED], kept=kept)
    if run.stop is not None:
        words = f"{run.stop.message} {sentence}" if run.stop.message else sentence
        return run.stop.phase, run.stop.reason, words
    if table.counts[code.CANCELLED] == total:
        return "Cancelled", "Cancelled", sentence
    return "Failed", "TaskFailed", sentence
