"""The state machine of runs, tasks and nodes: one function, one branch per event.

Decides everything and does nothing: no clock, no chance, no I/O. The coordinator's shell turns
messages and time into events and carries the actions out, on a cluster and on a laptop alike.
"""

from __future__ import annotations

from typing import assert_never

from geopod.dispatch import answers, assignment, cancelling, clock, members, starting
from geopod.dispatch.actions import Action
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
from geopod.dispatch.state import State


def step(state: State, event: Event, now: float) -> list[Action]:
    """Return what to do about `event`, in order; `state` is updated in place.

    `now`: seconds since the Unix epoch; a time before the latest event's counts as that one.
    Deterministic: equal states, events and times give equal actions.
    """
    state.now = max(state.now, now)
    actions: list[Action] = []
    _apply(state, event, actions)
    while state.may_admit:
        state.may_admit = False
        starting.admit_runs(state, actions)
    return actions


def _apply(state: State, event: Event, actions: list[Action]) -> None:  # noqa: C901, PLR0912  # one branch per event
    match event:
        case TasksDone():
            answers.take_done(state, event, actions)
        case TaskStarted():
            answers.take_started(state, event)
        case TaskProgressed():
            answers.take_progress(state, event, actions)
        case TaskFailed():
            answers.take_failed(state, event, actions)
        case HandedBack():
            answers.take_back(state, event, actions)
        case Tick():
            clock.tick(state, actions)
        case RunSubmitted():
            starting.submit_run(state, event, actions)
        case RunCancelled():
            cancelling.cancel_run(state, event, actions)
        case RunClosed():
            cancelling.close_run(state, event.run)
        case NodeJoined():
            members.join(state, event, actions)
        case NodeReady():
            members.make_ready(state, event.node, actions)
        case NodeUnready():
            members.make_unready(state, event.node)
        case NodeLost():
            members.lose(state, event, actions)
        case NodeDrained():
            members.drain(state, event.node, actions)
        case NodesResized():
            members.resize(state, event)
        case PartitionsPlanned():
            starting.bind_waiting(state, event.plan, actions)
        case StoreBehind():
            assignment.follow_store(state, event.is_behind, actions)
        case _:
            assert_never(event)
