"""The environment as the outside sees it: one bounded state, its watchers, and its file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from geopod.api.control import EnvironmentUpdate
from geopod.api.layer_report import report_layer
from geopod.api.plan import Plan
from geopod.api.runs import Condition, EnvironmentState
from geopod.coordinator.members import Member
from geopod.coordinator.outside import Watcher
from geopod.coordinator.plans import PlanFailed, StoredPlan
from geopod.dispatch import compress

NODES_WITHIN_S = 0.02
"""Changes of nodes and plan this close together are told as one: nodes join in bursts."""
RUNS_WITHIN_S = 1.0
"""Counts of runs and the time of the last activity change with every run of a millisecond."""


def describe_environment(
    blank: EnvironmentState,
    *,
    members: Iterable[Member],
    plan: StoredPlan | PlanFailed | None,
    known: Collection[int],
    waits: str = "",
) -> EnvironmentState:
    """Return the state: `blank` (identity, counts of runs) and what nodes and plan say.

    `plan` None: the headers are being read. `known`: nodes that are lost when they are not there;
    the others start. `waits`: why ready nodes get no work. The phase is Ready when every node may
    work.
    """
    there = [member for member in members if member.connected and member.index < blank.nodes]
    sha256 = plan.sha256 if isinstance(plan, StoredPlan) else ""
    ready = sum(member.may_work(sha256) for member in there)
    here = {member.index for member in there}
    absent = bytes(it in known and it not in here for it in range(blank.nodes))
    lost, _ = compress(absent, 1)
    state = msgspec.structs.replace(
        blank,
        connected=len(there),
        staged=sum(member.has_staged(sha256) for member in there),
        ready=ready,
        lost=lost,
        plan_sha256=sha256,
        layers=_describe_layers(plan.plan) if isinstance(plan, StoredPlan) else [],
    )
    judged = _judge(state, plan, there)
    if not waits or judged.phase != "Ready":
        return judged
    return _phase(judged, "Ready", "", f"{judged.message} {waits}")


def _judge(
    state: EnvironmentState, plan: StoredPlan | PlanFailed | None, there: list[Member]
) -> EnvironmentState:
    """Return the state with its phase, reason and conditions."""
    if state.nodes == 0:
        return _phase(state, "Suspended", "UserRequested", "No nodes; the next run waits for some.")
    if plan is None:
        return _phase(state, "Pending", "Reading", "The layers' headers are being read.")
    if isinstance(plan, PlanFailed):
        failed = _phase(state, "Failed", str(plan.details.get("reason", "")), plan.fact)
        return msgspec.structs.replace(
            failed, code=plan.code, fixes=plan.fixes, details=plan.details
        )
    broken = next((member for member in there if member.failure is not None), None)
    if broken is not None and broken.failure is not None:
        fact = f"Node {broken.index} cannot stage its partition: {broken.failure.fact}"
        failed = _phase(state, "Failed", broken.failure.reason, fact)
        return msgspec.structs.replace(failed, code=broken.failure.code, fixes=broken.failure.fixes)
    if state.ready == state.nodes:
        return _phase(state, "Ready", "", f"{state.ready} of {state.nodes} nodes are ready.")
    waiting = next((m.runner_message for m in there if m.runner_message), "")
    fact = f"{state.ready} of {state.nodes} nodes are ready, {state.connected} are connected."
    return _phase(state, "Starting", "Scaling", f"{fact} {waiting}".rstrip())


def _phase(state: EnvironmentState, phase: Any, reason: str, message: str) -> EnvironmentState:
    """Return the state in a phase, with the conditions that follow from it."""
    resolved = phase not in {"Pending", "Failed"} or bool(state.plan_sha256)
    ready = phase == "Ready"
    conditions = [
        Condition(type="LayersResolved", status=resolved, reason="" if resolved else reason),
        Condition(type="NodesReady", status=ready, reason="" if ready else reason),
        Condition(type="Ready", status=ready, reason=reason, message=message),
    ]
    return msgspec.structs.replace(
        state, phase=phase, reason=reason, message=message, conditions=conditions
    )


def _describe_layers(plan: Plan) -> list[dict[str, Any]]:
    """Return what a state says of each layer: name, kind, place; at most 64 of them."""
    return [
        {
            "key": layer.key,
            "pathId": layer.path_id,
            "kind": layer.kind,
            **report_layer(layer, plan),
        }
        for layer in plan.layers[:64]
    ]


class EnvironmentBook:
    """Tells watchers, and readers of the state file, how the environment is."""

    def __init__(self, read_state: Callable[[], EnvironmentState], *, state_file: str) -> None:
        self._read_state = read_state
        self._file = Path(state_file) if state_file else None
        self._watchers: set[Watcher] = set()
        self._shown: EnvironmentState | None = None
        self._timer: asyncio.Handle | None = None
        self._due_at = 0.0
        """Of the timer. Not its `when()`: uvloop's handle of a time that has come knows none."""
        self._loop = asyncio.get_running_loop()

    def watch(self, client: Watcher) -> None:
        """Tell a client how the environment is: at once, and on every change."""
        self._watchers.add(client)
        client.send(EnvironmentUpdate(state=self._read_state()))

    def forget(self, client: Watcher) -> None:
        """A client is gone."""
        self._watchers.discard(client)

    def changed(self, *, within_s: float = NODES_WITHIN_S) -> None:
        """Something may have changed: tell it soon."""
        due = self._loop.time() + within_s
        if self._timer is not None and self._due_at <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due_at = due
        self._timer = self._loop.call_at(due, self.publish)

    def publish(self) -> None:
        """Tell what has changed, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        state = self._read_state()
        if state == self._shown:
            return
        self._shown = state
        for client in self._watchers:
            client.send(EnvironmentUpdate(state=state))
        if self._file is not None:
            part = self._file.with_suffix(".part")
            part.write_bytes(msgspec.json.encode(state))
            part.replace(self._file)
