"""Interleaved timing: peers are asked in turn, so that a slow moment of the machine hits all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds of one peer's rounds."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a question, each peer's answer, and the gate it must pass."""

    question: str
    spreads: Mapping[str, Spread]
    gates: Mapping[str, float]
    """Peer -> geopod's time divided by the peer's may be this much at most."""

    def ratio(self, peer: str) -> float:
        """Return geopod's median divided by the peer's."""
        return self.spreads["geopod"].median / self.spreads[peer].median


def interleave(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, gap_s: float = 0.0, warm: int = 3
) -> dict[str, Spread]:
    """Time every call `rounds` times in turn, after `warm` rounds that do not count.

    `gap_s`: idle time before each call. dask's client batches its messages every 10 ms; a tight
    loop would measure that timer.
    """
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
    """Return the median with the middle 80 % of the rounds around it."""
    ordered = sorted(values)
    tenth = len(ordered) // 10
    return Spread(statistics.median(ordered), ordered[tenth], ordered[-1 - tenth], len(ordered))


def quiet() -> str:
    """Say how busy the machine is: the load average beside its cores."""
    import os

    return f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"


def print_rows(rows: Sequence[Row]) -> bool:
    """Print the table; return whether every gate holds."""
    good = True
    for row in rows:
        print(f"\n{row.question}")
        for name, times in row.spreads.items():
            print(
                f"  {name:<22} {times.median * 1e3:10.2f} ms  "
                f"({times.low * 1e3:.2f} .. {times.high * 1e3:.2f}, n={times.rounds})"
            )
        for peer, limit in row.gates.items():
            holds = row.ratio(peer) <= limit
            good &= holds
            word = "holds" if holds else "MISSED"
            print(f"  geopod / {peer} = {row.ratio(peer):.3f}, gate {limit:.3f}: {word}")
    return good
