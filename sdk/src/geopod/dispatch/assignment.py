"""Which node runs what: node k owns partition k; where a lost node's partition goes.

A node holds at most `slots` running leases and one more behind a lease that ends in a moment.
Among running runs the higher priority goes first, then the one with fewer leases, then age, so
that equal runs share the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable

from geopod.dispatch.actions import Action, Assign, RunChanged
from geopod.dispatch.batching import batch_size, is_brisk
from geopod.dispatch.fencing import open_lease, ready_nodes
from geopod.dispatch.state import Node, NodePhase, Run, State
from geopod.dispatch.tasks import TaskTable


def fill(state: State, node: Node, actions: list[Action]) -> None:
    """Give a node work until it has no room or nothing is left for it."""
    while has_room(state, node):
        for run in _by_turn(state):
            assigned = _offer(state, run, node)
            if assigned is not None:
                actions.append(assigned)
                break
        else:
            return


def spread(state: State, run: Run, actions: list[Action]) -> None:
    """Give idle nodes work until the run has nothing to hand out."""
    for node in list(state.idle.values()):
        if not _has_work(state, run):
            return
        fill(state, node, actions)


def place(state: State, run: Run, indexes: Iterable[int], actions: list[Action]) -> None:
    """Find nodes for tasks that wait again."""
    if run.order.mode == "PerNode":
        for index in indexes:
            if not waits_for_owner(state, run, index):
                run.orphans[index] = None
            elif index in state.nodes:
                fill(state, state.nodes[index], actions)
    spread(state, run, actions)


def follow_store(state: State, is_behind: bool, actions: list[Action]) -> None:  # noqa: FBT001  # the event's one word
    """Hand out nothing while reports pile up; go on when they are written."""
    state.is_store_behind = is_behind
    for run in list(state.running.values()):
        actions.append(RunChanged(run.order.uid))
        spread(state, run, actions)


def release_partitions(state: State, run: Run) -> None:
    """Let any node run the waiting partitions whose own node cannot."""
    if run.tasks is None or run.order.mode != "PerNode":
        return
    for index in run.tasks.pending_indexes():
        if index not in run.orphans and not waits_for_owner(state, run, index):
            run.orphans[index] = None


def waits_for_owner(state: State, run: Run, index: int) -> bool:
    """Tell whether partition `index` is kept for its own node: ready, or ready soon."""
    node = state.nodes.get(index)
    began = state.now if run.started is None else run.started
    patience = state.settings.owner_patience_s
    if node is None:
        return index < state.size and state.now - began < patience
    if not accepts(node, run):
        return False
    if node.phase is NodePhase.JOINED:
        return state.now - max(began, node.since) < patience
    return node.phase is NodePhase.READY


def accepts(node: Node, run: Run) -> bool:
    """Tell whether the node's Python may load the function: bytecode never crosses minors."""
    return accepts_python(run, node.python)


def accepts_python(run: Run, python: str) -> bool:
    """Tell whether this minor may load the function; an unknown one (empty) is trusted."""
    function = run.order.function
    return function.format != "cloudpickle" or python in ("", function.python)


def has_room(state: State, node: Node) -> bool:
    """Tell whether the node may be handed one more lease."""
    held = len(node.leases)
    if state.is_store_behind or node.phase is not NodePhase.READY or held > node.slots:
        return False
    return held < node.slots or all(
        is_brisk(state.runs[lease.run], lease) for lease in node.leases.values()
    )


def _by_turn(state: State) -> Iterable[Run]:
    runs = state.running.values()
    if len(runs) <= 1:
        return list(runs)
    return sorted(runs, key=lambda run: (-run.order.priority, len(run.leases)))


def _has_work(state: State, run: Run) -> bool:
    held = run.hold_until is not None and state.now < run.hold_until
    return run.tasks is not None and run.tasks.pending > 0 and not held


def _offer(state: State, run: Run, node: Node) -> Assign | None:
    table = run.tasks
    if table is None or not _has_work(state, run) or not accepts(node, run):
        return None
    partition: int | None = None
    if run.order.mode == "PerNode":
        partition = _choose_partition(state, run, table, node)
        if partition is None:
            return None
        tasks = [table.take_one(partition)]
    else:
        ready = ready_nodes(state)
        is_busy = len(node.leases) >= node.slots
        if is_busy and len(state.running) == 1 and table.pending <= ready - 1:
            return None  # the run ends: whichever other node is free first shall have these tasks
        tasks = table.take(batch_size(run, node.index, pending=table.pending, ready=ready))
    lease = open_lease(state, run, node, tasks, partition=partition)
    return Assign(
        node=node.index,
        lease=lease.id,
        run=lease.run,
        tasks=tasks,
        partition=partition,
        plan_sha256="" if run.plan is None else run.plan.sha256,
        total=run.total,
    )


def _choose_partition(state: State, run: Run, table: TaskTable, node: Node) -> int | None:
    if table.is_pending(node.index):
        run.orphans.pop(node.index, None)
        return node.index
    for index in list(run.orphans):
        del run.orphans[index]
        if table.is_pending(index) and not waits_for_owner(state, run, index):
            return index
    return None
