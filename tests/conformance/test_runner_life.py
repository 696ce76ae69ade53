"""The life of a runner: children and runs, killed processes, other interpreters."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import cloudpickle
import pytest
import runner_functions as functions
from geopod.agent.runner_link import Outcome
from runner_builders import (
    DEADLINE_S,
    a_map,
    a_runner,
    a_work,
    children_of,
    interpreter,
    is_alive,
    until,
    value_of,
)

cloudpickle.register_pickle_by_value(functions)


# ---- children and runs


def test_a_child_is_never_shared_between_runs() -> None:
    async def scenario() -> tuple[list[int], list[int]]:
        async with a_runner() as runner:
            first, second = [], []
            for _ in range(3):
                [one] = await runner.run(a_work(functions.process_id, run="first"))
                [two] = await runner.run(a_work(functions.process_id, run="second"))
                first.append(value_of(one))
                second.append(value_of(two))
            return first, second

    first, second = asyncio.run(scenario())
    assert len(set(first)) == 1
    assert len(set(second)) == 1
    assert set(first) != set(second)


def test_a_dying_task_is_charged_and_the_others_go_on() -> None:
    async def scenario() -> list[Outcome]:
        async with a_runner() as runner:
            return await runner.run(a_map(functions.double, range(8)))

    outcomes = asyncio.run(scenario())
    assert [outcome.index for outcome in outcomes if outcome.failure] == [3]
    assert {outcome.index: value_of(outcome) for outcome in outcomes if not outcome.failure} == {
        index: index * 2 for index in range(8) if index != 3
    }


def test_overlapping_calls_of_one_run_share_its_child() -> None:
    async def scenario() -> list[list[Outcome]]:
        async with a_runner() as runner:
            calls = [
                runner.run(a_map(functions.with_process_id, range(15), chosen=range(at, at + 5)))
                for at in (0, 5, 10)
            ]
            return await asyncio.gather(*calls)

    outcomes = [outcome for call in asyncio.run(scenario()) for outcome in call]
    assert len({value_of(outcome)[1] for outcome in outcomes}) == 1
    assert sorted(value_of(outcome)[0] for outcome in outcomes) == list(range(15))


def a_partition(folder: Path, text: str) -> Path:
    """Stage a partition that holds one file with this text."""
    folder.mkdir()
    (folder / "f0").write_text(text)
    done = {"version": 1, "layers": [], "files": [{"key": "f", "file": "f0"}]}
    (folder / "DONE").write_text(json.dumps(done))
    return folder


@pytest.mark.parametrize("at_once", [False, True], ids=["one after the other", "at once"])
def test_each_partition_of_a_run_has_a_child_of_its_own(tmp_path: Path, *, at_once: bool) -> None:
    parts = [a_partition(tmp_path / text, text) for text in ("first", "second", "third")]

    async def scenario() -> list[list[Outcome]]:
        async with a_runner() as runner:
            works = [
                a_work(functions.file_and_process_id, staged=part, tasks=[(index, 1)])
                for index, part in enumerate(parts)
            ]
            if at_once:
                return await asyncio.gather(*(runner.run(work) for work in works))
            return [await runner.run(work) for work in works]

    seen = [value_of(outcome) for [outcome] in asyncio.run(scenario())]
    assert [text for text, _ in seen] == ["first", "second", "third"]
    assert len({pid for _, pid in seen}) == 3


def test_partition_that_waits_for_its_child_can_be_cancelled(tmp_path: Path) -> None:
    parts = [a_partition(tmp_path / text, text) for text in ("first", "second")]

    async def scenario() -> list[list[Outcome]]:
        async with a_runner() as runner:
            running = asyncio.ensure_future(
                runner.run(a_work(functions.work_a_while, staged=parts[0], tasks=[(0, 1)]))
            )
            await asyncio.sleep(0.3)
            waiting = asyncio.ensure_future(
                runner.run(a_work(functions.file_and_process_id, staged=parts[1], tasks=[(1, 1)]))
            )
            await asyncio.sleep(0.1)
            await runner.link.cancel("run-1", [1])
            return [await waiting, await running]

    [cancelled], [done] = asyncio.run(scenario())
    assert cancelled.failure is not None
    assert cancelled.failure.reason == "Cancelled"
    assert value_of(done) == "done"


def test_what_a_child_left_behind_is_killed_with_it() -> None:
    async def scenario() -> None:
        async with a_runner() as runner:
            daemon = value_of(await runner.call(functions.leave_a_daemon))
            await until(lambda: not is_alive(daemon))

    asyncio.run(scenario())


def test_a_run_leaves_no_files_on_scratch() -> None:
    async def scenario() -> None:
        async with a_runner() as runner:
            before = set((runner.scratch / "tasks").iterdir())
            await runner.call(functions.large_value)
            await until(lambda: not before & set((runner.scratch / "tasks").iterdir()))

    asyncio.run(scenario())


def test_tasks_of_a_batch_have_each_its_own_output_context_and_touched_keys(
    tmp_path: Path,
) -> None:
    (tmp_path / "table.csv").write_bytes(b"a,b")

    async def scenario() -> list[Outcome]:
        async with a_runner() as runner:
            files = {"table": tmp_path / "table.csv", "unused": tmp_path / "absent"}
            work = a_work(functions.read_and_print, tasks=[(0, 1), (1, 2)], total=2, files=files)
            return await runner.run(work)

    outcomes = asyncio.run(scenario())
    assert [value_of(outcome) for outcome in outcomes] == [[0, 1, 2, "a,b"], [1, 2, 2, "a,b"]]
    assert [outcome.log.out for outcome in outcomes if outcome.log] == [b"task 0\n", b"task 1\n"]
    assert [outcome.touched for outcome in outcomes] == [["table"], ["table"]]


def test_a_coroutine_function_is_awaited_and_finds_its_context() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            return await runner.call(functions.wait_and_tell, tasks=[(5, 1)], total=9)

    assert value_of(asyncio.run(scenario())) == [5, 9]


def test_a_relative_path_lies_in_the_scratch_folder() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            return await runner.call(functions.write_beside)

    assert value_of(asyncio.run(scenario())) == [True, b"\x89PNG".hex()]


# ---- the template


def test_a_killed_template_comes_back_and_charges_the_running_task_to_the_node() -> None:
    async def scenario() -> tuple[Outcome, Outcome]:
        async with a_runner() as runner:
            running = asyncio.ensure_future(runner.run(a_work(functions.wait_until_cancelled)))
            await until(lambda: bool(runner.progress))
            pids = runner.pids()
            os.kill(pids["templates"][0], signal.SIGKILL)
            message = await runner.until_state(ready=False)
            assert "its process ended" in message
            [lost] = await running
            await until(lambda: not any(is_alive(pid) for pid in pids["children"]))
            await runner.until_state(ready=True)
            return lost, await runner.call(functions.answer)

    lost, after = asyncio.run(scenario())
    assert lost.failure is not None
    assert lost.failure.reason == "NodeLost"
    assert value_of(after)["answer"] == 42


def test_a_new_template_counts_from_one_and_its_children_are_not_taken_for_earlier_ones() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            await runner.run(a_work(functions.answer, run="earlier"))
            await runner.link.end_run("earlier")
            os.kill(runner.pids()["templates"][0], signal.SIGKILL)
            await runner.until_state(ready=False)
            return await runner.call(functions.work_a_while)

    assert value_of(asyncio.run(scenario())) == "done"


def test_a_killed_child_is_told_by_its_signal() -> None:
    async def scenario() -> Outcome:
        async with a_runner() as runner:
            running = asyncio.ensure_future(runner.run(a_work(functions.wait_until_cancelled)))
            await until(lambda: bool(runner.progress))
            for pid in runner.pids()["children"]:
                os.kill(pid, signal.SIGKILL)
            [outcome] = await running
            assert value_of(await runner.call(functions.answer))["answer"] == 42
            return outcome

    outcome = asyncio.run(scenario())
    assert outcome.failure is not None
    assert "died with SIGKILL" in outcome.failure.fact


def test_the_runner_dials_again_after_its_agent_has_gone() -> None:
    async def scenario() -> None:
        async with a_runner() as runner:
            old = runner.pids()["children"]
            await runner.link.close()
            await until(lambda: not any(is_alive(pid) for pid in old))
            await runner.link.start()
            await runner.until_state(ready=True)
            assert value_of(await runner.call(functions.answer))["answer"] == 42

    asyncio.run(scenario())


def test_nothing_outlives_a_killed_runner() -> None:
    async def scenario() -> None:
        async with a_runner() as runner:
            running = asyncio.ensure_future(runner.run(a_work(functions.wait_until_cancelled)))
            await until(lambda: bool(runner.progress))
            pids = runner.pids()
            runner.process.kill()
            runner.process.wait()
            await until(lambda: not any(map(is_alive, pids["templates"] + pids["children"])))
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(scenario())


def test_several_sockets_are_served_by_one_runner() -> None:
    async def scenario() -> list[int]:
        async with a_runner(arguments=["--socket", "/nonexistent/runner.sock"]) as runner:
            assert value_of(await runner.call(functions.answer))["answer"] == 42
            return children_of(runner.process.pid)

    assert len(asyncio.run(scenario())) == 2


def test_preloaded_modules_are_there_in_the_next_child() -> None:
    async def scenario() -> tuple[bool, bool]:
        async with a_runner() as runner:
            before = value_of(await runner.call(functions.has_wave))
            await runner.link.preload(["wave", "no_such_module_anywhere"])
            await until(lambda: len(runner.pids()["children"]) >= 1)
            async with asyncio.timeout(DEADLINE_S):
                while not (after := value_of(await runner.call(functions.has_wave))):
                    pass  # one that stood by before
            return before, after

    assert asyncio.run(scenario()) == (False, True)


# ---- other interpreters

VERSIONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]

FUNCTION = '''
def f(params, ctx):
    """Use what each minor has of its own."""
    import sys
    ctx.log("from the child")
    if ctx.index == 1:
        raise ValueError("empty geometry")
    return {"minor": "{}.{}".format(*sys.version_info), "total": ctx.total, "keys": list(params)}
'''


@pytest.mark.parametrize("minor", VERSIONS)
def test_source_runs_on_every_minor_with_its_own_lines_in_the_traceback(minor: str) -> None:
    async def scenario() -> list[Outcome]:
        async with a_runner(python=interpreter(minor)) as runner:
            assert runner.link.python == minor
            return await runner.run(a_work(FUNCTION, tasks=[(0, 1), (1, 1)], total=2))

    good, bad = asyncio.run(scenario())
    assert value_of(good) == {"minor": minor, "total": 2, "keys": []}
    assert good.log is not None
    assert good.log.err == b"from the child\n"
    assert bad.failure is not None
    assert bad.failure.fact == "raised ValueError: empty geometry"
    exception = bad.failure.exception
    assert exception is not None
    assert exception.args == ["empty geometry"]
    assert exception.frames == [
        ("/home/ana/analysis.py", 13, "f", 'raise ValueError("empty geometry")')
    ]
    assert exception.text.splitlines()[1] == '  File "/home/ana/analysis.py", line 13, in f'


def test_bytecode_of_another_minor_is_never_loaded() -> None:
    other = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"

    async def scenario() -> list[Outcome]:
        async with a_runner(python=interpreter(other)) as runner:
            return await runner.run(a_work(functions.answer))

    [outcome] = asyncio.run(scenario())
    assert outcome.failure is not None
    assert outcome.failure.reason == "FunctionNotLoadable"
    assert "pickled on Python 3.11" in outcome.failure.fact
