"""A real zipapp as a process: whatever a function does costs its child and is told by name."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import runner_functions as functions
from geopod.agent.runner_link import HandedOver, Outcome
from geopod.api.messages import encode
from runner_builders import (
    a_map,
    a_runner,
    value_of,
)

cloudpickle.register_pickle_by_value(functions)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

MIB = 1 << 20


# ---- one child dies, by name

DEATHS = [
    pytest.param(functions.segfault, "Signal", "E305", "died with SIGSEGV", id="segfault"),
    pytest.param(functions.leave_at_once, "Signal", "E305", "called os._exit(0)", id="os._exit(0)"),
    pytest.param(
        functions.leave_with_three, "Signal", "E305", "called os._exit(3)", id="os._exit(3)"
    ),
    pytest.param(
        functions.call_sys_exit, "Signal", "E305", "called sys.exit(0) without", id="sys.exit(0)"
    ),
    pytest.param(
        functions.loop_for_ever, "Timeout", "E302", "was stopped after ", id="endless-loop"
    ),
    pytest.param(functions.sleep_for_ever_in_c, "Timeout", "E302", "was stopped", id="hangs-in-C"),
    pytest.param(
        functions.hog_memory, "OutOfMemory", "E304", "256 MiB memory limit", id="memory-hog"
    ),
    pytest.param(
        functions.hog_shared_memory, "OutOfMemory", "E304", "256 MiB", id="shared-memory-hog"
    ),
    pytest.param(
        functions.fork_and_fork_again, "Signal", "E305", "more than 512 processes", id="fork-bomb"
    ),
    pytest.param(
        functions.print_over_the_limit, "Signal", "E305", "more than 1 GiB", id="endless-output"
    ),
    pytest.param(
        functions.raise_a_long_chain, "Exception", "E307", "raised RuntimeError", id="long-chain"
    ),
    pytest.param(
        functions.forge_frames, "Signal", "E305", "announces 4,294,967,295", id="forged-frame"
    ),
    pytest.param(functions.forge_an_answer, "Signal", "E305", "not given", id="forged-answer"),
    pytest.param(
        functions.forge_a_long_failure, "Signal", "E305", "bytes of how a task", id="long-failure"
    ),
    pytest.param(functions.touch_a_lot, "Signal", "E305", "the limit is", id="touches-a-lot"),
    pytest.param(functions.claim_a_peak, "Signal", "E305", "no runner sends", id="huge-number"),
    pytest.param(
        functions.describe_by_a_number, "Signal", "E305", "beyond 64 bits", id="huge-number-in-meta"
    ),
    pytest.param(
        functions.flood_with_progress, "Signal", "E305", "flooded its node", id="flood-of-progress"
    ),
    pytest.param(
        functions.flood_with_nothing, "Signal", "E305", "flooded its node", id="flood-of-nothing"
    ),
    pytest.param(
        functions.hand_over_a_link, "Signal", "E305", "no plain file", id="link-in-task-folder"
    ),
    pytest.param(
        functions.announce_a_huge_file, "Signal", "E305", "1,099,511,627,776", id="huge-file"
    ),
    pytest.param(
        functions.kill_the_template, "NodeLost", "E306", "lost its runner", id="kills-template"
    ),
]


@pytest.mark.parametrize(("function", "reason", "code", "sentence"), DEATHS)
def test_a_hostile_function_costs_its_child_and_is_told_by_name(
    function: Any, reason: str, code: str, sentence: str
) -> None:
    async def scenario() -> tuple[Outcome, Outcome]:
        # Hundreds of processes take hundreds of megabytes: only one limit may be reached.
        memory = 4096 if reason == "Signal" else 256
        async with a_runner(memory_bytes=memory * MIB) as runner:
            timeout_s = 0.5 if reason == "Timeout" else 90.0
            failed = await runner.call(function, timeout_s=timeout_s)
            return failed, await runner.call(functions.answer)

    failed, after = asyncio.run(scenario())
    assert failed.value is None
    assert failed.failure is not None
    assert (failed.failure.reason, failed.failure.code) == (reason, code)
    assert sentence in failed.failure.fact
    assert value_of(after)["answer"] == 42


def test_a_whole_number_of_any_size_in_an_exception_can_be_told() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            return await runner.call(functions.raise_a_number)

    failure = asyncio.run(scenario()).failure
    assert failure is not None
    assert failure.exception is not None
    assert failure.exception.args is None
    assert "1" + 30 * "0" in failure.exception.message
    assert encode(failure)


def test_progress_of_any_length_is_cut_and_costs_nothing() -> None:
    async def scenario() -> tuple[Outcome, list[tuple[int, float | None, str]]]:
        async with a_runner() as runner:
            return await runner.call(functions.tell_a_table), runner.progress

    outcome, [(_, fraction, text)] = asyncio.run(scenario())
    assert value_of(outcome) == "done"
    assert (fraction, text) == (0.5, "row " * 250)


def test_what_was_printed_is_the_log_of_one_task() -> None:
    async def scenario() -> list[Outcome]:
        async with a_runner() as runner:
            return await runner.run(a_map(functions.print_once_and_claim_it_twice, [0, 1]))

    first, second = asyncio.run(scenario())
    assert first.log is not None
    assert first.log.out == b"x" * 1000
    assert second.log is None


def test_nobody_else_is_taken_for_the_template() -> None:
    async def scenario() -> tuple[Outcome, Outcome]:
        async with a_runner() as runner:
            posed = await runner.call(functions.pose_as_the_template)
            return posed, await runner.call(functions.answer)

    posed, after = asyncio.run(scenario())
    assert value_of(posed) == "hung up"
    assert value_of(after)["answer"] == 42


def test_a_timeout_tells_progress_memory_and_last_line() -> None:
    async def scenario() -> Outcome:
        async with a_runner(memory_bytes=256 * MIB) as runner:
            return await runner.call(functions.loop_for_ever, timeout_s=2.0)

    outcome = asyncio.run(scenario())
    assert outcome.failure is not None
    fact = outcome.failure.fact
    assert re.match(r"was stopped after \d", fact)
    assert 'Last progress 62 % "band 4"' in fact
    assert "of 256" in fact
    assert "last log line: still here" in fact
    assert outcome.runtime_s > 1.9


def test_a_crash_keeps_the_frames_that_led_to_it() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            return await runner.call(functions.segfault)

    outcome = asyncio.run(scenario())
    assert outcome.failure is not None
    assert outcome.failure.signal == "SIGSEGV"
    assert outcome.log is not None
    assert b"in segfault" in outcome.log.err
    assert "in segfault" in outcome.failure.details["logTail"]


def test_the_words_of_an_exit_are_in_the_log() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            return await runner.call(functions.exit_with_words)

    outcome = asyncio.run(scenario())
    assert outcome.failure is not None
    assert outcome.failure.fact == "called sys.exit(1) without returning."
    assert outcome.log is not None
    assert outcome.log.err == b"no clear scene\n"


def test_fifty_megabytes_of_prints_keep_head_and_tail() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            return await runner.call(functions.print_a_lot)

    outcome = asyncio.run(scenario())
    assert value_of(outcome) == "done"
    assert outcome.log is not None
    assert outcome.log.out.startswith(b"000xxx")
    assert outcome.log.out.endswith(b"x\n")
    assert b"bytes left out" in outcome.log.out
    assert 5 * MIB <= outcome.log.size < 6 * MIB


def test_a_long_chain_of_causes_arrives_cut() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            return await runner.call(functions.raise_a_long_chain)

    failure = asyncio.run(scenario()).failure
    assert failure is not None
    exception = failure.exception
    assert exception is not None
    assert exception.message.startswith("level 32")
    assert len(exception.text.encode()) <= 32 * 1024
    assert "bytes left out" in exception.text
    assert exception.frames[-1][2] == "deep"
    assert exception.cause is not None


def test_a_large_value_comes_as_an_open_file() -> None:
    async def scenario() -> tuple[Any, int, bytes]:
        async with a_runner() as runner:
            outcome = await runner.call(functions.large_value)
            value = outcome.value
            assert isinstance(value, HandedOver)
            assert isinstance(value.data, Path)
            data = value.data.read_bytes()
            value.close()
            return value.kind, value.size, data

    kind, size, data = asyncio.run(scenario())
    assert (kind, size) == ("bytes", 8 * MIB)
    assert data == b"v" * (8 * MIB)
