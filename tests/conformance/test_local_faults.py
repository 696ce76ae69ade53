"""SIGKILL of any process at any moment: no committed result lost, no orphan, a named end."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from geopod.api import names
from geopod.api.runs import RetryRule
from geopod.coordinator.manifest import accepted_keys
from geopod.errors import RunNotFoundError
from layer_builders import raster_spec, write_raster
from local_builders import (
    a_map,
    an_order,
    ended,
    finished,
    left_of,
    processes_of,
    ready,
    story,
    until,
    values_of,
)

TASKS = 120
KILLS = 2
SQUARE = "import time\ndef f(x):\n    time.sleep(0.01)\n    return x * x"
RESULTS = [index * index for index in range(TASKS)]
SPEC = {"nodes": 2, "idle": {"afterSeconds": 30}}
VICTIMS = ("supervisor", "coordinator", "agent", "runner", "template")


@pytest.fixture
def chance(request):
    """Return random moments: the same ones in every run, unless GEOPOD_SEED asks for others."""
    return random.Random(f"{request.node.name} {os.environ.get('GEOPOD_SEED', '')}")  # noqa: S311  # moments, no secrets


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent; 0: the process has just ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.rpartition(")")[2].split()[1])


def find(uid: str, kind: str) -> list[int]:
    """Return the pids of an environment's processes of one kind."""
    there = processes_of(uid)
    parents = {pid: parent for pid in there if (parent := parent_of(pid))}
    runners = {pid for pid in parents if "geopod.runner" in there[pid]}
    first = {pid for pid in runners if parents[pid] not in runners}
    templates = {pid for pid in runners if parents[pid] in first}
    match kind:
        case "runner":
            return sorted(first)
        case "template":
            return sorted(templates)
        case "child":
            return sorted(pid for pid in runners if parents[pid] in templates)
        case _:
            return sorted(pid for pid in parents if f"geopod.{kind}" in there[pid])


async def kill_one(uid: str, kind: str, chance: random.Random, *, within_s: float) -> bool:
    """Kill a process of this kind at a random moment; False: there was none then."""
    await asyncio.sleep(chance.uniform(0.0, within_s))
    there = find(uid, kind)
    if not there:
        return False
    with suppress(ProcessLookupError):
        os.kill(chance.choice(there), signal.SIGKILL)
    return True


@pytest.mark.parametrize("victim", VICTIMS)
def test_environment_becomes_ready_though_processes_die_while_it_starts(local_home, chance, victim):
    async def act(backend):
        record = await backend.apply_environment("env", SPEC, labels={})
        waiting = asyncio.ensure_future(until(backend, "env", "Ready"))
        for _ in range(KILLS):
            await kill_one(record.uid, victim, chance, within_s=0.4)
        await waiting
        order = an_order(record.uid)
        state = await finished(backend, order)
        assert (state.phase, state.succeeded) == ("Succeeded", 2), state
        return await values_of(backend, order)

    assert story(local_home, act) == [1, 1]


@pytest.mark.parametrize("victim", VICTIMS)
def test_run_succeeds_though_processes_die_while_it_runs(local_home, chance, victim):
    async def act(backend):
        uid = (await ready(backend, **SPEC)).uid
        patient = RetryRule(limit=KILLS)  # all of them may hit the same task
        order = await a_map(backend, uid, SQUARE, TASKS, retries=patient)
        running = asyncio.ensure_future(finished(backend, order))
        hits = [await kill_one(uid, victim, chance, within_s=0.5) for _ in range(KILLS)]
        state = await running
        assert any(hits)
        assert (state.phase, state.succeeded) == ("Succeeded", TASKS), state
        return await values_of(backend, order)

    assert story(local_home, act) == RESULTS


@pytest.mark.parametrize("victim", VICTIMS)
def test_idle_environment_heals(local_home, chance, victim):
    async def act(backend):
        uid = (await ready(backend, **SPEC)).uid
        first = an_order(uid)
        await finished(backend, first)
        assert await kill_one(uid, victim, chance, within_s=0.2)
        second = an_order(uid)
        state = await finished(backend, second)
        assert state.phase == "Succeeded", state
        return [await values_of(backend, order) for order in (first, second)]

    assert story(local_home, act) == [[1, 1], [1, 1]]


@pytest.mark.parametrize("victim", VICTIMS)
def test_every_pixel_is_staged_once_though_processes_die_meanwhile(
    local_home, chance, victim, tmp_path
):
    grid = raster_spec(rows=1024, cols=1024, block=64)
    dem = write_raster(tmp_path / "dem.tif", grid, compress="deflate")
    layers = [{"pathId": "dem", "timestampId": "dem"}]

    async def act(backend):
        record = await backend.apply_environment(
            "env", {**SPEC, "layers": layers}, labels={}, sources={"dem": dem}
        )
        waiting = asyncio.ensure_future(until(backend, "env", "Ready", "Failed"))
        for _ in range(KILLS):
            await kill_one(record.uid, victim, chance, within_s=0.8)
        state = await waiting
        assert state.phase == "Ready", state
        text = "def f(params): return int(params['dem']['raster'].sum())"
        order = an_order(record.uid, text)
        assert (await finished(backend, order)).phase == "Succeeded"
        return sum(await values_of(backend, order))

    assert story(local_home, act) == int(grid.values().sum())


def test_partition_of_a_node_that_is_away_runs_elsewhere_over_its_own_pixels(local_home, tmp_path):
    grid = raster_spec(rows=512, cols=512, block=64)
    dem = write_raster(tmp_path / "dem.tif", grid, compress="deflate")
    layers = [{"pathId": "dem", "timestampId": "dem"}]

    async def act(backend):
        record = await backend.apply_environment(
            "env", {**SPEC, "nodes": 3, "layers": layers}, labels={}, sources={"dem": dem}
        )
        await until(backend, "env", "Ready")
        away = find(record.uid, "agent")[1:]
        for pid in away:
            os.kill(pid, signal.SIGSTOP)
        [coordinator] = find(record.uid, "coordinator")
        os.kill(coordinator, signal.SIGKILL)  # the next one does not know them
        text = "def f(params): return int(params['dem']['raster'].sum())"
        order = an_order(record.uid, text)
        try:
            state = await finished(backend, order)
        finally:
            for pid in away:
                os.kill(pid, signal.SIGCONT)
        assert state.phase == "Succeeded", state
        return await values_of(backend, order)

    values = story(local_home, act)
    assert len(set(values)) == 3
    assert sum(values) == int(grid.values().sum())


@pytest.mark.parametrize("victim", VICTIMS)
def test_every_pixel_counts_once_though_processes_die_while_it_is_read(
    local_home, chance, victim, tmp_path
):
    grid = raster_spec(rows=512, cols=512, block=64)
    dem = write_raster(tmp_path / "dem.tif", grid, compress="deflate")
    layers = [{"pathId": "dem", "timestampId": "dem"}]
    text = """
def f(params):
    import time
    sums = []
    for _ in range(5):
        sums.append(int(params["dem"]["raster"].sum()))
        time.sleep(0.1)
    assert len(set(sums)) == 1
    return sums[0]
"""

    async def act(backend):
        record = await backend.apply_environment(
            "env", {**SPEC, "nodes": 4, "layers": layers}, labels={}, sources={"dem": dem}
        )
        await until(backend, "env", "Ready")
        order = an_order(record.uid, text, retries=RetryRule(limit=KILLS))
        running = asyncio.ensure_future(finished(backend, order))
        for _ in range(KILLS):
            await kill_one(record.uid, victim, chance, within_s=0.4)
        state = await running
        assert state.phase == "Succeeded", state
        return await values_of(backend, order)

    values = story(local_home, act)
    assert len(set(values)) == 4
    assert sum(values) == int(grid.values().sum())


def test_run_stays_with_its_plan_though_its_coordinator_could_not_say_which(local_home, tmp_path):
    grid = raster_spec()
    dem = write_raster(tmp_path / "dem.tif", grid)
    layers = [{"pathId": "dem", "timestampId": "dem"}]
    text = """
import time
def f(params):
    pixels = params["dem"]["raster"]
    time.sleep(2.0 if pixels.min() else 0.0)
    return int(pixels.sum())
"""

    async def act(backend):
        record = await ready(backend, nodes=3, layers=layers, sources={"dem": dem})
        order = an_order(record.uid, text)
        running = asyncio.ensure_future(finished(backend, order))
        store = backend.store(record.uid)
        while not await accepted_keys(store, record.uid, order.uid):  # noqa: ASYNC110  # another process writes
            await asyncio.sleep(0.01)
        [coordinator] = find(record.uid, "coordinator")
        os.kill(coordinator, signal.SIGSTOP)
        await store.delete(names.state_key(record.uid, order.uid))
        write_raster(tmp_path / "other.tif", grid, grid.values() + 1).replace(dem)
        await backend.refresh_environment("env")
        os.kill(coordinator, signal.SIGKILL)
        state = await running
        assert state.phase == "Succeeded", state
        return await values_of(backend, order)

    assert sum(story(local_home, act)) == int(grid.values().sum())


def test_killed_child_costs_the_task_at_hand_alone(local_home, chance):
    async def act(backend):
        uid = (await ready(backend, **SPEC)).uid
        order = await a_map(backend, uid, SQUARE, TASKS)
        running = asyncio.ensure_future(finished(backend, order))
        kills = sum([await kill_one(uid, "child", chance, within_s=0.3) for _ in range(KILLS)])
        state = await running
        assert state.succeeded >= TASKS - kills
        assert state.succeeded + state.failed == TASKS
        assert {record.failure.reason for record in state.failures} <= {"Signal", "OutOfMemory"}

    story(local_home, act)


def test_everything_killed_at_once_goes_on_with_the_next_client(local_home, chance):
    async def start(backend):
        uid = (await ready(backend, **SPEC)).uid
        order = await a_map(backend, uid, SQUARE, TASKS)
        async with aclosing(backend.submit(order)) as states:
            async for state in states:
                if state.succeeded:
                    break
        for pid in chance.sample(sorted(there := processes_of(uid)), len(there)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return order

    async def go_on(backend):
        state = await ended(backend, order.name)
        assert (state.phase, state.succeeded) == ("Succeeded", TASKS), state
        return await values_of(backend, order)

    order = story(local_home, start)
    assert story(local_home, go_on) == RESULTS


CLIENT = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from local_builders import a_map, finished, open_local, until
async def main():
    backend = open_local(Path(sys.argv[2]))
    record = await backend.apply_environment("env", {"nodes": 2}, labels={})
    print(record.uid, flush=True)
    await until(backend, "env", "Ready")
    order = await a_map(backend, record.uid, sys.argv[3], int(sys.argv[4]), name="mine")
    print("submitting", flush=True)
    await finished(backend, order)
asyncio.run(main())
"""


@pytest.mark.parametrize("phase", ["starting", "running"])
def test_run_of_a_killed_client_is_found_by_name(local_home, chance, phase):
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", CLIENT, tests, str(local_home), SQUARE, str(TASKS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        words = iter(client.stdout)
        next(words)
        if phase == "running":
            next(words)
        with suppress(subprocess.TimeoutExpired):
            client.wait(chance.uniform(0.0, 0.5))
        client.kill()

    async def act(backend):
        try:
            state = await ended(backend, "mine")
        except RunNotFoundError:
            assert phase == "starting"
            await until(backend, "env", "Ready")
            return RESULTS
        assert (state.phase, state.succeeded) == ("Succeeded", TASKS), state
        return await values_of(backend, (await backend.get_run("mine"))[0])

    assert story(local_home, act) == RESULTS


def test_what_a_function_started_ends_with_the_environment(local_home):
    daemon = (
        "import subprocess, sys\n"
        "def f(params):\n"
        "    code = 'import time; print(1, flush=True); time.sleep(600)'\n"
        "    order = [sys.executable, '-c', code]\n"
        "    run = subprocess.Popen(order, stdout=subprocess.PIPE, start_new_session=True)\n"
        "    run.stdout.readline()\n"  # a process that has just begun shows no variables yet
        "    return open(f'/proc/{run.pid}/environ').read()\n"
    )

    async def act(backend):
        uid = (await ready(backend, **SPEC)).uid
        order = an_order(uid, daemon)
        await finished(backend, order)
        variables = await values_of(backend, order)
        assert [uid in each for each in variables] == [True, True]  # it can be found
        await backend.terminate_environment("env", wait=True)
        return left_of(uid)

    assert story(local_home, act) == {}
