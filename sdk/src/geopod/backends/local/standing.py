"""How an environment stands, from what is stored and whether its supervisor lives."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from geopod.api.runs import EnvironmentState
from geopod.backends.local.presence import is_alive
from geopod.backends.local.state import StateFolder, StoredEnvironment
from geopod.errors import EnvironmentStartTimeout, EnvironmentTerminatedError, GeopodError

SETTLED = frozenset({"Suspended", "Failed", "Terminated"})
"""Phases in which nothing has to run."""


def standing(folder: StateFolder, record: StoredEnvironment) -> EnvironmentState:
    """Return how an environment stands, without waking it."""
    alive = is_alive(folder, record.name)
    report = folder.read_report(record.name)  # after that look: the last word of one that ended
    blank = EnvironmentState(
        uid=record.uid,
        name=record.name,
        nodes=record.spec.get("nodes", 1),
        python=record.interpreter,
    )
    current = report is not None and report.generation >= record.generation
    state = report.state if report is not None and current else blank
    replace = msgspec.structs.replace
    if record.terminated is not None:
        message = _terminated(record).fact
        details = {"terminatedAt": record.terminated, "terminatedBy": record.terminated_by}
        return replace(
            blank, phase="Terminated", reason="UserRequested", message=message, details=details
        )
    if alive:
        return state if current else replace(blank, phase="Starting", reason="Updating")
    if record.spec.get("suspend"):
        message = "suspended; resume() wakes it, runs wait"
        return replace(blank, phase="Suspended", reason="UserRequested", message=message)
    if not current or state.phase in SETTLED:
        return replace(state, protocol=0)  # whoever spoke it has ended; the next one is ours
    message = "its processes ended unexpectedly; the next run wakes it"
    return replace(blank, phase="Suspended", reason="Interrupted", message=message)


def is_settled(folder: StateFolder, record: StoredEnvironment) -> bool:
    """Say whether nothing has to run: it sleeps, it failed, or it was ended."""
    report = folder.read_report(record.name)
    current = report is not None and report.generation >= record.generation
    asleep = report is not None and current and report.state.phase in SETTLED
    return asleep or record.terminated is not None or bool(record.spec.get("suspend"))


def require_awake(record: StoredEnvironment) -> None:
    """Raise EnvironmentTerminatedError for an environment that a person ended."""
    if record.terminated is not None:
        raise _terminated(record)


def start_error(state: EnvironmentState) -> GeopodError:
    """Return the public error of an environment that failed to start."""
    code = state.code or EnvironmentStartTimeout.code
    return GeopodError.from_wire(code, state.message, state.fixes, state.details)


def _terminated(record: StoredEnvironment) -> EnvironmentTerminatedError:
    return EnvironmentTerminatedError.terminated(
        environment=record.name,
        at=datetime.fromtimestamp(record.terminated or 0.0, UTC),
        by=record.terminated_by,
    )
