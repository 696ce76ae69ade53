"""When an environment may sleep: PURE. Its coordinator's word, its spec, the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from geopod.api.runs import EnvironmentState

SUSPEND_PAUSE_S = 2.0
"""A suspended environment stays up this long after a client asked for it: its run is on the way."""
START_PATIENCE_S = 600.0
"""Nodes that do not become ready, and that no run waits for, are given up after so long."""
STARTING = frozenset({"Pending", "Starting"})
RestReason = Literal["UserRequested", "IdleTimeout", "Expired"]
LAST_WORDS: Mapping[str, tuple[Literal["Suspended", "Terminated"], str, str]] = {
    "IdleTimeout": ("Suspended", "IdleTimeout", "asleep after idling; the next run wakes it"),
    "UserRequested": ("Suspended", "UserRequested", "suspended; resume() wakes it, runs wait"),
    "Expired": ("Terminated", "Expired", "the environment's time to live has passed"),
    "Stopped": (
        "Suspended",
        "Stopped",
        "its processes were stopped; the next run wakes it",
    ),
    "Deleted": ("Terminated", "Deleted", "the environment was deleted"),
}
"""Phase, reason and message of an environment that ends, for a RestReason or from outside."""


class Rest:
    """Decides whether everything may end now. All times are seconds since the epoch."""

    def __init__(self, spec: Mapping[str, Any], *, now: float, before: Rest | None = None) -> None:
        """`before`: what was known under the spec that this one replaces."""
        idle = spec.get("idle") or {}
        self._idle_s: float | None = idle.get("afterSeconds")
        self._policy: str = idle.get("policy", "ScaleToZero")
        self._ttl_s: float | None = spec.get("ttlSeconds")
        self._is_suspended = bool(spec.get("suspend"))
        self._last = self._asked = now
        self._state: EnvironmentState | None = before.last_heard if before is not None else None

    def heard(self, state: EnvironmentState, *, now: float) -> None:
        """Take what the coordinator says; idling begins when the nodes are ready, not before."""
        if self._state is None or self._state.phase in STARTING:
            self._last = now
        self._state = state
        self._last = max(self._last, state.last_activity)

    def asked(self, now: float) -> None:
        """A client wants the environment."""
        self._asked = now

    @property
    def last_heard(self) -> EnvironmentState | None:
        """What the coordinator said last."""
        return self._state

    @property
    def is_quiet(self) -> bool:
        """No run is active: processes may be exchanged."""
        return self._state is None or not self._state.active_runs

    def deletes(self, reason: str) -> bool:
        """Say whether falling asleep for `reason` removes the environment."""
        return reason == "IdleTimeout" and self._policy == "Delete"

    def due(self, now: float) -> RestReason | None:
        """Return why everything ends now; None: it goes on."""
        for reason, moment in self._moments():
            if now >= moment:
                return reason
        return None

    def wait(self, now: float) -> float | None:
        """Return in how many seconds something may be due; None: nothing by itself."""
        moments = [moment for _, moment in self._moments()]
        return max(min(moments) - now, 0.0) if moments else None

    def _moments(self) -> list[tuple[RestReason, float]]:
        state = self._state
        if state is None or state.active_runs or state.queued_runs:
            return []
        patience = START_PATIENCE_S if state.phase in STARTING else 0.0
        moments: list[tuple[RestReason, float]] = []
        if self._is_suspended:
            moments.append(("UserRequested", self._asked + SUSPEND_PAUSE_S))
        if self._idle_s is not None:
            moments.append(("IdleTimeout", self._last + max(self._idle_s, patience)))
        if self._ttl_s is not None:
            moments.append(("Expired", self._last + max(self._ttl_s, patience)))
        return moments
