"""Who may report what: leases are opened, found, closed here, and a late writer loses.

A lease is the right to report; it is known to the state or it is void. Its id holds the epoch at
which it was handed out, so ids of different coordinators never meet.
"""

from __future__ import annotations

from geopod.dispatch.state import Lease, Node, NodePhase, Run, State


def open_lease(
    state: State, run: Run, node: Node, tasks: list[tuple[int, int]], *, partition: int | None
) -> Lease:
    """Hand tasks (index, attempt), already marked as handed out, to a node."""
    state.counter += 1
    lease = Lease(
        id=f"{state.epoch}-{state.counter}",
        epoch=state.epoch,
        node=node.index,
        run=run.order.uid,
        open=dict(tasks),
        size=len(tasks),
        partition=partition,
        since=state.now,
    )
    register(state, run, node, lease)
    return lease


def register(state: State, run: Run, node: Node, lease: Lease) -> None:
    """Enter a lease in all three places that know it."""
    state.leases[lease.id] = lease
    run.leases[lease.id] = lease
    run.nodes.add(node.index)
    node.leases[lease.id] = lease
    mark_idle(state, node)


def close_lease(state: State, lease: Lease) -> None:
    """Make a lease void; whatever comes for it later is late."""
    del state.leases[lease.id]
    del state.runs[lease.run].leases[lease.id]
    node = state.nodes[lease.node]
    del node.leases[lease.id]
    for waiting in node.leases.values():
        waiting.since = state.now  # it may only now be the one that runs
    mark_idle(state, node)


def valid_lease(state: State, *, lease_id: str, node: int, epoch: int) -> Lease | None:
    """Return the lease that this answer may speak for, or None: the answer is late or foreign.

    An adopted lease is answered at its own epoch or at the one its agent was welcomed to.
    """
    lease = state.leases.get(lease_id)
    if lease is None or lease.node != node or epoch not in (lease.epoch, state.epoch):
        return None
    return lease


def mark_idle(state: State, node: Node) -> None:
    """Keep `state.idle`: ready nodes with a free slot."""
    if node.phase is NodePhase.READY and len(node.leases) < node.slots:
        state.idle[node.index] = node
    else:
        state.idle.pop(node.index, None)


def set_phase(state: State, node: Node, phase: NodePhase) -> None:
    """Move a node to another phase and keep what is counted by phase."""
    if node.phase is phase:
        return
    if node.phase is NodePhase.READY:
        state.ready_pythons[node.python] -= 1
    if phase is NodePhase.READY:
        state.ready_pythons[node.python] = state.ready_pythons.get(node.python, 0) + 1
    node.phase = phase
    node.since = state.now
    mark_idle(state, node)


def ready_nodes(state: State) -> int:
    """Return how many nodes may be given work."""
    return sum(state.ready_pythons.values())
