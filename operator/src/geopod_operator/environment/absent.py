"""What to do with runs whose environment is not there, or is another one of the same name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from geopod_operator.environment.observed import Raw
from geopod_operator.environment.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A name that runs ask for and no ComputeEnvironment has."""

    now: datetime
    namespace: str
    name: str
    """The environment that is not there."""
    environments: tuple[str, ...] = ()
    """Names of those that are there, for a message."""
    runs: tuple[Raw, ...] = ()
    """ComputeRuns that name it: new, unfinished (LIST after a deletion) and finished ones."""


def plan_absent(absence: Absence) -> Outcome:
    """Return what to do about runs without an environment: tell, end, delete after their term."""
    return Outcome(asked_at=absence.now)
