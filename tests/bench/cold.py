"""From nothing to the first answer: what a script waits for before it has anything."""

from __future__ import annotations

import time

from bench.functions import nothing
from bench.measure import SHORT, Row, spread
from bench.peers import Dask, Geopod, Ray, running

WORKERS, ROUNDS = 2, 1 if SHORT else 3


def first_answer() -> list[Row]:
    """Start two workers, ask for one no-op on each, in turn; libraries are imported before."""
    for kind in (Geopod, Dask, Ray):
        _ask(kind)
    times: dict[str, list[float]] = {kind.name: [] for kind in (Geopod, Dask, Ray)}
    for _ in range(ROUNDS):
        for kind in (Geopod, Dask, Ray):
            times[kind.name].append(_ask(kind))
    spreads = {name: spread(values) for name, values in times.items()}
    return [Row("two workers from nothing to their first answers", spreads, {})]


def _ask(kind: type) -> float:
    started = time.perf_counter()
    with running(kind, workers=WORKERS) as (peer,):
        peer.map(nothing, list(range(WORKERS)))
        return time.perf_counter() - started
