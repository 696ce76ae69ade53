"""What the shell remembers of one environment between two plans."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime

from geopod_operator.environment.observed import Ref

REAPPLY_S, JITTER = 6 * 3600.0, 0.2
"""Full re-apply: heals what somebody changed without a trace in the generation."""
COUNTS_S = 5.0
"""So long a status waits that differs in counts alone: 1,000 pods come one by one."""


@dataclass(slots=True)
class Memory:
    """Lost with the process: everything in it is found again, or is not needed."""

    uid: str
    reapply_at: float
    applied: dict[Ref, int] = field(default_factory=dict)
    told: dict[str, datetime] = field(default_factory=dict)
    pods_listed_at: datetime | None = None
    refused: dict[Ref, str] = field(default_factory=dict)
    """What the server did not take at the last apply."""
    counts_at: float | None = None
    """Since when counts in the status are not up to date."""

    @classmethod
    def of(cls, uid: str, now: float) -> Memory:
        """Remember nothing yet."""
        return cls(uid, now + _jittered(REAPPLY_S))

    def age(self, now: float) -> None:
        """Forget what was applied when it has been so for hours."""
        if now >= self.reapply_at:
            self.applied.clear()
            self.reapply_at = now + _jittered(REAPPLY_S)

    def counts_wait_s(self, now: float, longest_s: float) -> float:
        """Return how long counts that are not up to date still wait."""
        since = now if self.counts_at is None else self.counts_at
        return max(since + longest_s - now, 0.0)

    def note_counts(self, now: float, *, are_held: bool) -> None:
        """A plan held counts back, or they are up to date."""
        if not are_held:
            self.counts_at = None
        elif self.counts_at is None:
            self.counts_at = now


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # spreads, guards nothing
