"""Conditions as plain JSON objects, for writers that load no pydantic. Pure.

The same rules as `conditions.set_condition`: a transition time moves with the status alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from geopod.api.reasons import EnvironmentCondition, RunCondition, sentence

ConditionType = EnvironmentCondition | RunCondition


def find_raw(conditions: Iterable[Mapping[str, Any]], wanted: str) -> Mapping[str, Any] | None:
    """Return the condition of a type, if there is one."""
    return next((it for it in conditions if it["type"] == wanted), None)


class ConditionWriter:
    """Collects the conditions that one writer owns; what it does not set is dropped."""

    def __init__(self, before: Iterable[Mapping[str, Any]], *, generation: int, now: float) -> None:
        self._before = {it["type"]: it for it in before}
        self._generation = generation
        self._now = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._written: list[dict[str, Any]] = []

    def is_true(self, condition_type: ConditionType) -> bool:
        """Whether the condition held before."""
        return self._before.get(condition_type, {}).get("status") == "True"

    def set(
        self, condition_type: ConditionType, reason: str, message: str, *, status: bool
    ) -> None:
        """Set a condition to these words."""
        word = "True" if status else "False"
        old = self._before.get(condition_type, {})
        since = old["lastTransitionTime"] if old.get("status") == word else self._now
        self._written.append({
            "type": condition_type.value,
            "status": word,
            "observedGeneration": self._generation,
            "lastTransitionTime": since,
            "reason": reason,
            "message": message,
        })  # fmt: skip  # one key per line

    def say(
        self, condition_type: ConditionType, reason: str, *, status: bool, **values: object
    ) -> None:
        """Set a condition to its reason's own sentence."""
        self.set(condition_type, reason, sentence(condition_type, reason, **values), status=status)

    def keep(self, condition_type: ConditionType) -> None:
        """Keep a condition as it was, if it was there."""
        if condition_type in self._before:
            self._written.append(dict(self._before[condition_type]))

    def done(self) -> list[dict[str, Any]]:
        """Return the conditions in the order in which they were set."""
        return self._written
