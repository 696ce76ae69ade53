"""The agent's node against the real coordinator, over a runner that plays a script."""

import asyncio
import errno
import json
import os
from collections.abc import Coroutine
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import rasterio
from affine import Affine
from agent_builders import ScriptedRunner, a_node, agent_settings, returned
from coordinator_builders import (
    UID,
    ControlClient,
    a_map,
    an_order,
    coordinator_settings,
    directory_store,
    serving,
)
from geopod.agent import patience
from geopod.agent.work import Outcome, TaskLog, Work
from geopod.api import names
from geopod.api.bundles import ArgumentsRef, digest, pack_arguments
from geopod.api.control import CancelRun, Submit, WatchRun
from geopod.api.results import TaskReason, TaskRecord
from geopod.coordinator.manifest import accepted_keys, read_records, read_result
from geopod.coordinator.settings import CoordinatorSettings
from geopod.errors import GatewayUnavailableError, RateLimitedError
from geopod.store.directory import DirectoryStore
from geopod.store.refusals import refusal

MIB = 1 << 20


@pytest.fixture
def settings(tmp_path: Path) -> CoordinatorSettings:
    return coordinator_settings(tmp_path)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def manifest(settings: CoordinatorSettings, run: str = "run-1") -> dict[int, TaskRecord]:
    store = directory_store(settings)
    records = await read_records(store, await accepted_keys(store, UID, run))
    return {record.index: record for record in records}


async def stored(settings: CoordinatorSettings, record: TaskRecord) -> bytes:
    assert record.entry is not None
    return await read_result(directory_store(settings), record.entry)


@pytest.mark.parametrize(
    ("size", "large_result", "is_small"),
    [
        pytest.param(4, False, True, id="small: in the manifest"),
        pytest.param(MIB, False, False, id="large: an object of its own"),
        pytest.param(3 * MIB, True, False, id="over 2 MiB, asked for"),
    ],
)
def test_a_result_lies_in_the_store_with_its_sha256(
    settings: CoordinatorSettings,
    size: int,
    *,
    large_result: bool,
    is_small: bool,
):
    async def story() -> None:
        data = b"x" * size
        async with (
            serving(settings),
            a_node(agent_settings(settings), ScriptedRunner(returned(data, "bytes"))),
            ControlClient(settings) as client,
        ):
            state = await client.finish(an_order(large_result=large_result))
        record = (await manifest(settings))[0]
        assert state.phase == "Succeeded", state
        assert await stored(settings, record) == data
        assert record.entry is not None
        assert record.entry.sha256 == sha256(data).hexdigest()
        assert (record.entry.data == data) is is_small
        assert state.inline == ({0: data} if size < 4096 else {})

    play(story())


class RefusingStore(DirectoryStore):
    """A store that refuses the first writes and the first reads."""

    def __init__(self, root: Path, trouble: Exception) -> None:
        super().__init__(root)
        self.trouble = trouble
        self.refused = {"put": 0, "get": 0}

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self.refuse("put")
        await super().put(key, data, if_absent=if_absent)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.refuse("get")
        return await super().get(key, start=start, length=length)

    def refuse(self, what: str) -> None:
        if self.refused[what] < 2:
            self.refused[what] += 1
            raise self.trouble


TROUBLES = {
    "full": OSError(errno.ENOSPC, "No space left on device"),
    "expired token": refusal("PUT", "k", 401, "Expired", ours=True),
    "token for less": refusal("PUT", "k", 403, "NotPermitted", ours=True),
    "busy": RateLimitedError.slow_down(retry_after_s=0.01),
    "away": GatewayUnavailableError.no_answer(route="gateway", timeout_s=90, tries=9),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_result_waits_for_the_store_and_is_not_computed_again(
    settings: CoordinatorSettings, trouble: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(patience, "STORE_PAUSE_S", (0.0, 0.0))

    async def story() -> None:
        data = b"x" * MIB
        runner = ScriptedRunner(returned(data, "bytes"))
        store = RefusingStore(Path(settings.store), TROUBLES[trouble])
        function = msgspec.structs.replace(an_order().function, inline=None)
        key = names.function_key(UID, function.sha256)
        await directory_store(settings).put(key, b"function")
        async with (
            serving(settings),
            a_node(agent_settings(settings), runner, store=store),
            ControlClient(settings) as client,
        ):
            state = await client.finish(an_order(function=function))
        assert state.phase == "Succeeded", state
        assert await stored(settings, (await manifest(settings))[0]) == data
        assert (store.refused, len(runner.works)) == ({"put": 2, "get": 2}, 1)

    play(story())


def test_a_result_that_no_message_can_describe_fails_its_task(settings: CoordinatorSettings):
    async def story() -> None:
        async def wordy(work: Work, position: int) -> Outcome:
            outcome = await returned(b"x" * 4000, "list")(work, position)
            assert outcome.value is not None
            items = [{"start": k, "stop": k + 1, "name": f"{k:0100}"} for k in range(4000)]
            outcome.value.meta["items"] = items
            return outcome

        async with (
            serving(settings),
            a_node(agent_settings(settings), ScriptedRunner(wordy)),
            ControlClient(settings) as client,
        ):
            state = await client.finish(an_order())
        failure = state.failures[0].failure
        assert failure is not None
        assert failure.reason == TaskReason.NOT_SERIALIZABLE
        assert "the limit is 262,144" in failure.fact

    play(story())


def test_a_result_over_two_mib_fails_its_task_and_is_kept(settings: CoordinatorSettings):
    async def story() -> None:
        data = b"x" * (2 * MIB + 1)
        async with (
            serving(settings),
            a_node(agent_settings(settings), ScriptedRunner(returned(data, "bytes"))),
            ControlClient(settings) as client,
        ):
            state = await client.finish(an_order())
        record = (await manifest(settings))[0]
        assert state.phase == "Failed"
        assert record.failure is not None
        assert (record.failure.reason, record.failure.code) == (TaskReason.RESULT_TOO_LARGE, "E301")
        assert "2,097,153 bytes" in record.failure.fact
        assert await stored(settings, record) == data

    play(story())


def test_what_a_task_prints_becomes_lines_of_json_and_silence_becomes_nothing(
    settings: CoordinatorSettings,
):
    async def story() -> None:
        log = TaskLog(out=b"one\ntwo\n", err=b"oh\xff")
        async with (
            serving(settings),
            a_node(agent_settings(settings), runner := ScriptedRunner(returned(b"1", log=log))),
            ControlClient(settings) as client,
        ):
            await client.finish(an_order())
            runner.play = returned(b"1")
            await client.finish(an_order("silent"))
        store = directory_store(settings)
        (key,) = await store.names(f"{names.run_prefix(UID, 'run-1')}logs/")
        lines = [json.loads(line) for line in (await store.get(key)).splitlines()]
        assert [(line["stream"], line["text"]) for line in lines] == [
            ("stdout", "one"),
            ("stdout", "two"),
            ("stderr", "oh\N{REPLACEMENT CHARACTER}"),
        ]
        assert {(line["task"], line["attempt"], line["node"]) for line in lines} == {(0, 1, 0)}
        assert (await manifest(settings))[0].log_bytes == log.size
        assert await store.names(f"{names.run_prefix(UID, 'silent')}logs/") == []

    play(story())


def test_each_task_of_a_map_gets_its_own_arguments(settings: CoordinatorSettings):
    async def story() -> None:
        data = pack_arguments([f"[[{number}],{{}}]".encode() for number in range(40)])
        arguments = ArgumentsRef(format="json", sha256=digest(data), size=len(data), count=40)
        await directory_store(settings).put(names.arguments_key(UID, digest(data)), data)

        async def echo(work: Work, position: int) -> Outcome:
            assert work.arguments is not None
            start, stop = work.spans[position]
            blob = os.pread(work.arguments.descriptor, stop - start, start)
            return await returned(blob)(work, position)

        async with (
            serving(settings),
            a_node(agent_settings(settings), ScriptedRunner(echo)),
            ControlClient(settings) as client,
        ):
            state = await client.finish(a_map(40, arguments=arguments))
        assert state.succeeded == 40
        for index, record in (await manifest(settings)).items():
            assert await stored(settings, record) == f"[[{index}],{{}}]".encode()

    play(story())


@pytest.mark.parametrize("missing", ["function", "arguments"])
def test_inputs_that_are_not_in_the_store_fail_the_task_by_name(
    settings: CoordinatorSettings, missing: str
):
    async def story() -> None:
        order = an_order() if missing == "function" else a_map(1)
        if missing == "function":
            function = msgspec.structs.replace(order.function, inline=None)
            order = msgspec.structs.replace(order, function=function)
        async with (
            serving(settings),
            a_node(agent_settings(settings), ScriptedRunner(returned(b"1"))),
            ControlClient(settings) as client,
        ):
            state = await client.finish(order)
        failure = state.failures[0].failure
        assert failure is not None
        assert failure.reason == TaskReason.FUNCTION_NOT_LOADABLE
        assert "is not in the store" in failure.fact

    play(story())


def test_a_report_made_while_no_coordinator_listens_is_made_again(settings: CoordinatorSettings):
    async def story() -> None:
        go_on = asyncio.Event()

        async def slow(work: Work, position: int) -> Outcome:
            await go_on.wait()
            return await returned(b"42")(work, position)

        runner = ScriptedRunner(slow)
        async with a_node(agent_settings(settings), runner):
            async with serving(settings), ControlClient(settings) as client:
                client.send(Submit(order=an_order()))
                await runner.began.wait()
            go_on.set()
            async with serving(settings), ControlClient(settings) as client:
                client.send(WatchRun(run="run-1"))
                state = await client.end_of("run-1")
        assert (state.phase, state.epoch) == ("Succeeded", 2)
        assert len(runner.works) == 1
        assert (await manifest(settings))[0].attempt == 1

    play(story())


def test_a_cancelled_task_is_stopped_in_the_runner_and_named(settings: CoordinatorSettings):
    async def story() -> None:
        async def endless(work: Work, position: int) -> Outcome:
            del work, position
            await asyncio.Event().wait()
            raise AssertionError

        runner = ScriptedRunner(endless)
        async with (
            serving(settings),
            a_node(agent_settings(settings), runner),
            ControlClient(settings) as client,
        ):
            client.send(Submit(order=an_order()))
            await runner.began.wait()
            client.send(CancelRun(run="run-1"))
            state = await client.end_of("run-1")
            async with asyncio.timeout(60):
                await runner.has_ended.wait()
        assert state.phase == "Cancelled"
        assert runner.cancelled == [("run-1", [0])]
        assert runner.ended == ["run-1"]

    play(story())


def test_a_node_that_closes_hands_its_tasks_to_its_successor(settings: CoordinatorSettings):
    async def story() -> None:
        async def endless(work: Work, position: int) -> Outcome:
            del work, position
            await asyncio.Event().wait()
            raise AssertionError

        first = ScriptedRunner(endless)
        async with serving(settings), ControlClient(settings) as client:
            async with a_node(agent_settings(settings), first):
                client.send(Submit(order=an_order()))
                await first.began.wait()
            async with a_node(agent_settings(settings), ScriptedRunner(returned(b"1"))):
                state = await client.end_of("run-1")
        assert (state.phase, state.retried) == ("Succeeded", 1)

    play(story())


def test_the_output_of_a_running_task_can_be_followed_once_the_store_is_back(
    settings: CoordinatorSettings,
):
    async def story() -> None:
        go_on = asyncio.Event()

        async def slow(work: Work, position: int) -> Outcome:
            await go_on.wait()
            return await returned(b"1", log=TaskLog(out=b"began\nended\n", err=b""))(work, position)

        runner = ScriptedRunner(slow)
        runner.log = TaskLog(out=b"began\n", err=b"")
        away = RefusingStore(Path(settings.store), TROUBLES["away"])
        async with (
            serving(settings),
            a_node(agent_settings(settings), runner, store=away) as node,
            ControlClient(settings) as client,
        ):
            client.send(Submit(order=an_order()))
            await runner.began.wait()
            for _ in range(3):
                await node.store_running_logs()
            store = directory_store(settings)
            (key,) = await store.names(f"{names.run_prefix(UID, 'run-1')}logs/")
            assert [json.loads(line)["text"] for line in (await store.get(key)).splitlines()] == [
                "began"
            ]
            go_on.set()
            await client.end_of("run-1")
            assert len((await store.get(key)).splitlines()) == 2

    play(story())


def test_each_node_runs_over_its_own_staged_partition(tmp_path: Path):
    source = tmp_path / "dem.tif"
    pixels = np.arange(200 * 200, dtype="float32").reshape(200, 200)
    with rasterio.open(
        source,
        "w",
        driver="GTiff",
        width=200,
        height=200,
        count=1,
        dtype="float32",
        crs="EPSG:32633",
        transform=Affine(10, 0, 500000, 0, -10, 5000000),
        tiled=True,
        blockxsize=64,
        blockysize=64,
    ) as file:
        file.write(pixels, 1)
    layer = {"key": "dem", "pathId": "dem", "timestamp": "dem", "hrefs": [str(source)]}
    settings = coordinator_settings(tmp_path, nodes=2, planning={"layers": [layer]})

    async def story() -> None:
        async def total(work: Work, position: int) -> Outcome:
            assert work.staged is not None
            done = json.loads((work.staged / "DONE").read_bytes())
            (staged,) = done["layers"]
            values = np.lib.format.open_memmap(work.staged / staged["file"], mode="r")
            return await returned(str(float(values.sum())).encode())(work, position)

        runners = [ScriptedRunner(total), ScriptedRunner(total)]
        async with (
            serving(settings),
            a_node(agent_settings(settings, 0), runners[0]),
            a_node(agent_settings(settings, 1), runners[1]),
            ControlClient(settings) as client,
        ):
            state = await client.finish(an_order())
        assert state.phase == "Succeeded", state
        assert [len(runner.works) for runner in runners] == [1, 1]
        assert runners[0].modules == ["numpy", "affine"]
        sums = [float(data) for data in state.inline.values()]
        assert len(sums) == 2
        assert sum(sums) == pytest.approx(float(pixels.sum(dtype="float64")), rel=1e-5)

    play(story())
