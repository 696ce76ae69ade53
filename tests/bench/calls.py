"""Warm call, results by size, one large argument: one worker, idle gaps."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bench.functions import large, nothing, two_megabytes
from bench.measure import Row, interleave
from bench.peers import Dask, Geopod, Ray, running

BROADCAST_BYTES = 50_000_000
FILE = "geopod, a file"


def warm_call() -> list[Row]:
    """One no-op on one warm worker, with 25 ms of idle time before each call."""
    with running(Geopod, Dask, Ray, workers=1) as peers:
        calls = {peer.name: (lambda peer=peer: peer.call(nothing)) for peer in peers}
        spreads = interleave(calls, rounds=100, gap_s=0.025, warm=10)
    question = "warm call of a no-op, idle gaps of 25 ms"
    return [Row(question, spreads, {"dask": 0.35, "ray": 0.6})]


def results() -> list[Row]:
    """A result of 2 MB, and one of 200 MB."""
    with running(Geopod, Dask, Ray, workers=1, large_result=True) as peers:
        arrays = {peer.name: (lambda peer=peer: peer.call(two_megabytes)) for peer in peers}
        small = interleave(arrays, rounds=60, gap_s=0.025, warm=10)
        arrays = {peer.name: (lambda peer=peer: peer.call(large)) for peer in peers}
        big = interleave(arrays, rounds=7, gap_s=0.1, warm=1)
    mapped = dict.fromkeys(("geopod", "ray"), "mapped: read where it is touched")
    return [
        Row("a result of 2 MB (ndarray)", small, {"dask": 0.4}, notes=mapped),
        Row("a result of 200 MB (ndarray)", big, {}, notes=mapped),
    ]


def broadcast() -> list[Row]:
    """50 MB that nobody has seen, handed to two workers as an argument.

    Beside it what geopod's users do with a table that stays the same: a file of the environment.
    """
    table, turn = np.arange(BROADCAST_BYTES // 8), itertools.count()

    def last(_=None, *, table):
        return int(table[-1])

    def share(peer: Any) -> None:
        table[-1] = number = next(turn)
        assert peer.share(last, [0, 1], table) == [number, number]

    with running(Geopod, Dask, Ray, workers=2) as peers, _with_file(table) as call:
        calls = {peer.name: (lambda peer=peer: share(peer)) for peer in peers}
        spreads = interleave({**calls, FILE: call}, rounds=5, gap_s=0.1, warm=1)
    notes = {FILE: "put there when the environment starts; the call reads it"}
    return [Row("50 MB to two workers as an argument", spreads, {}, notes=notes)]


@contextmanager
def _with_file(table: np.ndarray) -> Iterator[Callable[[], object]]:
    """Hand over the call that reads the 50 MB as a file of the environment."""
    import geopod

    def last(params):
        (file,) = params.values()
        return int(np.load(file)[-1])  # noqa: TID251  # no object arrays

    with tempfile.TemporaryDirectory() as folder, geopod.connect("local") as client:
        path = Path(folder) / "table.npy"
        np.save(path, table)
        environment = client.environment(nodes=2, files=[str(path)], progress=False)
        try:
            yield lambda: environment.execute(last, progress=False)
        finally:
            environment.delete(results=True)
