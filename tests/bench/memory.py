"""Memory of processes: proportional, so that a page which four share counts for a quarter."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.functions import nothing
from bench.measure import Row, Spread, spread
from local_builders import processes_of

PERIOD_S = 0.02
PARTS = {
    "geopod.supervisor": "supervisor",
    "geopod.coordinator": "coordinator",
    "geopod.agent": "agents",
    "geopod.runner": "templates and waiting children",
}
"""A word of the command line -> the part of geopod."""


def parts() -> list[Row]:
    """What each part of an idle environment of two nodes takes."""
    import geopod

    with geopod.connect("local") as client:
        environment = client.environment(nodes=2, progress=False)
        try:
            environment.execute(nothing, progress=False)
            found: dict[str, list[float]] = {name: [] for name in PARTS.values()}
            for pid, command in processes_of(environment.id).items():
                found[_part(command)].append(proportional(pid))
        finally:
            environment.delete(results=True)
    found["the client"] = [proportional(os.getpid())]
    sizes: dict[str, Spread] = {
        f"{name}, {len(each)} processes": spread([sum(each)]) for name, each in found.items()
    }
    return [Row("memory of each part, two idle nodes", sizes, {}, unit="MB")]


def _part(command: str) -> str:
    """Return the part that a process belongs to."""
    return next(part for word, part in PARTS.items() if word in command)


def proportional(pid: int) -> float:
    """Return a process's share of the memory in bytes; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0.0)


def peak_of(processes: Callable[[], Iterable[int]], call: Callable[[], object]) -> float:
    """Return the most that these processes took together while a call ran."""
    is_done = threading.Event()
    sums: list[float] = []

    def look() -> None:
        while not is_done.wait(PERIOD_S) or not sums:
            sums.append(sum(map(proportional, processes())))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        call()
    finally:
        is_done.set()
        watcher.join()
    return max(sums)


def descendants() -> list[int]:
    """Return the processes that this one has started, and theirs."""
    import psutil

    return [process.pid for process in psutil.Process().children(recursive=True)]
