"""What is called when a task has ended may use the task, as with `concurrent.futures`."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

import msgspec
import pytest
from geopod.api.runs import RunState
from geopod.client import aio, sync
from geopod.client.loop import LoopThread, shared_loop
from geopod.errors import InvalidInputError
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Later(ScriptedBackend):
    """A backend whose runs end when they are told to."""

    ends: asyncio.Event

    async def submit(self, order):
        self.ends = asyncio.Event()
        state = RunState(uid=order.uid, name=order.name, environment=order.environment, total=1)
        yield msgspec.structs.replace(state, phase="Running")
        await self.ends.wait()
        async for ended in super().submit(order):
            yield ended


def plain(params):
    return len(params)


@pytest.fixture
def backend():
    return Later([7], python=PYTHON)


@pytest.fixture
def run(backend):
    client = sync.Client(aio.Client(backend), shared_loop())
    return client.environment(progress=False).submit(plain)


def end(backend):
    async def work():
        backend.ends.set()

    shared_loop().run(work())


def test_callback_may_ask_its_task_for_the_result(run, backend):
    called, results = threading.Event(), []

    def call(task):
        results.append(task.result())
        called.set()

    run.tasks[0].add_done_callback(call)
    assert not results
    end(backend)
    assert called.wait(10)
    assert results == [7]


def test_callback_of_a_task_that_has_ended_is_called_at_once(run, backend):
    end(backend)
    run.wait(progress=False)
    called = []
    (task,) = run.tasks
    task.add_done_callback(called.append)
    assert called == [task]


def test_what_a_callback_raises_is_logged(run, backend, caplog):
    end(backend)
    run.wait(progress=False)
    with caplog.at_level(logging.ERROR, "geopod"):
        run.tasks[0].add_done_callback(lambda task: 1 / 0)
    assert "A callback of <Task 0 of" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_plain_call_on_the_loop_itself_is_refused_and_does_not_hang():
    loop = LoopThread()

    async def answer():
        return 1

    async def work():
        return loop.run(answer())

    with pytest.raises(InvalidInputError, match="which would wait for itself"):
        loop.run(work())
