"""Start of an environment, import time, recovery after a killed worker, memory."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.functions import fatal_work, nothing
from bench.measure import SHORT, Row, Spread, spread
from bench.peers import Dask, Geopod, Ray, running

KINDS, TASKS = (Geopod, Dask, Ray), 8


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
    figures = {"geopod": spread(times), "2 s": spread([2.0])}
    return [Row("environment of 4 nodes to Ready (gate: 2 s)", figures, {"2 s": 1.0})]


def import_time() -> list[Row]:
    """`import geopod` beside a bare interpreter; the gate is 80 ms above it."""

    def run(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    extra = [run("import geopod") - run("pass") for _ in range(15)]
    figures = {"geopod": spread(extra), "80 ms": spread([0.08])}
    question = "import geopod above a bare interpreter (gate: 80 ms)"
    return [Row(question, figures, {"80 ms": 1.0})]


def recovery() -> list[Row]:
    """Eight tasks of 0.5 s on two workers; the worker of the last one is killed at seeded moments.

    Nothing is queued behind that task, so that the time until it runs again is no matter of whose
    turn it is. The map takes longer by that time, and by the work that was lost: the moment.
    """
    chance = random.Random(7)  # noqa: S311  # a seeded moment, no secret
    moments = [chance.uniform(0.05, 0.45) for _ in range(2 if SHORT else 9)]
    again: dict[str, list[float]] = {kind.name: [] for kind in KINDS}
    extra: dict[str, list[float]] = {kind.name: [] for kind in KINDS}
    with running(*KINDS, workers=2) as peers, tempfile.TemporaryDirectory() as folder:
        for peer in peers:
            peer.map(nothing, list(range(TASKS)))
        for number, moment_s in enumerate(moments):
            for peer in peers:
                marks = Path(folder) / f"{peer.name}-{number}"
                marks.mkdir()
                undisturbed = _timed(peer, marks, 0.0)
                extra[peer.name].append(_timed(peer, marks, moment_s) - undisturbed)
                again[peer.name].append(_read(marks / "again") - _read(marks / "killed"))
    lost = f"{spread(moments).median * 1e3:.0f} ms of it are the work that was lost"
    return [
        Row("from a worker's kill until its task runs again", _spreads(again), {"ray": 0.25}),
        Row(
            "extra time of a map whose worker is killed", _spreads(extra), {},
            notes=dict.fromkeys(extra, lost),
        ),
    ]  # fmt: skip


def _spreads(times: dict[str, list[float]]) -> dict[str, Spread]:
    return {name: spread(values) for name, values in times.items()}


def _timed(peer, folder: Path, moment_s: float) -> float:
    orders = [(index, TASKS - 1, str(folder), moment_s) for index in range(TASKS)]
    started = time.perf_counter()
    peer.map(fatal_work, orders)
    return time.perf_counter() - started


def _read(mark: Path) -> float:
    return float(mark.read_text())


def memory() -> list[Row]:
    """Resident bytes of everything that two idle workers take, client left out."""
    import psutil

    own = psutil.Process()
    figures = {}
    for kind in KINDS:
        before = {process.pid for process in psutil.process_iter()}
        with running(kind, workers=2) as (peer,):
            peer.map(nothing, list(range(8)))
            new = [one for one in psutil.process_iter() if one.pid not in before]
            figures[kind.name] = spread([sum(_proportional(one) for one in new if one != own)])
    return [Row("memory of two idle workers and their schedulers", figures, {}, unit="MB")]


def _proportional(process) -> float:
    """Return its share of the memory: pages shared with others count in part."""
    try:
        return float(process.memory_full_info().pss)
    except Exception:  # noqa: BLE001  # it has ended
        return 0.0
