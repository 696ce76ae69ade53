"""ray as `ray.init()` starts it, and Lithops: the warm call and a map."""

from __future__ import annotations

from bench.functions import nothing
from bench.measure import Row, interleave, scaled
from bench.peers import Geopod, Lithops, RayDefaults, running
from bench.versions import is_installed

WORKERS = 2
RAY = RayDefaults.name


def ray_defaults() -> list[Row]:
    """A warm call and a map, beside a ray that was told nothing."""
    return [
        _call(RayDefaults, {RAY: 0.6}, rounds=100),
        _map(RayDefaults, 10_000, {RAY: 1 / 2}, rounds=3),
    ]


def lithops() -> list[Row]:
    """A call and a map, beside Lithops' local executor."""
    if not is_installed("lithops"):
        return []
    return [_call(Lithops, {}, rounds=10), _map(Lithops, 1_000, {}, rounds=1)]


def _call(kind: type, gates: dict[str, float], *, rounds: int) -> Row:
    with running(Geopod, kind, workers=1) as peers:
        calls = {peer.name: (lambda peer=peer: peer.call(nothing)) for peer in peers}
        spreads = interleave(calls, rounds=rounds, gap_s=0.025, warm=2)
    return Row("call of a no-op, idle gaps of 25 ms", spreads, gates)


def _map(kind: type, count: int, gates: dict[str, float], *, rounds: int) -> Row:
    arguments = list(range(scaled(count)))
    with running(Geopod, kind, workers=WORKERS) as peers:
        for peer in peers:
            peer.map(nothing, arguments[:WORKERS])
        calls = {peer.name: (lambda peer=peer: peer.map(nothing, arguments)) for peer in peers}
        spreads = interleave(calls, rounds=rounds, gap_s=0.5, warm=0)
    return Row(f"map of {count:,} no-op tasks, {WORKERS} workers", spreads, gates)
