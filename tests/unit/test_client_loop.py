"""The plain client's loop: turned by whoever waits, by the thread for everything else."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from geopod.client.loop import LISTEN_AFTER_S, LoopThread, shared_loop
from geopod.errors import InvalidInputError

PATIENCE_S = 60.0


class Answer:
    """Something that can be referred to weakly."""


async def who():
    await asyncio.sleep(0)
    return threading.current_thread()


def test_a_caller_turns_the_loop_itself():
    loop = LoopThread()
    assert [loop.run(who()) for _ in range(3)] == 3 * [threading.current_thread()]


@pytest.mark.parametrize("lasts_s", [0.0, 2 * LISTEN_AFTER_S], ids=["short", "long"])
def test_an_answer_is_gone_when_its_caller_lets_it_go(lasts_s):
    """At once: what the collector has to find are arrays of gigabytes until it looks."""
    loop = LoopThread()

    async def answer():
        await asyncio.sleep(lasts_s)
        return Answer()

    gc.disable()
    try:
        kept = weakref.ref(loop.run(answer()))
        assert kept() is None
    finally:
        gc.enable()


def test_a_caller_whose_thread_runs_a_loop_is_served_by_the_thread():
    loop = LoopThread()

    async def notebook():
        return loop.run(who())

    assert asyncio.run(notebook()).name == "geopod"
    # And the loop is free again, a moment later.
    assert any(loop.run(who()) is threading.current_thread() for _ in range(1000))


def test_work_that_ends_the_process_says_so_to_its_caller_and_leaves_the_loop():
    loop = LoopThread()

    async def leave():
        raise SystemExit(3)

    async def notebook():
        with pytest.raises(SystemExit, match="3"):
            loop.run(leave())
        return loop.run(who())

    assert asyncio.run(notebook()).name == "geopod"


def test_what_is_left_under_way_goes_on_without_a_caller():
    loop, done = LoopThread(), threading.Event()

    async def later():
        await asyncio.sleep(0.01)
        done.set()

    async def begin():
        asyncio.get_running_loop().later = asyncio.ensure_future(later())

    loop.run(begin())
    assert done.wait(PATIENCE_S)


def test_a_caller_that_has_its_answer_does_not_end_the_next_ones_turn():
    loop = LoopThread()

    async def inner(moment):
        await moment.wait()

    async def first(moment, ready):
        ready.set()
        await asyncio.create_task(inner(moment))

    for _ in range(40):
        moment, ready = asyncio.Event(), threading.Event()
        with ThreadPoolExecutor(2) as pool:
            beside = pool.submit(lambda: (ready.wait(), loop.run(inner(moment))))  # noqa: B023  # ends here
            pool.submit(lambda: (ready.wait(), loop._loop.call_soon_threadsafe(moment.set)))  # noqa: B023
            loop.run(first(moment, ready))
            assert loop.run(who()) is not None
            beside.result(PATIENCE_S)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12: it has threads
def test_a_forked_process_is_told_to_open_a_client_of_its_own():
    loop = LoopThread()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            loop.run(who())
        except InvalidInputError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert b"geopod.connect" in told.read()
    os.waitpid(child, 0)
    assert loop.run(who()) is threading.current_thread()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12: it has threads
def test_a_client_that_a_forked_process_opens_has_a_loop_of_its_own():
    loop = shared_loop()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, shared_loop().run(who()).name.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert told.read() == threading.current_thread().name.encode()
    os.waitpid(child, 0)
    assert shared_loop() is loop
    assert loop.run(who())  # by whichever thread: earlier tests may have left it idle


def test_many_callers_at_once_get_their_own_answers():
    loop = LoopThread()

    async def answer(number):
        await asyncio.sleep(0.001 * (number % 3))
        return number

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: loop.run(answer(number)), range(200)))
    assert found == list(range(200))


def test_an_error_is_raised_where_it_was_asked_for():
    async def fail():
        await asyncio.sleep(0)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        LoopThread().run(fail())


def test_work_that_is_cut_off_in_the_midst_of_a_turn_is_ended_by_the_thread():
    loop, ended = LoopThread(), []

    def interrupt():
        raise KeyboardInterrupt

    async def work():
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(threading.current_thread().name)

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert ended == ["geopod"]


def test_ctrl_c_is_raised_after_the_work_has_ended():
    loop, ended = LoopThread(), []

    async def work():
        loop_s = asyncio.get_running_loop()
        loop_s.call_later(0.1, os.kill, os.getpid(), signal.SIGINT)  # when Ctrl-C is listened for
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert ended == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert loop.run(who()) is threading.current_thread()
