"""What a call costs in writes, bytes and files: counts, which hold on any machine, never time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import geopod
import numpy as np
import pytest
from local_builders import processes_of

CALLS = 10
PATIENCE_S = 120.0
MB = 1_000_000
MAP_WRITES, MAP_BYTES = 0.04, 450
"""Of one task among a thousand; it takes 0.023 and 347."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counted by Linux")


def nothing(_params: Any = None) -> None:
    """Return nothing."""


def two_megabytes(_params: Any = None) -> bytes:
    return bytes(2 * MB)


def array(_params: Any = None) -> Any:
    return np.zeros(MB // 4)


def length(_number: int, *, table: Any) -> int:
    return int(table.size)


@contextmanager
def counted_steps() -> Iterator[list[str]]:
    """Yield a list that gets the name of every function of geopod's that is called meanwhile."""
    own = str(Path(geopod.__file__).parent)
    taken: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(own):
            taken.append(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield taken
    finally:
        sys.setprofile(before)


@dataclass(frozen=True)
class Bench:
    """An environment of one node, and its processes."""

    environment: Any
    store: Path
    pids: dict[str, int]
    template: int
    """The process whose children run functions: what one did is counted there once it has ended."""

    def count(self, function: Callable[..., Any], *, at_best: int) -> dict[str, dict[str, int]]:
        """Return per process what one call of the function writes and reads.

        On a busy machine a call may take so long that its progress is told and stored too: calls
        are made until one has `at_best` writes of the coordinator, or patience ends.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            spent = self._count(function)
            if spent["coordinator"]["syscw"] <= at_best or time.monotonic() > deadline:
                return spent

    def _count(self, function: Callable[..., Any]) -> dict[str, dict[str, int]]:
        before = {name: io_of(pid) for name, pid in self.pids.items()}
        self.environment.execute(function, progress=False)
        self.settle()
        after = {name: io_of(pid) for name, pid in self.pids.items()}
        return {
            name: {key: after[name][key] - old[key] for key in old} for name, old in before.items()
        }

    def settle(self) -> None:
        """Return when the last state of every run is stored, which is after its answer."""
        deadline = time.monotonic() + PATIENCE_S
        folder = self.store / self.environment.id / "runs"
        while any(not (run / "status.json").exists() for run in folder.iterdir()):
            assert time.monotonic() < deadline, "a run's end was not stored"
            time.sleep(0.01)  # noqa: TID251  # another process writes it

    def files(self) -> set[Path]:
        """Return all files of the environment's runs."""
        return {path for path in (self.store / self.environment.id).rglob("*") if path.is_file()}


def io_of(pid: int) -> dict[str, int]:
    """What a process has read and written, sockets left out: proc(5), /proc/pid/io."""
    lines = (line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    known = {name: int(value) for name, value in lines}
    return {name: known[name] for name in ("syscr", "syscw", "rchar", "wchar")}


def template_of(there: Mapping[int, str]) -> int:
    """The runner's process that is both the child and the parent of another one."""
    parents = {pid: parent_of(pid) for pid, command in there.items() if "geopod.runner" in command}
    return next(
        pid for pid, parent in parents.items() if parent in parents and pid in parents.values()
    )


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPOD_HOME", str(home))
        with geopod.connect("local") as client:
            environment = client.environment(nodes=1, large_result=True, progress=False)
            there = processes_of(environment.id)
            pids = {
                name: next(pid for pid, command in there.items() if word in command)
                for name, word in {"coordinator": "geopod.coordinator", "agent": "--node"}.items()
            }
            pids["client"] = os.getpid()
            yield Bench(environment, home / "store", pids, template_of(there))
            environment.delete(results=True)


def test_a_warm_call_is_three_small_writes_and_no_read(bench: Bench) -> None:
    spent = bench.count(nothing, at_best=2)
    writes = {name: counts["syscw"] for name, counts in spent.items()}
    assert writes == {"client": 1, "coordinator": 2, "agent": 0}  # order; chunk and last state
    assert spent["coordinator"]["syscr"] == spent["agent"]["syscr"] == 0
    assert sum(counts["wchar"] for counts in spent.values()) < 3000  # 1960


def test_a_warm_call_leaves_three_files(bench: Bench) -> None:
    before = bench.files()
    for _ in range(CALLS):
        bench.environment.execute(nothing, progress=False)
    bench.settle()
    left = [path.name for path in bench.files() - before]
    assert len(left) == 3 * CALLS, sorted(left)
    assert sum(name == "status.json" for name in left) == CALLS


def test_a_large_result_is_written_by_its_child_alone_and_read_once(bench: Bench) -> None:
    spent = bench.count(two_megabytes, at_best=2)
    assert all(counts["wchar"] < MB / 10 for counts in spent.values()), spent
    assert spent["agent"]["rchar"] < 2.1 * MB  # its digest
    assert spent["coordinator"]["rchar"] < MB / 10


def test_the_child_of_a_large_result_writes_it_once(bench: Bench) -> None:
    before = io_of(bench.template)["wchar"]
    bench.environment.execute(two_megabytes, progress=False)
    deadline = time.monotonic() + PATIENCE_S
    while (written := io_of(bench.template)["wchar"] - before) < 2 * MB:
        assert time.monotonic() < deadline, "the child of a run did not end"
        time.sleep(0.01)  # noqa: TID251  # another process ends
    assert written < 2.1 * MB


def test_a_large_array_is_mapped_and_its_record_is_told(bench: Bench) -> None:
    bench.environment.execute(array, progress=False)  # the first one reads modules
    client = bench.count(array, at_best=2)["client"]
    assert client["rchar"] < 10_000  # a page for the header; no chunk of the manifest


def test_a_warm_call_takes_few_steps_in_the_client(bench: Bench) -> None:
    steps = []
    for _ in range(CALLS):
        with counted_steps() as taken:
            bench.environment.execute(nothing, progress=False)
        steps.append(len(taken))
    assert min(steps) <= 150, steps


def test_a_map_costs_few_writes_and_bytes_per_task(bench: Bench) -> None:
    tasks, found = 1000, []
    deadline = time.monotonic() + PATIENCE_S
    # Batches are smaller where a machine is so busy that a task seems to take long.
    while not found or (max(found[-1]) > 1.0 and time.monotonic() < deadline):
        before = {name: io_of(pid) for name, pid in bench.pids.items()}
        values = list(bench.environment.map(abs, range(tasks), progress=False))
        after = {name: io_of(pid) for name, pid in bench.pids.items()}
        assert values == list(range(tasks))
        writes, written = (
            sum(after[name][key] - before[name][key] for name in before)
            for key in ("syscw", "wchar")
        )
        found.append((writes / tasks / MAP_WRITES, written / tasks / MAP_BYTES))
    assert max(found[-1]) <= 1.0, found


def test_keywords_of_all_tasks_are_written_once_and_read_by_children_alone(bench: Bench) -> None:
    calls, table = [(number,) for number in range(10)], np.zeros(2 * MB, "uint8")
    before = {name: io_of(pid) for name, pid in bench.pids.items()}
    files = bench.files()
    run = bench.environment.submit_map(length, calls, {"table": table})
    assert run.results() == [2 * MB] * len(calls)
    after = {name: io_of(pid) for name, pid in bench.pids.items()}
    written = {name: after[name]["wchar"] - before[name]["wchar"] for name in before}
    assert 2 * MB < written.pop("client") < 2.1 * MB  # of ten tasks
    assert max(written.values()) < MB / 10, written
    assert after["agent"]["rchar"] - before["agent"]["rchar"] < MB / 10
    assert sum(path.stat().st_size for path in bench.files() - files) < 2.1 * MB
