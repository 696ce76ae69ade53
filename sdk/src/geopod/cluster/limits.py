"""How often the API server may be asked: one token bucket for all calls of a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests per second on average, and at once after a pause."""

    qps: float = 50.0
    burst: int = 100
    tries: int = 5
    """How often one call is made before a transient failure is told to the caller."""
    refusals: int = 6
    """After so many 403 a right counts as missing, about 8 s; a call that was never allowed is made
    once. A server that has just started refuses everybody for a second or two."""
    rights_are_given: bool = False
    """The chart gives this client every right: no 403 is believed before `refusals` of them."""


class TokenBucket:
    """Says how long to wait before the next request. Source: the leaky bucket as a meter."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """Start full; `clock` in seconds."""
        self._limits = limits
        self._clock = clock
        self._level = float(limits.burst)
        self._at = clock()

    def take(self) -> float:
        """Take one token and return the seconds until it may be used; 0: at once.

        The level may fall below zero: waiting callers stand in a line, each later than the last.
        """
        now = self._clock()
        refilled = self._level + (now - self._at) * self._limits.qps
        self._level = min(float(self._limits.burst), refilled) - 1
        self._at = now
        return max(0.0, -self._level / self._limits.qps)
