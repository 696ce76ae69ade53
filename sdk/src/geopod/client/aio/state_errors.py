"""The public error of an environment's state."""

from __future__ import annotations

from datetime import UTC, datetime

from geopod.api.runs import EnvironmentState
from geopod.errors import EnvironmentTerminatedError, GeopodError, from_condition


def failed_error(state: EnvironmentState) -> GeopodError:
    """Return the public error of an environment that cannot start."""
    if state.code:
        return GeopodError.from_wire(state.code, state.message, state.fixes, state.details)
    return from_condition(state.reason, state.message, during="start", fixes=state.fixes)


def terminated_error(name: str, state: EnvironmentState) -> EnvironmentTerminatedError:
    """Return the error of using an environment that a person has ended."""
    at = datetime.fromtimestamp(float(state.details.get("terminatedAt", 0.0)), UTC)
    by = str(state.details.get("terminatedBy", "its owner"))
    return EnvironmentTerminatedError.terminated(environment=name, at=at, by=by)
