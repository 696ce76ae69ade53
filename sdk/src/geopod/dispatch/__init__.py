"""Who runs what, decided without doing it: runs, tasks, nodes and leases as a state machine.

`step(state, event, now)` is the whole interface, `run_state` what the outside sees of a run. This
room has no clock, no chance and no I/O; the coordinator is its shell.
"""

from geopod.dispatch.actions import (
    Action,
    Assign,
    Cancel,
    Commit,
    EndRun,
    FinalPhase,
    Forget,
    RunChanged,
    RunFinished,
)
from geopod.dispatch.events import (
    Event,
    HandedBack,
    NodeDrained,
    NodeJoined,
    NodeLost,
    NodeReady,
    NodesResized,
    NodeUnready,
    PartitionsPlanned,
    Plan,
    RunCancelled,
    RunClosed,
    RunSubmitted,
    StoreBehind,
    TaskFailed,
    TaskProgressed,
    TasksDone,
    TaskStarted,
    Tick,
)
from geopod.dispatch.machine import step
from geopod.dispatch.progress import compress, run_state
from geopod.dispatch.state import Lease, Node, NodePhase, Run, Settings, State

__all__ = [
    "Action",
    "Assign",
    "Cancel",
    "Commit",
    "EndRun",
    "Event",
    "FinalPhase",
    "Forget",
    "HandedBack",
    "Lease",
    "Node",
    "NodeDrained",
    "NodeJoined",
    "NodeLost",
    "NodePhase",
    "NodeReady",
    "NodeUnready",
    "NodesResized",
    "PartitionsPlanned",
    "Plan",
    "Run",
    "RunCancelled",
    "RunChanged",
    "RunClosed",
    "RunFinished",
    "RunSubmitted",
    "Settings",
    "State",
    "StoreBehind",
    "TaskFailed",
    "TaskProgressed",
    "TaskStarted",
    "TasksDone",
    "Tick",
    "compress",
    "run_state",
    "step",
]
