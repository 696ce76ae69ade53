"""Which run waits where: priority, then age; at most `max_queued_runs` are accepted."""

from __future__ import annotations

from bisect import bisect_left, insort

from geopod.dispatch.state import QueueKey, Run, State
from geopod.dispatch.wording import counted


def enter_queue(state: State, run: Run) -> None:
    """Accept a run if there is room, or if an earlier coordinator had accepted it."""
    if run.recovered or len(state.queue) < state.settings.max_queued_runs:
        run.phase, run.reason, run.message = "Queued", "", ""
        insort(state.queue, queue_key(run))
        return
    run.reason = "QueueFull"
    run.message = (
        f"The queue is full: {counted(len(state.queue), 'run')} "
        f"(maxQueuedRuns={state.settings.max_queued_runs}). "
        f"This one is taken when there is room, within {run.order.queue_timeout_s:g} s of its "
        "submission (queueTimeoutSeconds)."
    )
    insort(state.refused, queue_key(run))


def accept_refused(state: State) -> list[Run]:
    """Accept refused runs, best first, while there is room; return them."""
    accepted = []
    while state.refused and len(state.queue) < state.settings.max_queued_runs:
        run = state.runs[state.refused.pop(0)[-1]]
        enter_queue(state, run)
        accepted.append(run)
    return accepted


def leave_queue(state: State, run: Run) -> None:
    """Take a run off both lists, if it is on one."""
    key = queue_key(run)
    for waiting in (state.queue, state.refused):
        position = bisect_left(waiting, key)
        if position < len(waiting) and waiting[position] == key:
            del waiting[position]


def queue_key(run: Run) -> QueueKey:
    """Return where a run stands: read back after a restart, then priority, then age."""
    return (not run.recovered, -run.order.priority, run.order.created, run.order.uid)


def waiting_words(state: State, run: Run, *, ready: int, now: float) -> tuple[str, str]:
    """Return reason and message of an accepted run that waits."""
    if len(state.running) >= state.settings.max_concurrent_runs:
        ahead = bisect_left(state.queue, queue_key(run))
        return "", (
            f"Waits behind {counted(len(state.running), 'running run')} "
            f"(maxConcurrentRuns={state.settings.max_concurrent_runs}) and {ahead} queued."
        )
    waited = max(0.0, now - run.order.created)
    deadline = f"{waited:.0f} s of {run.order.queue_timeout_s:g} s (queueTimeoutSeconds)"
    if not state.size:
        return "EnvironmentNotReady", (
            f"Waits for nodes, {deadline}: the environment has none (nodes=0); scale it, as by "
            "env.scale(1)."
        )
    if run.tasks is None:
        return "EnvironmentNotReady", f"Waits for the partition plan, {deadline}."
    return "EnvironmentNotReady", (
        f"Waits for ready nodes, {deadline}: {ready} of {state.size} are ready."
    )
