"""The public error of an environment's state."""

from __future__ import annotations

from datetime import UTC, datetime

from geopod import __version__
from geopod.api.messages import PROTOCOL, RELEASES, is_served
from geopod.api.runs import EnvironmentState
from geopod.backends import EnvironmentRecord
from geopod.errors import (
    EnvironmentStartTimeout,
    EnvironmentTerminatedError,
    GeopodError,
    ProtocolMismatchError,
    from_condition,
)

NAMED_WHEN_LATE = frozenset({"Unschedulable", "ImagePullFailed", "QuotaExceeded"})
"""Reasons that may pass by themselves, and whose own error says more than that time is over."""


def failed_error(state: EnvironmentState) -> GeopodError:
    """Return the public error of an environment that cannot start."""
    if state.code:
        return GeopodError.from_wire(state.code, state.message, state.fixes, state.details)
    return from_condition(state.reason, state.message, during="start", fixes=state.fixes)


def late_error(record: EnvironmentRecord, after_s: float) -> GeopodError:
    """Return the public error of an environment that was not ready in time."""
    state = record.state
    total = record.spec.get("nodes", 1)
    if state.reason in NAMED_WHEN_LATE:
        details = {"ready": state.ready, "total": total, "seconds": after_s}
        return from_condition(state.reason, state.message, during="start", details=details)
    return EnvironmentStartTimeout.not_ready(
        environment=record.name,
        ready=state.ready,
        total=total,
        after_s=after_s,
        why=state.message or f"its nodes are {state.phase.lower()}",
    )


def check_protocol(record: EnvironmentRecord, *, speaks: int = PROTOCOL) -> None:
    """Raise ProtocolMismatchError if the environment's coordinator does not serve this client."""
    known = record.state.protocol
    if known and not is_served(speaks, by=known):
        raise ProtocolMismatchError.differs(
            client=__version__,
            speaks=speaks,
            environment=record.name,
            environment_speaks=known,
            fitting=RELEASES.get(known),
        )


def terminated_error(name: str, state: EnvironmentState) -> EnvironmentTerminatedError:
    """Return the error of using an environment that a person has ended."""
    at = datetime.fromtimestamp(float(state.details.get("terminatedAt", 0.0)), UTC)
    by = str(state.details.get("terminatedBy", "its owner"))
    return EnvironmentTerminatedError.terminated(environment=name, at=at, by=by)
