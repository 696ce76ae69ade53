"""Start of an environment, import time, recovery after a killed worker, memory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time

from bench.functions import nothing, process_id, slow_work
from bench.measure import Row, spread
from bench.peers import Dask, Geopod, Ray, running


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
    """Eight tasks of 0.5 s on two workers; one worker is killed at a seeded moment.

    What is shown is the time over an undisturbed map.
    """
    chance = random.Random(7)  # noqa: S311  # a seeded moment, no secret
    moments = [chance.uniform(0.2, 1.5) for _ in range(3)]
    figures = {}
    for kind in (Geopod, Dask, Ray):
        with running(kind, workers=2) as (peer,):
            peer.map(nothing, list(range(8)))
            started = time.perf_counter()
            peer.map(slow_work, list(range(8)))
            undisturbed = time.perf_counter() - started
            figures[kind.name] = spread([_disturbed(peer, at) - undisturbed for at in moments])
    return [Row("extra time after a killed worker", figures, {"ray": 0.25})]


def _disturbed(peer, moment_s: float) -> float:
    victim = peer.call(process_id)
    timer = threading.Timer(moment_s, _kill, [victim])
    started = time.perf_counter()
    timer.start()
    peer.map(slow_work, list(range(8)))
    timer.cancel()
    return time.perf_counter() - started


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def memory() -> list[Row]:
    """Resident bytes of everything that two idle workers take, client left out."""
    import psutil

    own = psutil.Process()
    figures = {}
    for kind in (Geopod, Dask, Ray):
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
