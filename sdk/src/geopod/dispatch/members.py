"""Nodes come, go, and come back with leases they still hold."""

from __future__ import annotations

from geopod.api.messages import HeldLease
from geopod.dispatch.actions import Action, Cancel, EndRun, Forget
from geopod.dispatch.assignment import fill, release_partitions, spread
from geopod.dispatch.events import NodeJoined, NodeLost, NodesResized
from geopod.dispatch.fencing import register, set_phase
from geopod.dispatch.retry import MAX_ATTEMPTS
from geopod.dispatch.revoking import Revocation, lose_lease, revoke
from geopod.dispatch.starting import start_run
from geopod.dispatch.state import Lease, Node, NodePhase, Run, State
from geopod.dispatch.tasks import TaskTable


def join(state: State, event: NodeJoined, actions: list[Action]) -> None:
    """Take in an agent: leases it holds go on if they are valid, others are void."""
    node = state.nodes.setdefault(event.node, Node(event.node))
    is_restarted = node.instance not in ("", event.instance)
    set_phase(state, node, NodePhase.JOINED)
    node.since = state.now
    node.instance, node.python, node.slots = event.instance, event.python, max(1, event.slots)
    held = {lease.lease: lease for lease in event.leases}
    for lease in list(node.leases.values()):
        if lease.id in held:
            _go_on(state, lease, held[lease.id], actions)
        elif is_restarted:
            lose_lease(state, lease, "its agent started again", actions)
        else:
            revoke(state, lease, list(lease.open), Revocation("its link broke"), actions)
    for claim in held.values():
        if claim.lease not in node.leases:
            _adopt(state, node, claim, actions)
    if _are_all_here(state):
        for run in list(state.runs.values()):
            run.hold_until = None
        for run in list(state.running.values()):
            spread(state, run, actions)


def make_ready(state: State, index: int, actions: list[Action]) -> None:
    """Give a joined node work from now on."""
    node = state.nodes.get(index)
    if node is None or node.phase is not NodePhase.JOINED:
        return
    set_phase(state, node, NodePhase.READY)
    state.may_admit = True
    fill(state, node, actions)


def make_unready(state: State, index: int) -> None:
    """Give a node no new work until it is ready again."""
    node = state.nodes.get(index)
    if node is not None and node.phase is NodePhase.READY:
        set_phase(state, node, NodePhase.JOINED)


def lose(state: State, event: NodeLost, actions: list[Action]) -> None:
    """Revoke what a lost node holds; its partitions run elsewhere."""
    node = state.nodes.get(event.node)
    if node is None or node.phase is NodePhase.LOST:
        return
    running = list(node.leases.values())[: node.slots]
    waiting = list(node.leases.values())[node.slots :]
    set_phase(state, node, NodePhase.LOST)
    for lease in waiting:
        revoke(state, lease, list(lease.open), Revocation(event.reason), actions)
    for lease in running:
        lose_lease(state, lease, event.reason, actions)
    _free_partitions(state, actions)


def drain(state: State, index: int, actions: list[Action]) -> None:
    """Give a node no new work; its partitions run elsewhere."""
    node = state.nodes.get(index)
    if node is None or node.phase is NodePhase.LOST:
        return
    set_phase(state, node, NodePhase.DRAINING)
    _free_partitions(state, actions)


def resize(state: State, event: NodesResized) -> None:
    """Take the number of nodes; the plan that was serves no new run, even if it is for as many.

    The layers may be other ones now, or other bytes.
    """
    state.size, state.plan = event.nodes, None
    state.may_admit = True


def _free_partitions(state: State, actions: list[Action]) -> None:
    for run in list(state.running.values()):
        release_partitions(state, run)
        spread(state, run, actions)


def _are_all_here(state: State) -> bool:
    here = sum(node.phase is not NodePhase.LOST for node in state.nodes.values())
    return here >= state.size


def _go_on(state: State, lease: Lease, held: HeldLease, actions: list[Action]) -> None:
    """Compare a lease with what its node still holds of it after the link broke."""
    there = {index for index, attempt in held.tasks if lease.open.get(index) == attempt}
    void = [index for index, _ in held.tasks if index not in there]
    if void:
        actions.append(Forget(lease.node, lease.id, void))
    asked = [index for index in lease.cancelling if index in there]
    if asked:
        actions.append(Cancel(lease.node, lease.id, sorted(asked)))
    gone = [index for index in lease.open if index not in there]
    if gone:
        revoke(state, lease, gone, Revocation("its link broke"), actions)


def _adopt(state: State, node: Node, held: HeldLease, actions: list[Action]) -> None:
    """Take over a lease of an earlier coordinator; what is void is cancelled and forgotten."""
    run = state.runs.get(held.run)
    adopted: dict[int, int] = {}
    if run is not None and run.tasks is not None and _may_adopt(state, node, held):
        adopted = _adoptable(run, run.tasks, held)  # nothing, once the run ends
    void = [index for index, _ in held.tasks if index not in adopted]
    if void:
        actions.append(Cancel(node.index, held.lease, void))
        actions.append(Forget(node.index, held.lease, void))
    if run is None or run.tasks is None or not adopted:
        if run is None or run.finished is not None:
            actions.append(EndRun(node.index, held.run))
        return
    for index, attempt in adopted.items():
        run.tasks.adopt(index, attempt)
    lease = Lease(
        id=held.lease,
        epoch=held.epoch,
        node=node.index,
        run=held.run,
        open=adopted,
        size=len(adopted),
        partition=next(iter(adopted)) if run.order.mode == "PerNode" else None,
        since=state.now,
        started=True,
    )
    register(state, run, node, lease)
    if held.run not in state.running:
        start_run(state, run, actions)


def _may_adopt(state: State, node: Node, held: HeldLease) -> bool:
    """Tell whether the claim is an earlier coordinator's: one of this epoch was revoked."""
    return (
        held.epoch < state.epoch
        and held.lease not in state.leases
        and len(node.leases) <= node.slots
    )


def _adoptable(run: Run, table: TaskTable, held: HeldLease) -> dict[int, int]:
    """Return the claim's tasks that nobody has begun at this epoch; one if they are partitions.

    None if they are partitions of another plan than the run's.
    """
    if run.plan is not None and held.plan_sha256 not in ("", run.plan.sha256):
        return {}
    free = {
        index: attempt
        for index, attempt in held.tasks
        if table.is_pending(index) and index not in table.attempts and 1 <= attempt <= MAX_ATTEMPTS
    }
    if run.order.mode == "PerNode":
        return dict(list(free.items())[:1])
    return free
