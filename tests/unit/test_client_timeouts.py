"""A `timeout` ends the waiting alone, in every call that takes one; the run goes on."""

from __future__ import annotations

import asyncio
import sys

import geopod
import msgspec
import pytest
from geopod.api.names import manifest_key
from geopod.api.results import ManifestChunk
from geopod.api.runs import RunState
from geopod.client import aio, sync
from geopod.client.loop import shared_loop
from geopod.errors import InvalidInputError, WaitTimeoutError
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class HalfDone(ScriptedBackend):
    """A backend whose runs finish the first of two tasks, and never the other."""

    async def submit(self, order):
        record = await self._record(order, 0)
        chunk = ManifestChunk(epoch=1, sequence=0, accepts=[], records=[record])
        key = manifest_key(order.environment, order.uid, 1, 0)
        await self._store.put(key, msgspec.json.encode(chunk))
        state = RunState(uid=order.uid, name=order.name, environment=order.environment, total=2)
        self.orders[order.name] = order
        half = msgspec.structs.replace(state, phase="Running", succeeded=1, chunks=1)
        self.run_states[order.name] = half
        yield half
        await asyncio.Event().wait()

    async def watch_run(self, name):
        yield self.run_states[name]
        await asyncio.Event().wait()


def plain(params):
    return len(params)


@pytest.fixture
def run():
    client = sync.Client(aio.Client(HalfDone([7, 8], python=PYTHON)), shared_loop())
    environment = client.environment(nodes=2, progress=False)
    return environment.submit(plain, name="ndvi-1")


WAITS = {
    "wait": lambda run: run.wait("50ms", progress=False),
    "results": lambda run: run.results(timeout=0.05, progress=False),
    "as_completed": lambda run: list(run.as_completed(0.05)),
    "result": lambda run: run.tasks[1].result(0.05),
    "exception": lambda run: run.tasks[1].exception("50ms"),
    "wait_for_runs": lambda run: geopod.wait([run], 0.05),
    "as_completed_tasks": lambda run: list(geopod.as_completed(run.tasks, timeout=0.05)),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_late_wait_says_that_the_run_goes_on(run, wait):
    with pytest.raises(WaitTimeoutError) as caught:
        wait(run)
    assert str(caught.value) == (
        "GP-E501 Stopped waiting after 0.05 s; run 'ndvi-1' goes on (1 of 2 done).\n"
        "fix: 1) run.wait() 2) run.cancel()"
    )
    assert isinstance(caught.value, TimeoutError)


def test_what_has_ended_by_then_is_yielded(run):
    def first_of(tasks):
        yield next(tasks).result()
        next(tasks)

    for tasks in (geopod.as_completed(run.tasks, timeout=0.2), run.as_completed(0.2)):
        ended = first_of(tasks)
        assert next(ended) == 7
        with pytest.raises(WaitTimeoutError):
            next(ended)


WRONG = [
    ({"retries": geopod.Retry("2")}, "Retry(limit=2, on=('infra',)) is not valid"),
    ({"retries": True}, "Retry(limit=True, on=('infra', 'timeout', 'oom', 'exception')) is not"),
    ({"send": "bytes"}, "send='bytes' is none of auto, source, pickle"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=["limit", "number", "send"])
def test_options_of_a_run_are_refused_before_it_is_sent(options, words):
    backend = ScriptedBackend([1], python=PYTHON)
    client = sync.Client(aio.Client(backend), shared_loop())
    environment = client.environment(progress=False)
    with pytest.raises(InvalidInputError) as caught:
        environment.submit(plain, **options)
    assert caught.value.fact.startswith(words)
    assert not backend.orders
