"""Logs are followed as they are stored, also while the run's state stays as it is."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import pytest
from geopod.api.names import run_prefix
from geopod.api.results import LogLine
from geopod.api.runs import RunState
from geopod.client import aio
from geopod.client.aio import logs
from geopod.testing import MemoryStore, ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def plain(params):
    return len(params)


class Counting(MemoryStore):
    """A store that counts what is read of it."""

    def __init__(self):
        super().__init__()
        self.reads = []

    async def get(self, key):
        self.reads.append(key.rsplit("/", 1)[-1])
        return await super().get(key)


class Printing(ScriptedBackend):
    """A backend whose runs print while their state stays as it is, until told to end."""

    def __init__(self):
        super().__init__([1], python=PYTHON)
        self._store = Counting()
        self.ends = asyncio.Event()

    async def submit(self, order):
        self.order = order
        state = RunState(uid=order.uid, name=order.name, environment=order.environment, total=2)
        yield msgspec.structs.replace(state, phase="Running", completed_indexes="1")
        await self.ends.wait()
        yield msgspec.structs.replace(state, phase="Succeeded", completed_indexes="0-1")

    async def print(self, task, *texts):
        lines = [
            LogLine(time=1.0, task=task, attempt=1, node=0, stream="stdout", text=text)
            for text in texts
        ]
        key = f"{run_prefix(self.order.environment, self.order.uid)}logs/{task}-1-1.jsonl"
        data = b"\n".join(map(msgspec.json.encode, lines))
        await self._store.put(key, data)


async def a_followed_run():
    """Return a backend that prints, a run on it, and the lines that come of that."""
    backend = Printing()
    environment = await aio.Client(backend).environment("e", nodes=2, progress=False)
    run = await environment.submit(plain)
    return backend, run, run.logs(follow=True)


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(logs, "LOOK_AGAIN_S", 0.01)


def test_lines_come_while_the_run_goes_on_and_a_task_that_has_ended_is_read_once(soon):
    async def work():
        backend, run, following = await a_followed_run()
        await backend.print(1, "of one that has ended")
        told = [(await anext(following)).text]
        await backend.print(0, "first")
        told.append((await anext(following)).text)
        await backend.print(0, "first", "second")
        told.append((await anext(following)).text)
        backend.ends.set()
        told += [line.text async for line in following]
        return told, backend._store.reads.count("1-1-1.jsonl"), run.is_left

    told, reads, is_left = asyncio.run(work())
    assert told == ["of one that has ended", "first", "second"]
    assert reads == 1
    assert not is_left


def test_whoever_stops_reading_has_not_left_the_run(soon):
    async def work():
        backend, run, following = await a_followed_run()
        await backend.print(0, "first")
        await anext(following)
        await backend.print(0, "first", "second")
        await anext(following)
        await following.aclose()
        await asyncio.sleep(0)
        return run.is_left

    assert not asyncio.run(work())
