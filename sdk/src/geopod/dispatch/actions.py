"""What the shell must do next, in the order of the list: the only way the machine acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from geopod.api.results import TaskRecord

FinalPhase = Literal["Succeeded", "Failed", "Cancelled"]


@dataclass(frozen=True, slots=True)
class Assign:
    """Hand these tasks to the node, to be run one after the other.

    The rest of the ASSIGN message is read from `state.runs[run].order`.
    """

    node: int
    lease: str
    run: str
    tasks: list[tuple[int, int]]
    """(index, attempt)."""
    partition: int | None
    """Partition whose layers `f` sees; None for a map."""
    plan_sha256: str
    total: int
    """`ctx.total`: arguments of a map; partitions of the plan, also when the run has a subset."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop tasks of a lease (`indexes` None: all); the node answers FAILED with Cancelled."""

    node: int
    lease: str
    indexes: list[int] | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """Write these records, final now, into the run's manifest; then send COMMITTED to the node.

    Records that the machine wrote itself (skipped, cancelled, lost) have no node and no lease.
    """

    run: str
    records: Sequence[TaskRecord]
    node: int | None = None
    lease: str = ""


@dataclass(frozen=True, slots=True)
class Forget:
    """Tell the node that nobody waits for these: late, foreign, or to be tried again.

    The node drops what it keeps of them, as after COMMITTED; nothing enters the manifest.
    """

    node: int
    lease: str
    indexes: list[int]


@dataclass(frozen=True, slots=True)
class EndRun:
    """No more tasks of this run will come to the node: its child may go."""

    node: int
    run: str


@dataclass(frozen=True, slots=True)
class RunChanged:
    """The run's status is another one: publish `run_state` when the throttle allows."""

    run: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Every task has its record, all of them in earlier `Commit`s: publish once those are written.

    The run stays readable by `run_state` until `RunClosed`.
    """

    run: str
    phase: FinalPhase
    reason: str
    """Empty when Succeeded; TaskFailed, DeadlineExceeded, QueueDeadlineExceeded, Cancelled, …"""
    message: str


Action = Assign | Cancel | Commit | Forget | EndRun | RunChanged | RunFinished
