"""Coroutines that begin in their caller's turn of the loop."""

from __future__ import annotations

import asyncio

import pytest
from geopod.process import eager


def play(story):
    return asyncio.run(story())


def test_work_that_never_waits_is_done_when_start_returns():
    async def story():
        done = []

        async def work():
            done.append(1)

        assert eager.start(work()) is None
        assert done == [1]

    play(story)


def test_work_that_waits_goes_on_as_a_task():
    async def story():
        gate, steps = asyncio.Event(), []

        async def work():
            steps.append("begun")
            await gate.wait()
            await asyncio.sleep(0)
            steps.append("done")

        task = eager.start(work())
        assert task is not None
        assert steps == ["begun"]
        gate.set()
        await task
        assert steps == ["begun", "done"]

    play(story)


def test_an_error_before_the_first_wait_is_raised_at_once():
    async def story():
        async def work():
            raise LookupError("first")

        with pytest.raises(LookupError, match="first"):
            eager.start(work())

    play(story)


def test_an_error_after_a_wait_is_the_tasks():
    async def story():
        async def work():
            await asyncio.sleep(0)
            raise LookupError("later")

        task = eager.start(work())
        with pytest.raises(LookupError, match="later"):
            await task

    play(story)


def test_a_cancelled_task_ends_its_work():
    async def story():
        ended = []

        async def work():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(1)

        task = eager.start(work())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [1]

    play(story)


def test_a_timeout_that_begins_before_the_first_wait_ends_the_work_alone():
    async def story():
        caught = []

        async def work():
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                caught.append(1)
            await asyncio.sleep(0)
            caught.append(2)

        await eager.start(work())
        assert caught == [1, 2]
        assert asyncio.current_task().cancelling() == 0

    play(story)


def test_the_caller_stays_the_current_task():
    async def story():
        async def work():
            assert asyncio.current_task() is not mine

        mine = asyncio.current_task()
        eager.start(work())
        assert asyncio.current_task() is mine

    play(story)
