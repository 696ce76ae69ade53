"""Maps of many tasks: no-ops in two sizes, and tasks of 50 ms."""

from __future__ import annotations

from bench.functions import nothing, short_work
from bench.measure import Row, interleave
from bench.peers import Dask, Geopod, Ray, running


def map_tasks() -> list[Row]:
    """10,000 no-op tasks on two workers, then 100,000 by geopod alone, then 1,000 of 50 ms."""
    rows = []
    with running(Geopod, Dask, Ray, workers=2) as peers:
        rows.append(_map(peers, nothing, 10_000, rounds=3, gates={"dask": 1 / 6, "ray": 1 / 2}))
        rows.append(_map(peers, short_work, 1_000, rounds=1, gates={"dask": 1.0, "ray": 1.0}))
        rows.append(_growth(peers[0]))
    return rows


def _map(peers, function, count, *, rounds, gates) -> Row:
    arguments = list(range(count))
    calls = {peer.name: (lambda peer=peer: peer.map(function, arguments)) for peer in peers}
    spreads = interleave(calls, rounds=rounds, gap_s=0.5, warm=int(function is nothing))
    words = "no-op tasks" if function is nothing else "tasks of 50 ms"
    return Row(f"map of {count:,} {words}, 2 workers", spreads, gates)


def _growth(geopod) -> Row:
    """Cost per task of 100,000 tasks beside that of 1,000; the gate is 1.2."""
    sizes = {"1,000 tasks x 100": 1_000, "geopod": 100_000}
    times = {}
    for name, count in sizes.items():
        arguments = list(range(count))
        repeat = 100_000 // count

        def call(arguments=arguments, repeat=repeat):
            for _ in range(repeat):
                geopod.map(nothing, arguments)

        times |= interleave({name: call}, rounds=1, warm=0)
    return Row("100,000 tasks at once beside 100 maps of 1,000", times, {"1,000 tasks x 100": 1.2})
