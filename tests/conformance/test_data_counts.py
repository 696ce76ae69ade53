"""What a node reads of a file, what a task costs in forks and messages: counts, never time."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import geopod
import numpy as np
import pytest
import rasterio
from coordinator_builders import (
    ControlClient,
    ScriptedAgent,
    a_map,
    an_order,
    coordinator_settings,
    done,
    serving,
)
from geopod.api.messages import EndRun
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.layers.sources import LayerSource
from geopod.layers.stage import stage_partition
from rasterio.transform import from_origin

SIZE, BLOCK, NODES = 2048, 256, 16
TASKS, RUNS = 2000, 4
MAP_TASKS, MOST_LEASES = 10_000, 40

pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counted by Linux")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A raster of blocks that cannot be compressed: what is read is what is needed."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    pixels = np.random.default_rng(7).integers(0, 65536, (1, SIZE, SIZE), "uint16")
    with rasterio.open(
        path, "w", driver="GTiff", height=SIZE, width=SIZE, count=1, dtype="uint16",
        crs="EPSG:32632", transform=from_origin(500_000, 5_200_000, 10, 10), tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK,
    ) as target:  # fmt: skip
        target.write(pixels)
    return path


@pytest.fixture
def plan(scene):
    source = LayerSource(key="s", path_id="s", timestamp="s", hrefs=(str(scene),))
    return plan_layers(PlanRequest(layers=(source,), nodes=NODES))[0]


class Reads:
    """What this process reads in a `with` block: bytes, and calls of the system."""

    def __enter__(self):
        self._before = self._now()
        return self

    def __exit__(self, *_):
        bytes_read, calls = self._now()
        self.bytes, self.calls = bytes_read - self._before[0], calls - self._before[1]

    @staticmethod
    def _now():
        lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(lines["rchar"]), int(lines["syscr"])


def test_one_partition_is_read_once_and_little_more(plan, tmp_path):
    part = plan.partitions[5]
    row, column, height, width = part.padded["s"]
    across = -(-(column + width) // BLOCK) - column // BLOCK
    down = -(-(row + height) // BLOCK) - row // BLOCK
    needed = across * down * BLOCK * BLOCK * 2

    with Reads() as reads:
        stage_partition(plan, "sha", part.index, tmp_path)

    assert needed <= reads.bytes < 1.1 * needed + 100_000
    assert reads.calls < 4 * across * down + 60


def test_a_staged_partition_is_not_read_again(plan, tmp_path):
    stage_partition(plan, "sha", 5, tmp_path)

    with Reads() as reads:
        stage_partition(plan, "sha", 5, tmp_path)

    assert reads.bytes < 5_000
    assert reads.calls < 12


def who(*_):
    """Return the process that runs this task, and the one that forked it."""
    return os.getpid(), os.getppid()


def test_a_run_is_one_fork_per_node_for_any_number_of_tasks(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOPOD_HOME", str(tmp_path / "home"))
    with geopod.connect("local") as client:
        environment = client.environment(nodes=2, progress=False)
        try:
            runs = [environment.execute(who, progress=False) for _ in range(RUNS)]
            tasks = list(environment.map(who, range(TASKS), progress=False))
        finally:
            environment.delete(results=True)

    assert len({child for run in runs for child, _ in run}) == 2 * RUNS
    assert len({template for run in runs for _, template in run}) == 2
    assert len({child for child, _ in tasks}) <= 2
    assert {template for _, template in tasks} <= {template for _, template in runs[0]}


def messages_of(tmp_path, order):
    """Return what the coordinator says to its only agent in the course of one run, by kind."""
    settings = coordinator_settings(tmp_path, nodes=1)
    said = Counter()

    def answer(assign):
        said["Assign"] += 1
        return [done(assign, 0)]

    async def story():
        async with (
            serving(settings),
            ScriptedAgent(settings) as agent,
            ControlClient(settings) as client,
        ):
            agent.answer = answer
            await agent.ready()
            state = await client.finish(order)
            assert state.failed == 0
            await agent.next(EndRun)
            said.update(["EndRun", *(type(message).__name__ for message in agent.seen)])

    asyncio.run(story())
    return said


def test_a_call_is_three_messages_to_its_agent(tmp_path):
    assert messages_of(tmp_path, an_order()) == {"Assign": 1, "Committed": 1, "EndRun": 1}


def test_a_map_is_few_messages_per_task(tmp_path):
    said = messages_of(tmp_path, a_map(MAP_TASKS))
    assert said["Assign"] <= MOST_LEASES, said
    assert said.total() <= 2 * MOST_LEASES + 1, said
