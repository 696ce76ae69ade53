"""How runs begin: submitted or read back, bound to a plan, admitted, started."""

from __future__ import annotations

from collections.abc import Sequence

from geopod.api.failures import empty_partition
from geopod.api.results import TaskRecord
from geopod.dispatch import tasks as code
from geopod.dispatch.actions import Action, Commit, RunChanged
from geopod.dispatch.assignment import accepts_python, release_partitions, spread
from geopod.dispatch.ending import (
    NO_NODE,
    finish_if_done,
    machine_record,
    record_failures,
    stop_run,
    take_failure,
)
from geopod.dispatch.events import Plan, RunSubmitted
from geopod.dispatch.fencing import ready_nodes
from geopod.dispatch.queue import accept_refused, enter_queue, leave_queue
from geopod.dispatch.state import Run, State, Stop
from geopod.dispatch.tasks import TaskTable


def submit_run(state: State, event: RunSubmitted, actions: list[Action]) -> None:
    """Take in a run: twice is once, and one that is complete in its manifest just ends."""
    order = event.order
    if order.uid in state.runs:
        return
    run = Run(order=order, started=event.started, recovered=event.recovered)
    state.runs[order.uid] = run
    if event.recovered:
        run.hold_until = state.now + state.settings.recovery_wait_s
    plan = event.plan or state.plan
    if order.mode == "Map":
        run.tasks, run.total = TaskTable(order.count), order.count
    elif plan is not None:
        _bind(state, run, plan, actions)
    if run.finished is None:
        _take_finished(run, event.finished)
        if not finish_if_done(state, run, actions):
            enter_queue(state, run)
            actions.append(RunChanged(order.uid))
    state.may_admit = True


def bind_waiting(state: State, plan: Plan, actions: list[Action]) -> None:
    """Take the environment's plan, and bind the runs that waited for it."""
    state.plan = plan
    for run in list(state.runs.values()):
        if run.tasks is None and run.finished is None:
            _bind(state, run, plan, actions)
    state.may_admit = True


def admit_runs(state: State, actions: list[Action]) -> None:
    """Start runs while there is room; then accept refused ones into the room they left."""
    limit = state.settings.max_concurrent_runs
    for waiting in (state.queue, state.refused):
        if not waiting or len(state.running) >= limit or not _has_enough_nodes(state):
            continue
        for key in list(waiting):
            run = state.runs[key[-1]]
            if run.finished is None and _is_startable(state, run):
                start_run(state, run, actions)
            if len(state.running) >= limit:
                break
    actions += [RunChanged(run.order.uid) for run in accept_refused(state)]


def start_run(state: State, run: Run, actions: list[Action]) -> None:
    """Move a run out of the queue and hand out its tasks."""
    leave_queue(state, run)
    state.running[run.order.uid] = run
    run.phase, run.reason, run.message = "Running", "", ""
    if run.started is None:
        run.started = state.now
    actions.append(RunChanged(run.order.uid))
    _record_empty(state, run, actions)
    if not finish_if_done(state, run, actions):
        release_partitions(state, run)
        spread(state, run, actions)


def _bind(state: State, run: Run, plan: Plan, actions: list[Action]) -> None:
    """Bind a per-node run to a plan: task k is partition k. The run may end at once."""
    run.plan, run.total = plan, plan.count
    wanted = run.order.partitions
    missing = [index for index in wanted or () if not 0 <= index < plan.count]
    if not missing:
        run.tasks = TaskTable(plan.count, wanted)
        return
    named = ", ".join(map(str, missing[:5]))
    message = f"The plan has {plan.count} partitions, counted from 0; there is no {named}."
    stop_run(state, run, Stop("Failed", "TaskFailed", message, by=""), actions)


def _take_finished(run: Run, records: Sequence[TaskRecord]) -> None:
    """Take in what the manifest has; the first record of a task counts."""
    table = run.tasks
    if table is None:
        return
    for record in records:
        if not table.is_pending(record.index):
            continue
        if record.failure is None:
            table.finish(record.index, code.SUCCEEDED)
        else:
            take_failure(run, table, record)


def _record_empty(state: State, run: Run, actions: list[Action]) -> None:
    """Record partitions without data as skipped or failed, by `on_empty`, without a node."""
    table = run.tasks
    if table is None or run.plan is None or run.order.mode != "PerNode":
        return
    empty = [index for index in sorted(run.plan.empty) if table.is_pending(index)]
    if not empty or run.order.on_empty == "call":
        return
    if run.order.on_empty == "error":
        failure = empty_partition()
        failed = [
            machine_record(state, index=index, attempt=0, node=NO_NODE, failure=failure)
            for index in empty
        ]
        record_failures(state, run, failed, actions)
        return
    for index in empty:
        table.finish(index, code.SUCCEEDED)
    skipped = [
        TaskRecord(index=index, attempt=0, epoch=state.epoch, node=NO_NODE, skipped=True)
        for index in empty
    ]
    actions.append(Commit(run.order.uid, skipped))


def _has_enough_nodes(state: State) -> bool:
    """Tell whether runs may start: ready >= min(minReadyNodes, nodes), and at least one."""
    return ready_nodes(state) >= max(1, min(state.settings.min_ready_nodes, state.size))


def _is_startable(state: State, run: Run) -> bool:
    """Tell whether the run knows its tasks and some ready node may load its function."""
    return run.tasks is not None and any(
        count and accepts_python(run, python) for python, count in state.ready_pythons.items()
    )
