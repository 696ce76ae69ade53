"""A world around the dispatch machine: agents that hold leases, a manifest, a clock; no I/O.

`World.do` applies an event, carries out the actions as the coordinator would, and checks after
every step what must hold at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from geopod.api.bundles import FunctionRef
from geopod.api.messages import HeldLease
from geopod.api.results import Entry, Failure, RemoteException, TaskReason, TaskRecord
from geopod.api.runs import RetryRule, RunOrder, RunState
from geopod.dispatch import (
    Action,
    Assign,
    Cancel,
    Commit,
    EndRun,
    Event,
    Forget,
    HandedBack,
    NodeJoined,
    NodeLost,
    NodePhase,
    NodeReady,
    PartitionsPlanned,
    Plan,
    RunFinished,
    RunSubmitted,
    Settings,
    State,
    TaskFailed,
    TasksDone,
    Tick,
    run_state,
    step,
)
from geopod.dispatch.retry import MAX_ATTEMPTS
from geopod.dispatch.state import Run

START = 1_000_000.0
FUNCTION = FunctionRef(format="source", name="f", python="3.11", sha256="0" * 64, size=10)


def an_order(uid: str = "run", **changes: object) -> RunOrder:
    """A per-node run of a function that any Python may load."""
    fields = {"uid": uid, "name": uid, "environment": "env", "created": START, "function": FUNCTION}
    return RunOrder(**{**fields, **changes})  # type: ignore[arg-type]  # tests change any field


def a_map(uid: str = "run", *, tasks: int = 8, **changes: object) -> RunOrder:
    """A map of so many tasks."""
    return an_order(uid, mode="Map", count=tasks, **changes)


def a_plan(partitions: int, *, empty: Iterable[int] = ()) -> Plan:
    return Plan(sha256="p" * 64, count=partitions, empty=frozenset(empty))


def a_result(index: int, attempt: int, *, node: int = 0, runtime_s: float = 0.001) -> TaskRecord:
    entry = Entry(codec="json", sha256="0" * 64, bytes=1)
    return TaskRecord(
        index=index, attempt=attempt, epoch=1, node=node, entry=entry, runtime_s=runtime_s
    )


def a_failure(
    index: int,
    attempt: int,
    reason: TaskReason = TaskReason.EXCEPTION,
    *,
    message: str = "empty geometry",
    node: int = 0,
) -> TaskRecord:
    exception = None
    if reason is TaskReason.EXCEPTION:
        exception = RemoteException(type="ValueError", message=message)
    failure = Failure(reason=reason, code="E307", fact=f"{message}.", exception=exception)
    return TaskRecord(index=index, attempt=attempt, epoch=1, node=node, failure=failure)


@dataclass
class Held:
    """A lease as its agent sees it."""

    run: str
    epoch: int
    tasks: dict[int, int]
    """Attempt by index, until COMMITTED or forgotten."""
    cancelled: set[int] = field(default_factory=set)


@dataclass
class Agent:
    """A node's side: what it holds survives broken links and coordinators, not its own death."""

    index: int
    instance: str
    slots: int = 1
    leases: dict[str, Held] = field(default_factory=dict)
    ended_runs: set[str] = field(default_factory=set)


class World:
    """One environment: the machine, its agents, the manifest of every run."""

    def __init__(self, *, nodes: int = 0, size: int | None = None, **settings: object) -> None:
        self.settings = Settings(**settings)  # type: ignore[arg-type]  # tests change any field
        self.size = nodes if size is None else size
        self.state = State(epoch=1, size=self.size, settings=self.settings)
        self.now = START
        self.agents: dict[int, Agent] = {}
        self.orders: dict[str, RunOrder] = {}
        self.manifest: dict[str, dict[int, TaskRecord]] = {}
        self.finished: dict[str, RunFinished] = {}
        self.forgotten: list[Forget] = []
        self.cancels: list[Cancel] = []
        self.attempts: Counter[tuple[int, str, int]] = Counter()
        """Attempts handed out by (epoch, run, index)."""
        self.history: list[tuple[Event, float, list[Action]]] = []
        """Of this epoch: event, time, actions."""
        self.epoch_size = self.size
        """Number of nodes when this epoch began."""
        self._instances = count(1)
        if self.size:
            self.do(PartitionsPlanned(a_plan(self.size)))
        for index in range(nodes):
            self.add_node(index)

    # ---- the coordinator's side

    def do(self, event: Event) -> list[Action]:
        """Apply an event, carry its actions out, and check what must hold after every step."""
        lease = self.state.leases.get(getattr(event, "lease", ""))
        is_valid = (
            lease is not None
            and lease.node == getattr(event, "node", None)
            and getattr(event, "epoch", None) in (lease.epoch, self.state.epoch)
        )
        actions = step(self.state, event, self.now)
        if hasattr(event, "lease") and not is_valid:
            assert not any(isinstance(action, Commit) for action in actions), "a late writer won"
        self.history.append((event, self.now, actions))
        for action in actions:
            self._carry_out(action)
        self.check()
        return actions

    def submit(self, order: RunOrder, **recovery: object) -> list[Action]:
        self.orders[order.uid] = order
        self.manifest.setdefault(order.uid, {})
        return self.do(RunSubmitted(order, **recovery))  # type: ignore[arg-type]  # any field

    def tick(self, seconds: float = 1.0) -> list[Action]:
        self.now += seconds
        return self.do(Tick())

    def restart_coordinator(self) -> None:
        """Start the next epoch from what is stored: orders and manifests."""
        plan = self.state.plan
        plans = {uid: run.plan for uid, run in self.state.runs.items()}
        started = {uid: run.started for uid, run in self.state.runs.items()}
        self.state = State(epoch=self.state.epoch + 1, size=self.size, settings=self.settings)
        self.history.clear()
        self.epoch_size = self.size
        if plan is not None:
            self.do(PartitionsPlanned(plan))
        for uid, order in self.orders.items():
            if uid not in self.finished:
                self.submit(
                    order,
                    finished=tuple(self.manifest[uid].values()),
                    recovered=True,
                    started=started[uid],
                    plan=plans[uid],
                )

    def read(self, run: str = "run") -> RunState:
        return run_state(self.state, run, self.now)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Assign():
                self._assign(action)
            case Commit():
                book = self.manifest[action.run]
                for record in action.records:
                    assert record.index not in book, "a task has two records"
                    book[record.index] = record
                if action.node is not None:
                    self._release(action.node, action.lease, [r.index for r in action.records])
            case Forget():
                self.forgotten.append(action)
                self._release(action.node, action.lease, action.indexes)
            case Cancel():
                self.cancels.append(action)
                held = self.agents[action.node].leases.get(action.lease)
                if held is not None:
                    held.cancelled.update(held.tasks if action.indexes is None else action.indexes)
            case EndRun():
                self.agents[action.node].ended_runs.add(action.run)
            case RunFinished():
                assert action.run not in self.finished, "a run ended twice"
                self.finished[action.run] = action
            case _:
                pass

    def _assign(self, action: Assign) -> None:
        node = self.state.nodes[action.node]
        assert node.phase is NodePhase.READY, "work for a node that is not ready"
        assert action.run not in self.finished, "work of a finished run"
        assert not self.state.is_store_behind, "work while reports pile up"
        assert action.tasks
        held = Held(action.run, self.state.epoch, dict(action.tasks))
        self.agents[action.node].leases[action.lease] = held
        for index, attempt in action.tasks:
            assert index not in self.manifest[action.run], "a recorded task is handed out"
            assert 1 <= attempt <= MAX_ATTEMPTS
            self.attempts[self.state.epoch, action.run, index] += 1

    def _release(self, node: int, lease: str, indexes: list[int]) -> None:
        agent = self.agents.get(node)
        held = None if agent is None else agent.leases.get(lease)
        if agent is None or held is None:
            return
        for index in indexes:
            held.tasks.pop(index, None)
        if not held.tasks:
            del agent.leases[lease]

    # ---- the nodes' side

    def add_node(self, index: int, *, slots: int = 1, ready: bool = True) -> None:
        """A fresh agent dials and becomes ready."""
        self.agents[index] = Agent(index, f"i{next(self._instances)}", slots)
        self.join(index)
        if ready:
            self.do(NodeReady(index))

    def join(self, index: int) -> list[Action]:
        """The agent dials (again) with what it holds."""
        agent = self.agents[index]
        held = tuple(
            HeldLease(lease=lease, run=h.run, tasks=list(h.tasks.items()), epoch=h.epoch)
            for lease, h in agent.leases.items()
        )
        return self.do(
            NodeJoined(index, agent.instance, slots=agent.slots, python="3.11", leases=held)
        )

    def kill(self, index: int, reason: str = "") -> list[Action]:
        """The node's process is gone, and with it what it held."""
        self.agents[index].leases.clear()
        return self.do(NodeLost(index, reason))

    def lose_sight(self, index: int) -> list[Action]:
        """The node computes on, but the coordinator has given it up."""
        return self.do(NodeLost(index))

    def leases(self, node: int) -> dict[str, Held]:
        return self.agents[node].leases

    def lease_of(self, node: int) -> str:
        """The lease that the node runs: the oldest."""
        return next(iter(self.agents[node].leases))

    def holder(self, index: int, run: str = "run") -> int:
        """The node that has this task."""
        found = [
            agent.index
            for agent in self.agents.values()
            for held in agent.leases.values()
            if held.run == run and index in held.tasks
        ]
        assert len(found) == 1
        return found[0]

    def finish(
        self, node: int, lease: str | None = None, *, runtime_s: float = 0.001
    ) -> list[Action]:
        """The node hands in all results of a lease."""
        lease = lease or self.lease_of(node)
        held = self.agents[node].leases[lease]
        records = [
            a_result(index, attempt, node=node, runtime_s=runtime_s)
            for index, attempt in held.tasks.items()
        ]
        return self.do(TasksDone(node, lease, self.state.epoch, records))

    def fail(
        self,
        node: int,
        reason: TaskReason = TaskReason.EXCEPTION,
        *,
        message: str = "empty geometry",
    ) -> list[Action]:
        """The node reports the failure of the first task of its oldest lease."""
        lease = self.lease_of(node)
        index, attempt = next(iter(self.agents[node].leases[lease].tasks.items()))
        record = a_failure(index, attempt, reason, message=message, node=node)
        return self.do(TaskFailed(node, lease, self.state.epoch, record))

    def hand_back(self, node: int, lease: str | None = None) -> list[Action]:
        """The node gives a lease back that it has not begun."""
        lease = lease or self.lease_of(node)
        tasks = self.agents[node].leases.pop(lease).tasks
        return self.do(HandedBack(node, lease, self.state.epoch, tuple(tasks)))

    def work_until_done(self, *, runtime_s: float = 0.001, limit: int = 10_000) -> None:
        """All nodes answer, in turn, until no lease is left."""
        for _ in range(limit):
            busy = [agent.index for agent in self.agents.values() if agent.leases]
            if not busy:
                return
            for node in busy:
                if self.agents[node].leases:
                    self.finish(node, runtime_s=runtime_s)
        raise AssertionError("the nodes never came to an end")

    # ---- what holds at any time

    def check(self) -> None:
        state = self.state
        for node in state.nodes.values():
            assert node.phase is not NodePhase.LOST or not node.leases, "a dead node holds a lease"
            assert len(node.leases) <= node.slots + 1, "a node holds more than its credit"
            idle = node.phase is NodePhase.READY and len(node.leases) < node.slots
            assert (node.index in state.idle) == idle
        assert len(state.running) <= max(self.settings.max_concurrent_runs, len(self.orders))
        for uid, run in state.runs.items():
            self._check_run(uid, run)

    def _check_run(self, uid: str, run: Run) -> None:
        table = run.tasks
        if table is None:
            return
        leased = Counter(index for lease in run.leases.values() for index in lease.open)
        assert all(times == 1 for times in leased.values()), "a task is leased twice"
        assert table.counts == [table.status.count(code) for code in range(6)]
        assert sum(table.counts[1:]) == table.total
        assert table.counts[2] == len(leased)
        recorded = self.manifest[uid]
        assert table.counts[3] == sum(r.failure is None for r in recorded.values())
        assert table.open + len(recorded) == table.total
        assert set(table.attempts).isdisjoint(recorded)
        if run.finished is not None:
            assert table.open == 0
            assert uid not in self.state.running


def with_retries(limit: int, *on: str) -> RetryRule:
    return RetryRule(limit=limit, on=on or ("Infra",))  # type: ignore[arg-type]  # words of the enum
