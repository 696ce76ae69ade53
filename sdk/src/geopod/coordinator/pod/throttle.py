"""How often statuses are written. Pure: times are arguments.

Source: the project's operator design, §6 "Status writes".
"""

from __future__ import annotations

SHORTEST_S, LONGEST_S = 1.0, 10.0
PROGRESS_PER_S = 2.0
"""Of one coordinator, all its runs together."""
RUNNING_AFTER_S = 0.1
"""A run that ends sooner never says Running: its end would wait for that write."""
ACTIVITY_EVERY_S = 30.0
"""No sleep is shorter than a minute, so an activity this fresh keeps an environment awake."""
COUNTS_EVERY_S = 1.0


def progress_interval(elapsed_s: float) -> float:
    """Return the pause between two reports of progress of a run of this age."""
    return min(LONGEST_S, max(SHORTEST_S, elapsed_s / 10))


class ProgressBudget:
    """Spreads the progress writes of many runs: at most `PROGRESS_PER_S` of them."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def reserve(self, due: float) -> float:
        """Return the first free moment from `due` on, and take it."""
        at = max(due, self._free_at)
        self._free_at = at + 1 / PROGRESS_PER_S
        return at
