"""The questions: each returns rows of the table."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import Row, interleave, spread
from bench.peers import Dask, Geopod, Ray, running


def nothing(_=None):
    """Return nothing: what is left is the system's own time."""
    return


def two_megabytes(_=None):
    """Return 2,000,000 bytes as an array."""
    import numpy as np

    return np.ones(250_000)


def warm_call() -> list[Row]:
    """One no-op on one warm worker, with 20 ms of idle time before each call."""
    with running(Geopod, Dask, Ray, workers=1) as peers:
        calls = {peer.name: (lambda peer=peer: peer.call(nothing)) for peer in peers}
        spreads = interleave(calls, rounds=100, gap_s=0.025, warm=10)
        arrays = {peer.name: (lambda peer=peer: peer.call(two_megabytes)) for peer in peers}
        sizes = interleave(arrays, rounds=60, gap_s=0.025, warm=10)
    return [
        Row("warm call of a no-op, idle gaps of 25 ms", spreads, {"dask": 0.35, "ray": 0.6}),
        Row("a result of 2 MB (ndarray)", sizes, {"dask": 0.4}),
    ]


def map_tasks(count: int = 10_000) -> list[Row]:
    """10,000 no-op tasks on two workers."""
    arguments = list(range(count))
    with running(Geopod, Dask, Ray, workers=2) as peers:
        calls = {peer.name: (lambda peer=peer: peer.map(nothing, arguments)) for peer in peers}
        spreads = interleave(calls, rounds=5, gap_s=0.5, warm=1)
    return [Row(f"map of {count:,} no-op tasks, 2 workers", spreads, {"dask": 1 / 6, "ray": 1 / 2})]


def environment_start() -> list[Row]:
    """Four nodes without requirements, from `environment()` to Ready; the gate is 2 s."""
    import geopod

    times = []
    with geopod.connect("local") as client:
        for _ in range(5):
            started = time.perf_counter()
            environment = client.environment(nodes=4, progress=False)
            times.append(time.perf_counter() - started)
            environment.delete(results=True)
    two = spread([2.0])
    return [
        Row(
            "environment of 4 nodes to Ready (gate: 2 s)",
            {"geopod": spread(times), "2 s": two},
            {"2 s": 1.0},
        )
    ]


def import_time() -> list[Row]:
    """`import geopod` beside a bare interpreter; the gate is 80 ms above it."""

    def run(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    extra = [run("import geopod") - run("pass") for _ in range(15)]
    return [
        Row("import geopod above a bare interpreter (gate: 80 ms)",
            {"geopod": spread(extra), "80 ms": spread([0.08])}, {"80 ms": 1.0})
    ]  # fmt: skip


def partition_read() -> list[Row]:
    """Staging's reads of one partition beside bare rasterio and pyogrio of the same windows."""
    from bench.reading import partition_reads

    with tempfile.TemporaryDirectory() as folder:
        return partition_reads(Path(folder))


QUESTIONS = {
    "import": import_time,
    "start": environment_start,
    "warm": warm_call,
    "map": map_tasks,
    "read": partition_read,
}
