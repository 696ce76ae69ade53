"""Interleaved timing: peers are asked in turn, so that a slow moment of the machine hits all."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

QUIET, LOOK_S = 0.1, 1.0
"""Share of the processors above which the machine is said to be busy, and how long it is watched.
Not the load average: for minutes it tells of the question before."""

SHORT = bool(os.environ.get("GEOPOD_BENCH_SHORT"))
"""Whether every question is only tried out: few rounds, a hundredth of the tasks."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds (or bytes, or a count) of one peer's rounds."""

    median: float
    low: float
    high: float
    rounds: int
    p99: float


@dataclass(frozen=True, slots=True)
class Row:
    """One question, each peer's answer, and the gates that geopod must pass."""

    question: str
    spreads: Mapping[str, Spread]
    gates: Mapping[str, float]
    """Peer -> geopod's figure divided by the peer's may be this much at most."""
    unit: str = "ms"
    """`ms`, `MB` for memory, or what is counted."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Peer -> what it promises less, or did otherwise."""

    def ratio(self, peer: str) -> float:
        """Return geopod's median divided by the peer's."""
        return self.spreads["geopod"].median / max(self.spreads[peer].median, 1e-12)

    @property
    def missed(self) -> list[str]:
        """The peers whose gate is missed."""
        return [peer for peer, limit in self.gates.items() if self.ratio(peer) > limit]

    @property
    def holds(self) -> bool:
        """Every gate is passed."""
        return not self.missed


def interleave(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, gap_s: float = 0.0, warm: int = 3
) -> dict[str, Spread]:
    """Time every call `rounds` times in turn, after `warm` rounds that do not count.

    `gap_s`: idle time before each call. dask's client batches its messages every 10 ms; a tight
    loop would measure that timer.
    """
    if SHORT:
        rounds, warm = min(rounds, 2), min(warm, 1)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-warm, rounds):
        for name, call in calls.items():
            if gap_s:
                time.sleep(gap_s)  # noqa: TID251  # the idle gap is what is measured
            started = time.perf_counter()
            call()
            if turn >= 0:
                times[name].append(time.perf_counter() - started)
    return {name: spread(values) for name, values in times.items()}


def spread(values: Sequence[float]) -> Spread:
    """Return the median with the middle 80 % of the rounds around it; p99 by nearest rank."""
    ordered = sorted(values)
    count = len(ordered)
    low, high = ordered[count // 10], ordered[-1 - count // 10]
    p99 = ordered[math.ceil(0.99 * count) - 1]
    return Spread(statistics.median(ordered), low, high, count, p99)


def scaled(count: int) -> int:
    """Return the number of tasks, or a hundredth of it where questions are only tried out."""
    return max(count // 100, 2) if SHORT else count


def load() -> str:
    """Say how much of the processors others use: a second is watched in which nothing is asked."""
    import psutil

    share = psutil.cpu_percent(LOOK_S) / 100
    busy = "; BUSY, ratios of short calls are not to be trusted" * (share > QUIET)
    return f"{share:.0%} of {os.cpu_count() or 1} cores in use{busy}"
