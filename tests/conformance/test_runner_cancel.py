"""Cancelling: a function may see it, is interrupted, or is killed; others go on."""

import asyncio
from typing import Any

import cloudpickle
import pytest
import runner_functions as functions
from geopod.agent.runner_link import Outcome
from runner_builders import (
    a_map,
    a_runner,
    a_work,
    until,
    value_of,
)

cloudpickle.register_pickle_by_value(functions)


def test_cancel_is_seen_by_a_function_that_asks_for_it() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            work = a_work(functions.wait_until_cancelled)
            running = asyncio.ensure_future(runner.run(work))
            await until(lambda: bool(runner.progress))
            await runner.link.cancel(work.run, None, grace_s=20)
            [outcome] = await running
            return outcome

    assert value_of(asyncio.run(scenario())) == "ended by itself"


@pytest.mark.parametrize(
    ("function", "grace_s"),
    [
        pytest.param(functions.loop_for_ever, 20, id="interrupted-in-Python"),
        pytest.param(functions.ignore_the_signal, 0.1, id="killed-after-the-grace-time"),
    ],
)
def test_cancel_ends_a_function_that_does_not_ask(function: Any, grace_s: float) -> None:
    async def scenario() -> list[Outcome]:
        async with a_runner() as runner:
            work = a_work(function)
            running = asyncio.ensure_future(runner.run(work))
            await until(lambda: bool(runner.progress))
            await runner.link.cancel(work.run, None, grace_s=grace_s)
            return await running

    [outcome] = asyncio.run(scenario())
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.code) == ("Cancelled", "E308")


def test_cancelling_one_task_of_a_batch_lets_the_others_finish() -> None:
    async def scenario() -> list[Outcome]:
        async with a_runner() as runner:
            work = a_map(functions.wait_at_one, range(4))
            running = asyncio.ensure_future(runner.run(work))
            await until(lambda: any(outcome.index == 0 for outcome in runner.outcomes))
            await runner.link.cancel(work.run, [1], grace_s=20)
            return await running

    outcomes = asyncio.run(scenario())
    assert outcomes[1].failure is not None
    assert outcomes[1].failure.reason == "Cancelled"
    assert [value_of(outcomes[at]) for at in (0, 2, 3)] == [0, 2, 3]
