"""Maps of many tasks: no-ops in two sizes, and tasks of 50 ms."""

from __future__ import annotations

from bench.functions import nothing, short_work
from bench.measure import Row, interleave, scaled
from bench.peers import Dask, Geopod, Ray, running


def map_tasks() -> list[Row]:
    """10,000 and 100,000 no-op tasks on two workers, and 1,000 of 50 ms."""
    with running(Geopod, Dask, Ray, workers=2) as peers:
        for peer in peers:
            peer.map(nothing, list(range(scaled(1_000))))
        gates = {"dask": 1 / 6, "ray": 1 / 2}
        return [
            _map(peers, nothing, 10_000, rounds=3, gates=gates),
            _map(peers, nothing, 100_000, rounds=1, gates=gates),
            _map(peers, short_work, 1_000, rounds=1, gates={"dask": 1.0, "ray": 1.0}),
        ]


def growth() -> list[Row]:
    """Cost per task of 100,000 tasks beside that of 1,000; the gate is 1.2."""
    with running(Geopod, workers=2) as (geopod,):
        geopod.map(nothing, list(range(scaled(1_000))))
        return [_growth(geopod)]


def _map(peers, function, count, *, rounds, gates) -> Row:
    arguments = list(range(scaled(count)))
    calls = {peer.name: (lambda peer=peer: peer.map(function, arguments)) for peer in peers}
    spreads = interleave(calls, rounds=rounds, gap_s=0.5, warm=0)
    words = "no-op tasks" if function is nothing else "tasks of 50 ms"
    return Row(f"map of {count:,} {words}, 2 workers", spreads, gates)


def _growth(geopod) -> Row:
    few, many = list(range(1_000)), list(range(scaled(100_000)))

    def in_parts() -> None:
        for _ in range(len(many) // len(few)):
            geopod.map(nothing, few)

    calls = {"1,000 tasks x 100": in_parts, "geopod": lambda: geopod.map(nothing, many)}
    spreads = interleave(calls, rounds=3, warm=0)
    return Row(
        "100,000 tasks at once beside 100 maps of 1,000", spreads, {"1,000 tasks x 100": 1.2}
    )
