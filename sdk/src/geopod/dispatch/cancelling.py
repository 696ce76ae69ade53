"""A run, or some of its tasks, cancelled by somebody; and a finished run forgotten."""

from __future__ import annotations

from geopod.dispatch.actions import Action, RunChanged
from geopod.dispatch.ending import cancel_leased, cancel_waiting, finish_if_done, stop_run
from geopod.dispatch.events import RunCancelled
from geopod.dispatch.state import State, Stop


def cancel_run(state: State, event: RunCancelled, actions: list[Action]) -> None:
    """Cancel what waits at once, and tell nodes to stop what runs. Too late: nothing."""
    run = state.runs.get(event.run)
    if run is None or run.finished is not None:
        return
    if event.indexes is None:
        message = f"The run was cancelled by {event.by}." if event.by else "The run was cancelled."
        stop_run(state, run, Stop("Cancelled", "Cancelled", message, event.by), actions)
    else:
        indexes = list(dict.fromkeys(event.indexes))
        cancel_waiting(state, run, indexes, by=event.by, actions=actions)
        for lease in list(run.leases.values()):
            cancel_leased(state, lease, indexes, by=event.by, actions=actions)
        finish_if_done(state, run, actions)
    if run.finished is None:
        actions.append(RunChanged(event.run))


def close_run(state: State, uid: str) -> None:
    """Forget a finished run; an unfinished one stays."""
    run = state.runs.get(uid)
    if run is not None and run.finished is not None:
        del state.runs[uid]
