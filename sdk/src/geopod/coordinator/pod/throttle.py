"""How often statuses are written. Pure: times are arguments.

Source: the project's operator design, §6 "Status writes".
"""

from __future__ import annotations

import msgspec

from geopod.api.runs import EnvironmentState

SHORTEST_S, LONGEST_S = 1.0, 10.0
PROGRESS_PER_S = 2.0
"""Of one coordinator, all its runs together."""
RUNNING_AFTER_S = 0.1
"""A run that ends sooner never says Running: its end would wait for that write."""
ACTIVITY_EVERY_S = 30.0
"""No sleep is shorter than a minute, so an activity this fresh keeps an environment awake."""
COUNTS_EVERY_S = 1.0
BESIDE_EVERY_S = 10.0
BESIDE = ("busy", "connected", "staged", "message", "conditions")
"""Nothing is decided by these: a map makes nodes busy and idle many times a second, and nodes that
start say so one by one. Conditions follow from the phase and the message."""
WAY_UP = ("Pending", "Starting", "Ready")


def environment_pause(state: EnvironmentState, written: EnvironmentState) -> float | None:
    """Return the pause between what was written of an environment and this; None: it says it all.

    Somebody waits for each step towards Ready: they are told at once.
    """
    if state == written:
        return None
    if state.phase in WAY_UP[1:] and written.phase in WAY_UP[: WAY_UP.index(state.phase)]:
        return 0.0
    calm = msgspec.structs.replace(state, last_activity=written.last_activity)
    if calm == written:
        return ACTIVITY_EVERY_S
    rest = msgspec.structs.replace(calm, **{name: getattr(written, name) for name in BESIDE})
    return BESIDE_EVERY_S if rest == written else COUNTS_EVERY_S


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
