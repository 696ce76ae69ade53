"""One supervised process each: when it runs, when it is started again, when that is given up."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

STEADY_S = 10.0
"""A process that lived this long starts its next life with a clean record."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
CRASHES_LIMIT = 6
"""So many ends by its own fault, none of them steady, and the environment has failed."""
_FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM})


@dataclass(slots=True)
class Member:
    """A process that must be there: at once again after one end, ever later after more."""

    name: str
    start: Callable[[], int]
    """Starts it and returns its pid."""
    pid: int | None = None
    due: float = 0.0
    """When it is to be started (monotonic seconds), while it does not run."""
    _born: float = 0.0
    _ends: int = field(default=0)
    _crashes: int = field(default=0)
    last_exit: int | None = None
    """Exit code, or minus the signal, of its last end."""

    def run(self, now: float) -> None:
        """Start it."""
        self.pid = self.start()
        self._born = now

    def ended(self, code: int, now: float) -> None:
        """Note its end and decide when it is started again."""
        self.pid = None
        self.last_exit = code
        if now - self._born >= STEADY_S:
            self._ends = self._crashes = 0
        pause = FIRST_PAUSE_S * 2 ** (self._ends - 1) if self._ends else 0.0
        self.due = now + min(pause, LONGEST_PAUSE_S)
        self._ends += 1
        self._crashes += code not in _FROM_OUTSIDE

    @property
    def is_hopeless(self) -> bool:
        """It ended by its own fault time after time."""
        return self._crashes >= CRASHES_LIMIT

    def end_text(self) -> str:
        """Return how it ended last, in words: `exit 1`, `SIGSEGV`."""
        code = self.last_exit or 0
        return signal.Signals(-code).name if code < 0 else f"exit {code}"
