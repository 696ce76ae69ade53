"""Warm call, results by size, one large argument: one worker, idle gaps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from bench.functions import large, nothing, two_megabytes
from bench.measure import Row, interleave
from bench.peers import Dask, Geopod, Ray, running

BROADCAST_BYTES = 50_000_000


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
    return [
        Row("a result of 2 MB (ndarray)", small, {"dask": 0.4}),
        Row("a result of 200 MB (ndarray)", big, {}),
    ]


def broadcast() -> list[Row]:
    """50 MB that the function carries along, to two workers."""
    table = np.arange(BROADCAST_BYTES // 8)

    def last(_=None):
        return int(table[-1])

    sized = {"geopod": "refused above 16 MiB in the function: sent as a file of the environment"}
    with running(Dask, Ray, workers=2) as peers:
        calls = {peer.name: (lambda peer=peer: peer.map(last, [0, 1])) for peer in peers}
        with _with_file(table) as call:
            spreads = interleave({**calls, "geopod": call}, rounds=5, gap_s=0.1, warm=1)
    return [Row("50 MB to two workers", spreads, {}, notes=sized)]


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
