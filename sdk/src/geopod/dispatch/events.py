"""What can happen to runs and nodes: the only way facts reach the state machine.

Every event is a plain frozen value; the shell builds it from a message, a watch or its clock.
Times are seconds since the Unix epoch, the same clock as `now` of `step`.
"""

from __future__ import annotations

from dataclasses import dataclass

from geopod.api.messages import HeldLease
from geopod.api.results import TaskRecord
from geopod.api.runs import RunOrder


@dataclass(frozen=True, slots=True)
class Plan:
    """The partition plan as dispatch needs it: how many partitions, and which hold nothing."""

    sha256: str = ""
    """Content hash of the stored plan; empty for an environment without layers."""
    count: int = 0
    empty: frozenset[int] = frozenset()
    """Partitions without data. Without layers nothing is empty: every node's `f` is called."""


# ---- runs


@dataclass(frozen=True, slots=True)
class RunSubmitted:
    """A run was submitted, or is read back after a restart. Twice is once.

    After a restart submit all unfinished runs before the first `NodeJoined`, so that leases
    which nodes still hold find their run.
    """

    order: RunOrder
    finished: tuple[TaskRecord, ...] = ()
    """Records of the run's manifest: these tasks are not dispatched again."""
    recovered: bool = False
    """True: nodes may hold leases of it, so wait for them before dispatching the rest."""
    started: float | None = None
    """When the run left the queue under an earlier coordinator; None: never."""
    plan: Plan | None = None
    """The plan the run is bound to; None: the environment's, as soon as there is one."""


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """Somebody cancels a run (`indexes` None) or some of its tasks. Twice or too late: nothing."""

    run: str
    indexes: tuple[int, ...] | None = None
    by: str = ""
    """Who, for the sentence `was cancelled by ana`."""


@dataclass(frozen=True, slots=True)
class RunClosed:
    """The shell has published the end of a run: the machine forgets it."""

    run: str


# ---- nodes: what the shell observes


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """An agent was welcomed. It gets no work before `NodeReady`."""

    node: int
    instance: str
    """Another instance on the same index: the former process and its leases are gone."""
    slots: int = 1
    """Leases that it runs at the same time."""
    python: str = ""
    """Minor version of its runner; pickled bytecode goes to this minor only."""
    leases: tuple[HeldLease, ...] = ()
    """What it holds and nobody acknowledged: tasks not yet reported or not yet COMMITTED."""


@dataclass(frozen=True, slots=True)
class NodeReady:
    """The node has staged its partitions and its runner is warm."""

    node: int


@dataclass(frozen=True, slots=True)
class NodeUnready:
    """The node is suspect, stages again or has lost its runner: no new work, leases stay."""

    node: int


@dataclass(frozen=True, slots=True)
class NodeLost:
    """The node is gone for good (silent for six heartbeats, pod deleted): leases are revoked."""

    node: int
    reason: str = ""
    """Why, in words: `evicted: disk pressure`."""


@dataclass(frozen=True, slots=True)
class NodeDrained:
    """The node was told to drain: no new work, it hands back what has not started."""

    node: int


@dataclass(frozen=True, slots=True)
class NodesResized:
    """The environment has so many nodes and is planned anew: later runs wait for that plan."""

    nodes: int


@dataclass(frozen=True, slots=True)
class StoreBehind:
    """Reports pile up, because the store does not take them; or (False) they are written."""

    is_behind: bool


@dataclass(frozen=True, slots=True)
class PartitionsPlanned:
    """There is a plan: runs that have none yet are bound to it."""

    plan: Plan


# ---- answers of nodes


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """The lease's first task is running."""

    node: int
    lease: str
    epoch: int


@dataclass(frozen=True, slots=True)
class TaskProgressed:
    """What one running task says of itself."""

    node: int
    lease: str
    epoch: int
    index: int
    fraction: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class TasksDone:
    """Results lie in the store; each record has no failure."""

    node: int
    lease: str
    epoch: int
    records: tuple[TaskRecord, ...] | list[TaskRecord]


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """One attempt of one task failed; `record.failure` is set."""

    node: int
    lease: str
    epoch: int
    record: TaskRecord


@dataclass(frozen=True, slots=True)
class HandedBack:
    """Tasks that never started: the node drains, or its child could not start."""

    node: int
    lease: str
    epoch: int
    indexes: tuple[int, ...] | list[int]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. Once a second is enough; every deadline is judged here."""


Event = (
    RunSubmitted
    | RunCancelled
    | RunClosed
    | NodeJoined
    | NodeReady
    | NodeUnready
    | NodeLost
    | NodeDrained
    | NodesResized
    | PartitionsPlanned
    | StoreBehind
    | TaskStarted
    | TaskProgressed
    | TasksDone
    | TaskFailed
    | HandedBack
    | Tick
)
