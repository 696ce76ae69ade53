"""The coordinator on real sockets, with scripted agents; the store on disk is the oracle."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from coordinator_builders import (
    LINK_KEY,
    PATIENCE_S,
    UID,
    ControlClient,
    ScriptedAgent,
    a_failure,
    a_map,
    an_order,
    coordinator_settings,
    directory_store,
    done,
    failed,
    serving,
)
from geopod.api import names
from geopod.api.control import (
    CancelRun,
    Configure,
    EnvironmentUpdate,
    Problem,
    RunUpdate,
    Submit,
    WatchEnvironment,
    WatchRun,
)
from geopod.api.messages import (
    PROTOCOL,
    Assign,
    Cancel,
    Committed,
    Drain,
    EndRun,
    HeldLease,
    Refused,
    Welcome,
)
from geopod.api.results import TaskReason
from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.coordinator.epochs import Fenced, take_epoch
from geopod.coordinator.manifest import accepted_keys, read_records
from geopod.coordinator.settings import CoordinatorSettings, write_settings
from geopod.coordinator.sockets import listen_tcp
from port_builders import free_port

RSS_LIMIT_MIB = 60


@pytest.fixture
def settings(tmp_path: Path) -> CoordinatorSettings:
    return coordinator_settings(tmp_path)


@pytest.fixture(params=["unix socket", "websocket"])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> CoordinatorSettings:
    """Settings of a coordinator that agents reach over either kind of connection."""
    port = free_port() if request.param == "websocket" else None
    return coordinator_settings(tmp_path, agent_port=port)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def is_there(path: str) -> bool:
    return Path(path).exists()


def stored_state(settings: CoordinatorSettings, run: str) -> RunState:
    path = Path(settings.store) / names.state_key(UID, run)
    return msgspec.json.decode(path.read_bytes(), type=RunState)


def succeed(agent: ScriptedAgent) -> ScriptedAgent:
    agent.answer = lambda assign: [done(assign, agent.index)]
    return agent


# ---- runs


def test_a_run_ends_with_one_record_per_node_in_manifest_and_state(tmp_path: Path):
    settings = coordinator_settings(tmp_path, nodes=3)

    async def story() -> None:
        async with (
            serving(settings),
            succeed(ScriptedAgent(settings, 0)) as a,
            succeed(ScriptedAgent(settings, 1)) as b,
            succeed(ScriptedAgent(settings, 2)) as c,
            ControlClient(settings) as client,
        ):
            for agent in (a, b, c):
                await agent.ready()
            state = await client.finish(an_order())
        assert state.phase == "Succeeded"
        assert state.completed_indexes == "0-2"
        assert state.inline == {0: b"null", 1: b"null", 2: b"null"}
        assert [record.index for record in state.records] == [0, 1, 2]
        store = directory_store(settings)
        keys = await accepted_keys(store, UID, "run-1")
        assert len(keys) == state.chunks
        assert sorted(record.node for record in await read_records(store, keys)) == [0, 1, 2]
        assert stored_state(settings, "run-1") == state

    play(story())


def test_results_are_in_the_manifest_before_anybody_hears_of_them(settings: CoordinatorSettings):
    async def story() -> None:
        store = directory_store(settings)
        async with (
            serving(settings),
            ScriptedAgent(settings) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            client.send(Submit(order=an_order()))
            assign = await agent.next(Assign)
            assert await accepted_keys(store, UID, "run-1") == []
            await agent.send(done(assign, 0))
            committed = await agent.next(Committed)
            assert (committed.lease, committed.indexes) == (assign.lease, [0])
            records = await read_records(store, await accepted_keys(store, UID, "run-1"))
            assert [record.index for record in records] == [0]
            assert (await agent.next(EndRun)).run == "run-1"
            assert (await client.end_of("run-1")).succeeded == 1

    play(story())


def test_the_function_travels_once_per_node_and_run(settings: CoordinatorSettings):
    async def story() -> None:
        async with (
            serving(settings),
            ScriptedAgent(settings) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            client.send(Submit(order=a_map(200)))
            first = await agent.next(Assign)
            assert first.function.inline == b"function"
            await agent.send(done(first, 0))
            assert (await agent.next(Assign)).function.inline is None

    play(story())


def test_a_map_of_many_tasks_is_committed_in_groups(settings: CoordinatorSettings):
    async def story() -> None:
        async with (
            serving(settings),
            succeed(ScriptedAgent(settings)) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            state = await client.finish(a_map(5000))
        assert state.completed_indexes == "0-4999"
        assert state.records == []
        store = directory_store(settings)
        keys = await accepted_keys(store, UID, "run-1")
        assert len(keys) == state.chunks < 50
        indexes = [record.index for record in await read_records(store, keys)]
        assert sorted(indexes) == list(range(5000))

    play(story())


def test_a_failed_task_is_named_and_the_others_keep_their_results(tmp_path: Path):
    settings = coordinator_settings(tmp_path, nodes=2)

    async def story() -> None:
        async with (
            serving(settings),
            succeed(ScriptedAgent(settings, 0)) as good,
            ScriptedAgent(settings, 1) as bad,
            ControlClient(settings) as client,
        ):
            bad.answer = lambda assign: failed(assign, 1)
            await good.ready()
            await bad.ready()
            state = await client.finish(an_order())
        assert (state.phase, state.reason) == ("Failed", "TaskFailed")
        assert (state.completed_indexes, state.failed_indexes) == ("0", "1")
        assert [record.failure.reason for record in state.failures if record.failure] == [
            TaskReason.EXCEPTION
        ]

    play(story())


@pytest.mark.parametrize("order", [a_map(0), an_order(partitions=[99])], ids=["empty", "nowhere"])
def test_a_run_that_ends_at_once_is_told_to_who_submitted_it(
    settings: CoordinatorSettings, order: RunOrder
):
    async def story() -> None:
        async with serving(settings), ControlClient(settings) as client:
            first = await client.finish(order)
            assert first.finished is not None
            assert await client.finish(order) == first

    play(story())


def test_a_run_that_is_submitted_twice_is_one_run(settings: CoordinatorSettings):
    async def story() -> None:
        async with (
            serving(settings),
            ScriptedAgent(settings) as agent,
            ControlClient(settings) as first,
            ControlClient(settings) as second,
        ):
            await agent.ready()
            first.send(Submit(order=an_order()))
            assign = await agent.next(Assign)
            second.send(Submit(order=an_order()))
            update = await second.next()
            assert isinstance(update, RunUpdate)
            assert update.state.running == 1
            await agent.send(done(assign, 0))
            assert await first.end_of("run-1") == await second.end_of("run-1")
            third = await second.finish(an_order())  # long finished: the same answer
            assert third.succeeded == 1
            await agent.next(Committed)
            await agent.next(EndRun)
            assert agent.seen == []  # no second ASSIGN

    play(story())


def test_a_new_run_is_taken_while_its_client_stores_it(settings: CoordinatorSettings):
    async def story() -> None:
        async with (
            serving(settings),
            succeed(ScriptedAgent(settings)) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            client.send(Submit(order=an_order(), is_new=True))
            client.send(Submit(order=an_order()))  # again: it is open already
            state = await client.end_of("run-1")
        assert state.phase == "Succeeded"
        assert stored_state(settings, "run-1").phase == "Succeeded"
        assert not is_there(f"{settings.store}/{names.order_key(UID, 'run-1')}")  # the client's

    play(story())


def test_a_cancelled_run_keeps_what_is_finished(settings: CoordinatorSettings):
    async def story() -> None:
        async with (
            serving(settings),
            ScriptedAgent(settings) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            client.send(Submit(order=a_map(3)))
            assign = await agent.next(Assign)
            await agent.send(done(assign, 0))
            running, prefetched = await agent.next(Assign), await agent.next(Assign)
            client.send(CancelRun(run="run-1"))
            for held in (running, prefetched):
                assert (await agent.next(Cancel)).lease == held.lease
                for message in failed(held, 0, a_failure(TaskReason.CANCELLED)):
                    await agent.send(message)
            state = await client.end_of("run-1")
        assert state.phase == "Cancelled"
        assert (state.succeeded, state.cancelled) == (1, 2)

    play(story())


def test_a_run_that_nobody_knows_is_a_problem(settings: CoordinatorSettings):
    async def story() -> None:
        async with serving(settings), ControlClient(settings) as client:
            client.send(WatchRun(run="none"))
            problem = await client.next()
            assert isinstance(problem, Problem)
            assert (problem.about, problem.reason) == ("none", "RunNotFound")
            client.send(Submit(order=an_order(environment="other")))
            problem = await client.next()
            assert isinstance(problem, Problem)
            assert problem.reason == "NotMember"

    play(story())


def test_an_order_that_was_stored_but_never_sent_is_taken_when_it_is_asked_for(
    settings: CoordinatorSettings,
):
    async def story() -> None:
        store = directory_store(settings)
        async with (
            serving(settings),
            succeed(ScriptedAgent(settings)) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            order = an_order()
            await store.put(names.order_key(UID, order.uid), msgspec.json.encode(order))
            client.send(WatchRun(run=order.uid))
            assert (await client.end_of(order.uid)).phase == "Succeeded"

    play(story())


# ---- nodes


@pytest.mark.parametrize(
    ("index", "changes", "reason"),
    [
        pytest.param(0, {"key": bytes(32)}, "BadMac", id="another link key"),
        pytest.param(0, {"protocol": PROTOCOL + 1}, "Protocol", id="a later protocol"),
        pytest.param(0, {"protocol": PROTOCOL - 2}, "Protocol", id="one long gone"),
        pytest.param(7, {}, "NotMember", id="an index there is not"),
    ],
)
def test_who_is_no_member_is_refused_with_the_reason(
    either: CoordinatorSettings, index: int, changes: dict[str, Any], reason: str
):
    async def story() -> None:
        async with serving(either), ScriptedAgent(either, index) as agent:
            answer = await agent.hello(**{"key": LINK_KEY, **changes})
            assert isinstance(answer, Refused)
            assert answer.reason == reason

    play(story())


def test_an_agent_that_dials_too_early_waits_at_the_door(tmp_path: Path):
    listening = listen_tcp("", 0)
    port = listening.getsockname()[1]
    settings = coordinator_settings(tmp_path, agent_socket="", agent_port=port)

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            dialling = tasks.create_task(dialled(settings))
            loop, stands_there = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(listening, stands_there.set)
            await stands_there.wait()
            loop.remove_reader(listening)
            async with serving(settings, listening=listening):
                await dialling

    async def dialled(settings: CoordinatorSettings) -> None:
        async with ScriptedAgent(settings, 0) as agent:
            assert isinstance(await agent.hello(key=LINK_KEY), Welcome)

    play(story())


def test_a_second_instance_of_a_live_node_is_refused(either: CoordinatorSettings):
    async def story() -> None:
        async with (
            serving(either),
            ScriptedAgent(either, instance="first") as first,
            ScriptedAgent(either, instance="second") as second,
        ):
            assert isinstance(await first.hello(), Welcome)
            answer = await second.hello()
            assert isinstance(answer, Refused)
            assert answer.reason == "Duplicate"

    play(story())


def test_a_lost_node_gives_its_task_to_its_successor(settings: CoordinatorSettings):
    async def story() -> None:
        async with serving(settings), ControlClient(settings) as client:
            async with ScriptedAgent(settings, instance="first") as agent:
                await agent.ready()
                client.send(Submit(order=an_order()))
                lost = await agent.next(Assign)
            async with succeed(ScriptedAgent(settings, instance="second")) as agent:
                await agent.ready()
                state = await client.end_of("run-1")
        assert state.phase == "Succeeded"
        assert state.records[0].attempt == lost.tasks[0][1] + 1

    play(story())


def test_a_node_that_dials_again_goes_on_with_what_it_holds(either: CoordinatorSettings):
    either = msgspec.structs.replace(either, redial_grace_s=PATIENCE_S)

    async def story() -> None:
        async with serving(either), ControlClient(either) as client:
            async with ScriptedAgent(either, instance="same") as agent:
                await agent.ready()
                client.send(Submit(order=an_order()))
                assign = await agent.next(Assign)
            held = HeldLease(
                lease=assign.lease, run=assign.run, tasks=assign.tasks, epoch=assign.epoch
            )
            async with ScriptedAgent(either, instance="same") as agent:
                await agent.ready(leases=(held,))
                await agent.send(done(assign, 0))
                state = await client.end_of("run-1")
                assert isinstance(await agent.next(Committed), Committed)
        assert state.records[0].attempt == assign.tasks[0][1]
        assert state.retried == 0

    play(story())


def test_the_environment_is_ready_when_its_nodes_are_and_a_file_says_so(tmp_path: Path):
    settings = coordinator_settings(tmp_path, nodes=2)

    async def story() -> None:
        async with serving(settings), ControlClient(settings) as client:
            client.send(WatchEnvironment())
            async with ScriptedAgent(settings, 0) as a, ScriptedAgent(settings, 1) as b:
                await a.ready()
                await b.ready()
                state = await environment_in_phase(client, "Ready")
                assert (state.connected, state.ready, state.lost) == (2, 2, "")
            state = await environment_in_phase(client, "Starting")
            assert state.connected < 2
            assert state.lost

    play(story())
    stored = msgspec.json.decode(Path(settings.state_file).read_bytes(), type=EnvironmentState)
    assert (stored.uid, stored.nodes) == (UID, 2)


def test_another_number_of_nodes_admits_them_and_drains_the_rest(settings: CoordinatorSettings):
    async def story() -> None:
        async with (
            serving(settings),
            succeed(ScriptedAgent(settings, 0)) as a,
            succeed(ScriptedAgent(settings, 1)) as b,
            ControlClient(settings) as client,
            ControlClient(settings) as watcher,
        ):
            watcher.send(WatchEnvironment())
            await a.ready()
            await environment_in_phase(watcher, "Ready")
            client.send(Configure(nodes=2))
            await environment_in_phase(watcher, "Starting")
            await b.ready()
            assert (await environment_in_phase(watcher, "Ready")).ready == 2
            assert (await client.finish(an_order("two"))).total == 2
            client.send(Configure(nodes=1))
            assert isinstance(await b.next(Drain), Drain)
            assert (await client.finish(an_order("one"))).total == 1
            client.send(Configure(nodes=0))
            await environment_in_phase(watcher, "Suspended")

    play(story())


async def environment_in_phase(client: ControlClient, phase: str) -> EnvironmentState:
    while True:
        message = await client.next()
        if isinstance(message, EnvironmentUpdate) and message.state.phase == phase:
            return message.state


# ---- restarts


def test_a_restarted_coordinator_adopts_running_leases_and_loses_no_result(
    settings: CoordinatorSettings,
):
    async def story() -> None:
        async with ScriptedAgentAcrossRestarts(settings) as (first, second):
            async with serving(settings), ControlClient(settings) as client, first:
                await first.ready()
                client.send(Submit(order=a_map(3, batch=1)))
                done_before = await first.next(Assign)
                await first.send(done(done_before, 0))
                await first.next(Committed)
                held = await first.next(Assign)
            lease = HeldLease(lease=held.lease, run=held.run, tasks=held.tasks, epoch=held.epoch)
            async with serving(settings), ControlClient(settings) as client, second:
                client.send(WatchRun(run="run-1"))
                second.answer = lambda assign: [done(assign, 0)]
                await second.ready(leases=(lease,))
                await second.send(done(held, 0))
                state = await client.end_of("run-1")
        assert state.phase == "Succeeded"
        assert state.completed_indexes == "0-2"
        assert state.epoch == 2
        store = directory_store(settings)
        records = await read_records(store, await accepted_keys(store, UID, "run-1"))
        assert sorted(record.index for record in records) == [0, 1, 2]
        assert {record.index: record.attempt for record in records}[held.tasks[0][0]] == 1

    play(story())


class ScriptedAgentAcrossRestarts:
    """One agent, seen by two coordinators: the same instance on two connections."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        self._agents = tuple(ScriptedAgent(settings, instance="same") for _ in range(2))

    async def __aenter__(self) -> tuple[ScriptedAgent, ...]:
        return self._agents

    async def __aexit__(self, *_: object) -> None:
        return None


def test_a_finished_run_is_found_by_a_later_coordinator(settings: CoordinatorSettings):
    async def story() -> None:
        async with (
            serving(settings),
            succeed(ScriptedAgent(settings)) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            before = await client.finish(an_order())
        async with serving(settings), ControlClient(settings) as client:
            client.send(WatchRun(run="run-1"))
            assert await client.end_of("run-1") == before

    play(story())


def test_an_older_coordinator_acknowledges_nothing_and_ends(settings: CoordinatorSettings):
    async def story() -> None:
        store = directory_store(settings)
        async with (
            serving(settings) as old,
            ScriptedAgent(settings) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            client.send(Submit(order=an_order()))
            assign = await agent.next(Assign)
            assert await take_epoch(store, UID) == 2
            await agent.send(done(assign, 0))
            with pytest.raises(Fenced):
                await asyncio.wait_for(old.serve(), PATIENCE_S)
            assert not any(isinstance(message, Committed) for message in agent.seen)

    play(story())


def test_an_order_that_cannot_be_read_keeps_no_other_run_from_going_on(
    settings: CoordinatorSettings,
):
    async def story() -> None:
        store = directory_store(settings)
        await store.put(names.order_key(UID, "damaged"), b"{")
        await store.put(names.order_key(UID, "run-1"), msgspec.json.encode(an_order()))
        async with (
            serving(settings),
            succeed(ScriptedAgent(settings)) as agent,
            ControlClient(settings) as client,
        ):
            client.send(WatchRun(run="run-1"))
            await agent.ready()
            assert (await client.end_of("run-1")).phase == "Succeeded"

    play(story())


def test_chunks_of_a_replaced_coordinator_do_not_count(settings: CoordinatorSettings):
    async def story() -> None:
        store = directory_store(settings)
        async with (
            serving(settings),
            ScriptedAgent(settings) as agent,
            ControlClient(settings) as client,
        ):
            await agent.ready()
            client.send(Submit(order=a_map(2, batch=1)))
            await agent.send(done(await agent.next(Assign), 0))
            await agent.next(Committed)
        accepted = await accepted_keys(store, UID, "run-1")
        async with serving(settings):
            late = names.manifest_key(UID, "run-1", 1, 7)
            await store.put(late, await store.get(accepted[0]))
            assert late not in await accepted_keys(store, UID, "run-1")
            assert set(accepted) < set(await accepted_keys(store, UID, "run-1"))

    play(story())


# ---- the process


def start_process(settings: CoordinatorSettings, folder: Path) -> subprocess.Popen[bytes]:
    path = folder / "coordinator.json"
    write_settings(path, settings)
    command = [sys.executable, "-m", "geopod.coordinator", "--settings", str(path)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stderr=log)


async def until_it_listens(settings: CoordinatorSettings, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_there(settings.control_socket):  # a process starts
            assert process.poll() is None
            await asyncio.sleep(0.01)


def test_sigterm_closes_in_good_order_and_ends_no_run(tmp_path: Path):
    settings = coordinator_settings(tmp_path)

    async def story() -> None:
        process = start_process(settings, tmp_path)
        await until_it_listens(settings, process)
        async with ScriptedAgent(settings) as agent, ControlClient(settings) as client:
            await agent.ready()
            client.send(Submit(order=an_order()))
            await agent.next(Assign)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
        state = stored_state(settings, "run-1")
        assert (state.phase, state.finished) == ("Running", None)

    play(story())


def test_a_hundred_connected_nodes_take_little_memory(tmp_path: Path):
    settings = coordinator_settings(tmp_path, nodes=100, agent_port=free_port())

    async def story() -> None:
        process = start_process(settings, tmp_path)
        try:
            await until_it_listens(settings, process)
            agents = [succeed(ScriptedAgent(settings, index)) for index in range(100)]
            for agent in agents:
                await agent.__aenter__()
                await agent.ready()
            async with ControlClient(settings) as client:
                state = await client.finish(an_order())
                assert state.succeeded == 100
                state = await client.finish(a_map(10_000, "map"))
                assert state.succeeded == 10_000
            rss_mib = resident_kib(process.pid) / 1024
            for agent in agents:
                await agent.__aexit__()
            print(f"coordinator with 100 nodes: {rss_mib:.1f} MiB")  # a figure, not a gate
            assert rss_mib <= RSS_LIMIT_MIB
        finally:
            process.terminate()
            process.wait(PATIENCE_S)

    play(story())


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_the_coordinator_loads_no_library_that_it_does_not_need():
    code = (
        "import geopod.coordinator.attending, json, sys;"
        "print(json.dumps([m for m in ('pydantic', 'numpy', 'rasterio', 'pandas', 'pyarrow',"
        " 'cloudpickle', 'kubernetes') if m in sys.modules]))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, check=True, capture_output=True, env=os.environ).stdout
    assert json.loads(output) == []
