"""What the SDK promises, on whatever backend: each case takes a `Place` and asserts the same there.

The functions that are sent stand alone, so that they also run on another minor of Python: a
cluster's nodes need not have the client's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopod
import numpy as np
import pytest
from capture_builders import user_module
from geopod.codecs import PickledResult
from geopod.errors import (
    EnvironmentNotFoundError,
    InvalidInputError,
    OutOfMemoryError,
    ProcessCrashedError,
    RemoteFunctionError,
    RequirementsBuildError,
    ResultNotSerializableError,
    ResultTooLargeError,
    RunFailedError,
    RunNotFoundError,
    TaskCancelledError,
    TaskTimeoutError,
    WaitTimeoutError,
)
from terminal_builders import Session

NODES = 2
DEADLINE_S = 180
OWN_INTERPRETER = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Place:
    """Where the cases run: a client, two nodes without layers, and how another client comes."""

    client: geopod.Client
    env: geopod.Environment
    connect: Callable[[], geopod.Client]
    folder: Path
    target: str
    """What `connect` is given for it, in any process of this environment."""

    @property
    def namespace(self) -> str:
        """Where its environments and runs are."""
        return str(self.client._aio._backend.namespace)


def index_of(params, ctx):
    return {"index": ctx.index, "total": ctx.total, "layers": len(params)}


def only_node_one(params, ctx):
    if ctx.index == 1:
        raise KeyError("parcel")
    return "fine"


def refuses_three(value):
    if value == 3:
        raise ValueError("three")
    return value


def power(base, exponent):
    return base**exponent


def chatty(params):
    import sys

    print("to stdout")
    print("to stderr", file=sys.stderr)


def hang(params):
    while True:
        pass


def crash(params):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


def leave(params):
    raise SystemExit(0)


def a_generator(params):
    return (value for value in range(3))


def too_large(params):
    return b"x" * 2_097_153


def just_small_enough(params):
    return b"x" * 2_097_152


async def later(value):
    import asyncio

    await asyncio.sleep(0)
    return value + 1


def made(kind):
    """Return a value of every codec that needs no geo library."""
    import numpy as np

    kinds = {
        "none": None,
        "tuple": (1, 2),
        "number-key": {3: "three"},
        "text": "Zürich",
        "scalar": np.float32(0.5),
        "array": np.arange(6, dtype="int16").reshape(2, 3),
        "tree": {"a": [np.ones(2), "b"]},
        "bytes": b"\x00\xff",
    }
    return kinds[kind]


def counted(number, size):
    import numpy as np

    return np.full(size, number, "float64")


def variables_of(*names):
    import os

    return [os.environ.get(name) for name in names]


def spoil(number, *, table, seen):
    before = [int(table.sum()), len(seen)]
    table[:] = number
    seen.append(number)
    return before


def hog_on_node_one(params, ctx):
    kept = []
    while ctx.index == 1:
        kept.append(bytearray(b"x" * 16_000_000))
    return "fine"


def half_done(params, ctx):
    import threading

    ctx.progress(0.5, "half")
    threading.Event().wait(600)


def nothing(params):
    return b""


def a_set(params):
    return {1, 2}


def every_node_is_called_without_layers(place):
    expected = [{"index": i, "total": NODES, "layers": 0} for i in range(NODES)]
    assert place.env.execute(index_of) == expected


def values_come_back_as_documented(place):
    kinds = ["none", "tuple", "number-key", "text", "scalar", "array", "tree", "bytes"]
    found = dict(zip(kinds, place.env.map(made, kinds), strict=True))
    plain = {kind: found[kind] for kind in kinds if kind not in {"array", "tree"}}
    assert plain == {
        "none": None,
        "tuple": [1, 2],
        "number-key": {"3": "three"},
        "text": "Zürich",
        "scalar": 0.5,
        "bytes": b"\x00\xff",
    }
    np.testing.assert_array_equal(found["array"], np.arange(6, dtype="int16").reshape(2, 3))
    assert found["array"].dtype == "int16"
    np.testing.assert_array_equal(found["tree"]["a"][0], np.ones(2))
    assert found["tree"]["a"][1] == "b"


def results_of_every_size_come_back_whole(place):
    sizes = [8, 40, 7_000, 9_000, 12_500, 30_000, 33_000, 40_000] * 4
    found = list(place.env.map(counted, range(len(sizes)), sizes))
    assert [(int(array[0]), array.size) for array in found] == list(enumerate(sizes))
    run = place.env.submit_map(counted, [(1, size) for size in sizes])
    paths = run.download(place.folder / run.name)
    assert [path.stat().st_size for path in paths] == [128 + 8 * size for size in sizes]


def no_bytes_are_a_result_too(place):
    assert place.env.execute(nothing) == [b""] * NODES
    run = place.env.submit_map(bytes, [(0,), (1,), (0,)])
    assert run.results() == [b"", b"\0", b""]
    paths = run.download(place.folder / run.name)
    assert [path.stat().st_size for path in paths] == [0, 1, 0]
    assert place.client.get_run(run.name).results() == [b"", b"\0", b""]


def pickles_stay_closed_until_they_are_asked_for(place):
    run = place.env.submit(a_set)
    marked = run.results()[0]
    assert isinstance(marked, PickledResult)
    assert marked.type_name == "set"
    assert marked.load() == {1, 2}
    assert run.results(allow_pickle=True) == [{1, 2}] * NODES


def map_is_the_builtin_map(place):
    assert list(place.env.map(power, range(50), [2] * 50)) == [value**2 for value in range(50)]
    assert list(place.env.map(later, [1, 2])) == [2, 3]


ANALYSIS = """
from pathlib import Path
import geopod
import own_helpers

@geopod.function(include_modules=["own_helpers"], include_data=[DATA])
def f(x):
    return own_helpers.twice(x) + int(Path("offset.txt").read_text())
"""


def function_brings_its_own_files(place):
    (place.folder / "own_helpers.py").write_text("def twice(x):\n    return 2 * x\n")
    (place.folder / "offset.txt").write_text("1")
    text = ANALYSIS.replace("DATA", repr(str(place.folder / "offset.txt")))
    with user_module(place.folder, text, name="own_analysis") as analysis:
        assert list(place.env.map(analysis.f, range(3))) == [1, 3, 5]
        assert analysis.f.capture().format == "bundle"
    del sys.modules["own_helpers"]


def closures_travel_to_the_same_minor(place):
    assert place.env.interpreter == OWN_INTERPRETER
    shape = (3, 2)
    results = place.env.execute(lambda params, ctx: np.full(shape, ctx.index, "int16"))
    for index, array in enumerate(results):
        np.testing.assert_array_equal(array, np.full(shape, index, "int16"))


def each_task_has_environment_variables_of_its_own(place):
    names = [("GEOPOD_TEST_TILE", "HOME")] * 3
    run = place.env.submit_map(
        variables_of, names, environments=[{"GEOPOD_TEST_TILE": "31UFU"}, None, {"HOME": "/moon"}]
    )
    (own, home), (none, same), (other, moon) = run.results()
    assert (own, none, other) == ("31UFU", None, None)
    assert home == same != "/moon"
    assert moon == "/moon"
    with pytest.raises(InvalidInputError, match="is no environment variable"):
        place.env.submit_map(variables_of, [()], environments=[{"TILE": 31}])


def keywords_of_all_tasks_are_each_tasks_own(place):
    shared = {"table": np.zeros(3_000_000, "uint8"), "seen": []}
    run = place.env.submit_map(spoil, [(number,) for number in range(1, 9)], shared)
    assert run.results() == [[0, 0]] * 8
    assert run.rerun(tasks=[2, 5]).results() == [[0, 0]] * 8
    assert [run.tasks[5].reproduce() for _ in range(2)] == [[0, 0]] * 2


def first_failure_of_a_map_is_the_users_class(place):
    with pytest.raises(ValueError, match="three") as caught:
        list(place.env.map(refuses_three, range(5)))
    assert isinstance(caught.value, RemoteFunctionError)
    assert re.match(r"GP-E307 three \(task 3 of 5, node \d, attempt 1\)", str(caught.value)), (
        caught.value
    )
    assert any('raise ValueError("three")' in note for note in caught.value.__notes__)
    found = list(place.env.map(refuses_three, range(5), errors="return"))
    assert [value for value in found if not isinstance(value, Exception)] == [0, 1, 2, 4]
    assert isinstance(found[3], RemoteFunctionError)
    assert list(place.env.map(refuses_three, range(5), errors="skip")) == [0, 1, 2, 4]


def failure_is_raised_and_not_what_was_cancelled_for_it(place):
    def waits_or_refuses(number):
        import threading

        if number:
            raise ValueError("one")
        threading.Event().wait(120)

    with pytest.raises(ValueError, match="one"):
        list(place.env.map(waits_or_refuses, range(2)))


def input_that_raises_propagates(place):
    def numbers():
        yield 1
        raise OSError("the list of scenes ended early")

    with pytest.raises(OSError, match="ended early"):
        list(place.env.map(power, numbers(), [2] * 5))


def partial_results_survive_and_rerun_merges(place):
    with pytest.raises(RunFailedError) as caught:
        place.env.execute(only_node_one)
    error = caught.value
    assert error.completed == ["fine", None]
    assert isinstance(error, KeyError)
    assert str(error) == (
        "GP-E309 1 of 2 tasks failed: 1 \N{MULTIPLICATION SIGN} KeyError \"'parcel'\" (task 1). "
        "1 result kept.\nfix: 1) run.results(errors='return')"
    )
    assert [task.index for task in error.run.failed] == [1]
    again = error.run.rerun()
    assert [task.index for task in again.failed] == [1]
    found = again.results(errors="return")
    assert found[0] == "fine"
    assert isinstance(found[1], KeyError)
    assert len(again.tasks) == 1


def run_is_found_by_name_from_elsewhere(place):
    run = place.env.submit(index_of, tags=["survey"])
    with place.connect() as other:
        found = other.get_run(run.name)
        assert found.results() == run.results()
        assert found.tags == ("survey",)
        assert run.name in [known.name for known in other.runs()]
        assert other.get_environment(place.env.name).id == place.env.id


def run_is_found_by_name_from_another_process(place):
    run = place.env.submit(index_of).wait()
    where = f"{place.target!r}, namespace={place.namespace!r}"
    code = f"import geopod; print(geopod.connect({where}).get_run({run.name!r}).results())"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == repr(run.results())


def unknown_names_say_what_there_is(place):
    with pytest.raises(RunNotFoundError, match="No run 'ndvi-zzz'"):
        place.client.get_run("ndvi-zzz")
    with pytest.raises(EnvironmentNotFoundError, match=f"Yours: .*{place.env.name}"):
        place.client.get_environment("ndvi-zzz")


def logs_are_kept(place):
    run = place.env.submit(chatty).wait()
    lines = {(line.task, line.stream, line.text) for line in run.logs()}
    assert lines == {
        (task, stream, f"to {stream}") for task in range(NODES) for stream in ("stdout", "stderr")
    }
    assert {line.task for line in run.logs(task=1)} == {1}
    assert len(list(run.logs(since="1h"))) == 2 * NODES
    assert list(run.logs(since=0)) == []


def missing_log_says_why(place):
    run = place.env.submit(index_of).wait()
    assert list(run.logs()) == []
    assert run.why_no_logs() == f"run {run.name}: no output was written"


def deadline_ends_the_task_by_name(place):
    with pytest.raises(TaskTimeoutError) as caught:
        place.env.execute(hang, task_timeout=1)
    cause = str(caught.value.__cause__)
    assert re.match(
        r"GP-E302 Task \d of 2 was stopped after \S+ \(task_timeout=1s\), attempt 1 of 1\.", cause
    ), cause
    assert "run.rerun(task_timeout=" in cause


def waiting_may_end_before_the_run_does(place):
    run = place.env.submit(hang)
    with pytest.raises(WaitTimeoutError, match=f"run '{run.name}' goes on"):
        run.wait(0.3)
    run.cancel()
    run.cancel()  # twice: nothing
    run.wait(DEADLINE_S)
    assert run.phase == "Cancelled"
    assert isinstance(run.tasks[0].exception(), TaskCancelledError)
    assert run.tasks[0].cancelled()


def death_of_a_process_is_named_and_the_node_goes_on(place):
    for function, words in ((crash, "SIGSEGV"), (leave, r"sys\.exit\(0\)")):
        with pytest.raises(ProcessCrashedError) as caught:
            place.env.execute(function)
        assert re.search(words, str(caught.value.__cause__))
    assert place.env.execute(len) == [0] * NODES


def value_over_two_mebibytes_fails_and_is_kept(place):
    run = place.env.submit(too_large)
    with pytest.raises(ResultTooLargeError) as caught:
        run.results()
    assert str(caught.value.__cause__).startswith(
        "GP-E301 Task 0 of 2 returned 2.0 MiB (2,097,153 bytes as bytes); the limit with "
        "large_result=False is 2 MiB (2,097,152 bytes). 2 tasks are over it; all are kept"
    )
    folder = place.folder / run.name
    assert {path.stat().st_size for path in run.download(folder)} == {2_097_153}


def value_of_two_mebibytes_is_no_large_one(place):
    found = place.env.execute(just_small_enough)
    assert found == [b"x" * 2_097_152] * NODES


def generator_is_no_result(place):
    with pytest.raises(ResultNotSerializableError) as caught:
        place.env.execute(a_generator)
    assert "returned a generator" in str(caught.value.__cause__)


def tasks_have_the_names_of_futures(place):
    run = place.env.submit_map(power, [(2, n) for n in range(5)])
    assert sorted(task.result() for task in run.as_completed()) == [1, 2, 4, 8, 16]
    task = run.tasks[3]
    called = []
    task.add_done_callback(called.append)
    assert (task.done(), task.cancelled(), task.exception()) == (True, False, None)
    assert (task.state, task.reason, task.attempts) == ("succeeded", "", 1)
    assert task.node in range(NODES)
    assert task.runtime >= 0
    assert "is succeeded" in task.explain().summary
    assert list(run.iter_results()) == [1, 2, 4, 8, 16]
    assert called == [task]


def run_tells_its_numbers_and_origins(place):
    run = place.env.submit(index_of).wait()
    assert run.counts["succeeded"] == NODES
    assert run.stats().finished == NODES
    told = json.loads(json.dumps(run.provenance()))
    assert told["function"]["name"] == "index_of"
    assert len(told["results"]) == NODES
    assert "2 of 2 tasks done" in run.explain().summary
    assert place.env.explain().ok
    assert repr(run) == f"<Run {run.name} Succeeded 2/2>"


def check_tells_what_a_function_would_cost(place):
    report = place.env.check(index_of)
    assert report.ok
    assert report.partitions == (0,)
    assert report.codecs == ("json",)
    assert not place.env.check(a_generator).ok


def two_clients_with_one_name_share_the_environment(place):
    with place.connect() as other:
        same = other.get_environment(place.env.name)
        runs = [env.submit(index_of) for env in (place.env, same)]
        assert runs[0].name != runs[1].name
        assert runs[0].results() == runs[1].results()
        assert {run.environment for run in runs} == {place.env.id}


def child_over_its_memory_is_named_and_the_others_results_stay(place):
    with pytest.raises(OutOfMemoryError) as caught:
        place.env.execute(hog_on_node_one)
    error = caught.value
    assert isinstance(error, RunFailedError)
    assert error.completed == ["fine", None]
    said = str(error.__cause__)
    assert re.match(r"GP-E304 Task 1 was killed at its \S+ MiB memory limit", said), said
    assert "fix: 1) memory=" in said
    assert place.env.execute(len) == [0] * NODES


def progress_of_a_task_is_shown(place):
    run = place.env.submit(half_done)
    deadline = time.monotonic() + DEADLINE_S
    facts: tuple[str, ...] = ()
    while not any("50 % half" in fact for fact in facts) and time.monotonic() < deadline:
        facts = run.explain().facts
    run.cancel()
    run.wait(DEADLINE_S)
    assert any("50 % half" in fact for fact in facts), facts


def log_of_an_installation_is_followed_to_its_end(place):
    env = place.client.environment("log", requirements=["no-such-package-of-geopod"], wait=False)
    lines = list(env.build_log(follow=True))
    assert any("No solution found when resolving dependencies" in line for line in lines), lines
    assert lines == env.build_log().splitlines()
    with pytest.raises(RequirementsBuildError):
        env.wait_ready(DEADLINE_S, progress=False)
    assert env.refresh_state().phase == "Failed"
    env.delete()


SCRIPT = """
def slow(params):
    import threading
    threading.Event().wait(600)
"""


@contextmanager
def command_that_waits(place):
    """Give `geopod run` on a terminal that shows its line, and its run."""
    script = place.folder / "analysis_that_waits.py"
    script.write_text(SCRIPT)
    before = {run.name for run in place.client.runs()}
    where = ("--target", place.target, "--namespace", place.namespace)
    session = Session(*where, "run", f"{script}:slow", "--env", place.env.name)
    watchdog = threading.Timer(DEADLINE_S, session.process.kill)
    watchdog.start()
    session.until(f"0/{NODES}")
    (run,) = [run for run in place.client.runs() if run.name not in before]
    try:
        yield session, run
    finally:
        watchdog.cancel()
        run.cancel()
        run.wait(DEADLINE_S)


def first_ctrl_c_leaves_the_run_and_says_how_to_find_it(place):
    with command_that_waits(place) as (session, run):
        session.press_ctrl_c()
        session.until(
            rf"run {run.name} goes on; Ctrl-C again within 3 s cancels it; "
            rf'client\.get_run\("{run.name}"\) finds it\r\n'
        )
        assert session.exit_code() == 130
        assert "Traceback" not in session.said
        assert not run.refresh().done


def second_ctrl_c_cancels_the_run(place):
    with command_that_waits(place) as (session, run):
        session.press_ctrl_c()
        session.until("goes on")
        session.press_ctrl_c()
        assert session.exit_code() == 130
        assert f"run {run.name} is being cancelled" in session.said
        run.wait(DEADLINE_S)
        assert run.phase == "Cancelled"


def name_of_a_run_is_one_runs_alone(place):
    run = place.env.submit(index_of, name="named")
    assert place.env.submit(index_of, name="named").id == run.id
    with pytest.raises(InvalidInputError, match="name='named' is the name of another run"):
        place.env.submit(nothing, name="named")
    with pytest.raises(InvalidInputError, match="name='Named_1' is no resource name"):
        place.env.submit(index_of, name="Named_1")


CASES: dict[str, Callable[[Any], None]] = {
    case.__name__: case
    for case in (
        log_of_an_installation_is_followed_to_its_end,
        every_node_is_called_without_layers,
        values_come_back_as_documented,
        results_of_every_size_come_back_whole,
        no_bytes_are_a_result_too,
        pickles_stay_closed_until_they_are_asked_for,
        map_is_the_builtin_map,
        function_brings_its_own_files,
        closures_travel_to_the_same_minor,
        each_task_has_environment_variables_of_its_own,
        keywords_of_all_tasks_are_each_tasks_own,
        first_failure_of_a_map_is_the_users_class,
        failure_is_raised_and_not_what_was_cancelled_for_it,
        input_that_raises_propagates,
        partial_results_survive_and_rerun_merges,
        run_is_found_by_name_from_elsewhere,
        run_is_found_by_name_from_another_process,
        unknown_names_say_what_there_is,
        logs_are_kept,
        missing_log_says_why,
        deadline_ends_the_task_by_name,
        waiting_may_end_before_the_run_does,
        death_of_a_process_is_named_and_the_node_goes_on,
        value_of_two_mebibytes_is_no_large_one,
        value_over_two_mebibytes_fails_and_is_kept,
        generator_is_no_result,
        tasks_have_the_names_of_futures,
        run_tells_its_numbers_and_origins,
        check_tells_what_a_function_would_cost,
        two_clients_with_one_name_share_the_environment,
        name_of_a_run_is_one_runs_alone,
        child_over_its_memory_is_named_and_the_others_results_stay,
        progress_of_a_task_is_shown,
        first_ctrl_c_leaves_the_run_and_says_how_to_find_it,
        second_ctrl_c_cancels_the_run,
    )
}
