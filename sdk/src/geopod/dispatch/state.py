"""What the coordinator knows: runs, nodes, leases. Changed by `step` alone.

The state is updated in place, not copied: a run of 10,000 tasks sees thousands of events, and a
copy of its tables per event would make the whole quadratic. Purity is kept where it matters:
no clock, no chance, no I/O; the same events and times give the same state and actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from geopod.api.runs import RunOrder
from geopod.dispatch.actions import FinalPhase
from geopod.dispatch.events import Plan
from geopod.dispatch.failures import FailureSummary
from geopod.dispatch.tasks import TaskTable

Phase = Literal["", "Queued", "Running", FinalPhase]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits of one environment, and how long the machine is patient. Times in seconds."""

    max_concurrent_runs: int = 8
    max_queued_runs: int = 1000
    min_ready_nodes: int = 1
    owner_patience_s: float = 10.0
    """How long a partition waits for its own node to be ready before another node stages it:
    longer than nodes of one environment start apart, far shorter than a node's replacement."""
    recovery_wait_s: float = 20.0
    """How long a recovered run waits for nodes that may still hold its leases (they dial again
    within seconds)."""
    deadline_grace_s: float = 60.0
    """How much later than the task's own deadline a silent lease is revoked: the runner kills at
    the deadline, so silence beyond it is the node's fault."""
    start_grace_s: float = 1800.0
    """How much longer a lease may take to start: its partition may have to be staged first."""
    cancel_answer_s: float = 45.0
    """How long a node may take to answer CANCEL: 30 s between SIGTERM and SIGKILL, and some."""


class NodePhase(StrEnum):
    """What a node may be asked to do."""

    JOINED = "Joined"
    """Connected, not ready: no new work, what it holds goes on."""
    READY = "Ready"
    DRAINING = "Draining"
    LOST = "Lost"
    """Gone: it holds nothing, and what it says is late."""


@dataclass(slots=True)
class Lease:
    """The right of one node to report tasks of one run, once each."""

    id: str
    epoch: int
    node: int
    run: str
    open: dict[int, int]
    """Attempt by index of the tasks not yet answered, in running order."""
    size: int
    partition: int | None
    """Of a per-node run; None: a batch of a map."""
    since: float
    """When the node last answered for it, or could begin with it."""
    started: bool = False
    cancelling: set[int] = field(default_factory=set)
    cancel_by: str = ""
    cancel_due: float | None = None
    """When tasks in `cancelling` count as cancelled without the node's answer."""
    progress: tuple[float, str] | None = None
    """Fraction and words of the running task's last report."""


@dataclass(slots=True)
class Node:
    """One node index and the agent that serves it."""

    index: int
    instance: str = ""
    slots: int = 1
    python: str = ""
    phase: NodePhase = NodePhase.JOINED
    since: float = 0.0
    """When `phase` last changed."""
    leases: dict[str, Lease] = field(default_factory=dict)
    """In the order of handing out: the first `slots` run, one more may be prefetched."""


@dataclass(slots=True)
class Stop:
    """Why a run ends before its tasks are done."""

    phase: FinalPhase
    reason: str
    message: str
    by: str
    """What `was cancelled by …` names in the records of its tasks."""


@dataclass(slots=True)
class Run:
    """One run: what was ordered, where its tasks stand, and how it ended."""

    order: RunOrder
    phase: Phase = ""
    """Empty while not accepted."""
    reason: str = ""
    message: str = ""
    started: float | None = None
    finished: float | None = None
    plan: Plan | None = None
    tasks: TaskTable | None = None
    """None until the number of tasks is known (a per-node run without a plan)."""
    total: int = 0
    """`ctx.total`: the size of the index space."""
    leases: dict[str, Lease] = field(default_factory=dict)
    nodes: set[int] = field(default_factory=set)
    """Nodes that were handed tasks: each has a child to end."""
    orphans: dict[int, None] = field(default_factory=dict)
    """Pending partitions that may run on any node, in order."""
    recovered: bool = False
    """It was accepted by an earlier coordinator."""
    hold_until: float | None = None
    """Recovered: when to stop waiting for leases that nodes may still hold."""
    stop: Stop | None = None
    failures: FailureSummary = field(default_factory=FailureSummary)
    reach: int = 1
    """How many tasks of a map a lease may have at most, for now."""
    mean_s: float | None = None
    """Smoothed runtime of one task."""
    paces: dict[int, float] = field(default_factory=dict)
    """The same by node: machines differ, and so do their neighbours."""


QueueKey = tuple[bool, int, float, str]
"""(not recovered, -priority, created, uid)."""


@dataclass(slots=True)
class State:
    """Everything `step` needs; one per coordinator process, at one epoch."""

    epoch: int
    size: int
    """Nodes that the environment should have."""
    settings: Settings = field(default_factory=Settings)
    now: float = 0.0
    """Time of the latest event; never goes back."""
    plan: Plan | None = None
    """What per-node runs are bound to; None while nodes and layers are being planned."""
    runs: dict[str, Run] = field(default_factory=dict)
    """By uid, finished ones until `RunClosed`."""
    queue: list[QueueKey] = field(default_factory=list)
    """Accepted runs, first to start first."""
    refused: list[QueueKey] = field(default_factory=list)
    """Runs beyond `max_queued_runs`, accepted when there is room."""
    running: dict[str, Run] = field(default_factory=dict)
    """Runs that may be dispatched, in the order they started."""
    nodes: dict[int, Node] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    idle: dict[int, Node] = field(default_factory=dict)
    """Ready nodes with a free slot."""
    ready_pythons: dict[str, int] = field(default_factory=dict)
    """How many ready nodes run each Python minor."""
    counter: int = 0
    """Leases handed out at this epoch."""
    is_store_behind: bool = False
    """Nothing is handed out until what was reported is written."""
    may_admit: bool = False
    """A run ended within this step: the queue may move."""
