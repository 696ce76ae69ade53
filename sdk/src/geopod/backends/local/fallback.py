"""A change whose packages cannot be installed changes nothing: what served before serves on.

A record remembers what it replaced (`before`) until its own packages are there. If they cannot be
installed, that is put back, and the record says what was refused. Only layers that shall be read
anew are so at once: nothing is to be installed for them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from geopod.api.runs import Condition, EnvironmentState
from geopod.backends.local.packages import BuildFailure, is_installed
from geopod.backends.local.records import Refusal, StoredEnvironment
from geopod.backends.local.state import StateFolder


def remember(
    folder: StateFolder, known: StoredEnvironment, record: StoredEnvironment
) -> StoredEnvironment:
    """Return the record that replaces `known`, with what serves on if it cannot be installed."""
    if _packages(known) == _packages(record):
        return record
    before = known.before
    if known.terminated is None and is_installed(folder, known):
        before = msgspec.structs.replace(known, before=None, refused=None)
    if before is not None:
        before = msgspec.structs.replace(before, replanned=record.replanned)
    return msgspec.structs.replace(record, before=before, refused=None)


def served(folder: StateFolder, record: StoredEnvironment) -> StoredEnvironment:
    """Return the record that processes run by: what was before while packages are missing."""
    if record.before is None or is_installed(folder, record):
        return record
    return record.before


def take_back(
    folder: StateFolder, record: StoredEnvironment, failure: BuildFailure
) -> StoredEnvironment:
    """Store what was before a record again, and what was refused; returns what is stored now.

    That is another one if somebody has asked for other packages meanwhile.
    """
    with folder.locked(record.name):
        now = folder.read_environment(record.name)
        if now.before is None or now.requirements_key != record.requirements_key:
            return now
        refused = Refusal(
            generation=now.generation,
            requirements_key=now.requirements_key,
            reason=failure.reason,
            code=failure.error.code,
            fact=failure.error.fact,
            fixes=list(failure.error.fixes),
            details=dict(failure.error.details),
        )
        old = msgspec.structs.replace(now.before, generation=now.generation + 1, refused=refused)
        folder.write_environment(old)
    return old


def with_refusal(state: EnvironmentState, record: StoredEnvironment) -> EnvironmentState:
    """Return the state with a condition that says what was refused last."""
    refused = record.refused
    if refused is None:
        return state
    told = Condition(
        type="DependenciesReady", status=False, reason=refused.reason, message=refused.fact
    )
    others = [one for one in state.conditions if one.type != told.type]
    return msgspec.structs.replace(state, conditions=[told, *others])


class Asked:
    """What this client asked for: it alone is told, once, that a change was refused."""

    def __init__(self) -> None:
        self._asked: dict[str, StoredEnvironment] = {}

    def note(self, record: StoredEnvironment) -> None:
        """Remember a record that this client wants served."""
        self._asked[record.uid] = record

    def refusal(self, record: StoredEnvironment) -> EnvironmentState | None:
        """Return the failed state of a change that this client asked for and that was refused."""
        asked, refused = self._asked.get(record.uid), record.refused
        if asked is None or refused is None or refused.generation < asked.generation:
            return None
        if refused.requirements_key != asked.requirements_key:
            return None
        del self._asked[record.uid]
        return EnvironmentState(
            uid=record.uid,
            name=record.name,
            phase="Failed",
            reason=refused.reason,
            message=refused.fact,
            code=refused.code,
            fixes=refused.fixes,
            details=refused.details,
            nodes=record.spec.get("nodes", 1),
            python=record.interpreter,
        )


def _packages(record: StoredEnvironment) -> tuple[Any, ...]:
    return record.python, record.requirements_key
