"""The SDK end to end on this machine: real processes, the names and sentences users meet."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import geopod
import numpy as np
import pytest
from capture_builders import user_module
from geopod.errors import (
    OutOfMemoryError,
    ProcessCrashedError,
    RemoteFunctionError,
    ResultTooLargeError,
    RunFailedError,
    RunNotFoundError,
    TaskTimeoutError,
    WaitTimeoutError,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPOD_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GEOPOD_PROGRESS", "0")
        yield


@pytest.fixture(scope="module")
def client(home):
    with geopod.connect("local") as connected:
        yield connected
        connected.terminate_all()


@pytest.fixture(scope="module")
def env(client):
    return client.environment("sdk", nodes=2, memory="512Mi")


def index_of(params, ctx):
    return {"index": ctx.index, "total": ctx.total, "layers": len(params)}


def test_every_node_is_called_without_layers(env):
    expected = [{"index": i, "total": 2, "layers": 0} for i in range(2)]
    assert env.execute(index_of) == expected


ANALYSIS = """
from pathlib import Path
import geopod
import own_helpers

@geopod.function(include_modules=["own_helpers"], include_data=[DATA])
def f(x):
    return own_helpers.twice(x) + int(Path("offset.txt").read_text())
"""


def test_function_brings_its_own_files(env, tmp_path):
    (tmp_path / "own_helpers.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "offset.txt").write_text("1")
    text = ANALYSIS.replace("DATA", repr(str(tmp_path / "offset.txt")))
    with user_module(tmp_path, text, name="own_analysis") as analysis:
        assert list(env.map(analysis.f, range(3))) == [1, 3, 5]
        assert analysis.f.capture().format == "bundle"
    del sys.modules["own_helpers"]


def test_arrays_come_back_as_arrays(env):
    results = env.execute(lambda params, ctx: np.full((3, 2), ctx.index, "int16"))
    for index, array in enumerate(results):
        np.testing.assert_array_equal(array, np.full((3, 2), index, "int16"))
        assert array.dtype == "int16"


def test_map_is_the_builtin_map(env):
    assert list(env.map(pow, range(100), [2] * 100)) == [value**2 for value in range(100)]


def test_map_raises_the_first_failure_as_the_users_class(env):
    def check(value):
        if value == 3:
            raise ValueError("three")
        return value

    with pytest.raises(ValueError, match="three"):
        list(env.map(check, range(5)))
    found = list(env.map(check, range(5), errors="return"))
    assert [value for value in found if not isinstance(value, Exception)] == [0, 1, 2, 4]
    assert isinstance(found[3], RemoteFunctionError)


def only_node_one(params, ctx):
    if ctx.index == 1:
        raise KeyError("parcel")
    return "fine"


def test_partial_results_survive_and_rerun_merges(env):
    with pytest.raises(RunFailedError) as caught:
        env.execute(only_node_one)
    assert caught.value.completed == ["fine", None]
    assert "KeyError" in str(caught.value)
    assert env.execute(only_node_one, errors="skip") == ["fine"]


def test_run_is_found_by_name_from_another_process(env):
    run = env.submit(lambda params: 42)
    code = f"import geopod; print(geopod.connect('local').get_run({run.name!r}).results())"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[42, 42]"


def test_unknown_run_names_those_that_exist(client, env):
    env.execute(len)
    with pytest.raises(RunNotFoundError, match="nothing-here"):
        client.get_run("nothing-here")


def chatty(params):
    import sys as system

    print("to stdout")
    system.stderr.write("to stderr\n")


def test_logs_are_kept(env):
    run = env.submit(chatty)
    run.wait()
    lines = {(line.task, line.stream, line.text) for line in run.logs()}
    assert lines == {
        (task, stream, f"to {stream}") for task in range(2) for stream in ("stdout", "stderr")
    }


def hang(params):
    while True:
        pass


def test_deadline_ends_the_task_by_name(env):
    with pytest.raises(TaskTimeoutError) as caught:
        env.execute(hang, task_timeout=0.5)
    assert "s (task_timeout=0.5s)" in str(caught.value.__cause__)


def test_waiting_may_end_before_the_run_does(env):
    run = env.submit(hang)
    with pytest.raises(WaitTimeoutError, match=run.name):
        run.wait(0.3)
    run.cancel()
    run.wait(60)
    assert run.phase == "Cancelled"


def crash(params):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


def leave(params):
    raise SystemExit(0)


def hog(params):
    kept = []
    while True:
        kept.append(bytearray(b"x" * 16_000_000))


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (crash, ProcessCrashedError, "SIGSEGV"),
        (leave, ProcessCrashedError, r"sys\.exit\(0\)"),
        (hog, OutOfMemoryError, "memory limit"),
    ],
    ids=["segfault", "exit", "hog"],
)
def test_death_of_a_child_is_named_and_the_node_goes_on(env, function, error, words):
    with pytest.raises(error) as caught:
        env.execute(function)
    assert re.search(words, str(caught.value.__cause__))
    assert env.execute(len) == [0, 0]


def test_result_over_two_mebibytes_fails_and_is_kept(env, tmp_path):
    run = env.submit(lambda params: b"x" * 2_097_153)
    with pytest.raises(ResultTooLargeError) as caught:
        run.results()
    assert "2,097,152 bytes" in str(caught.value.__cause__)
    assert {path.stat().st_size for path in run.download(tmp_path)} == {2_097_153}
    assert env.execute(lambda params: b"x" * 2_097_152)[0] == b"x" * 2_097_152


def test_tasks_have_the_names_of_futures(env):
    run = env.submit_map(pow, [(2, n) for n in range(5)])
    assert sorted(task.result() for task in run.as_completed()) == [1, 2, 4, 8, 16]
    task = run.tasks[3]
    assert (task.done(), task.cancelled(), task.exception(), task.state) == (
        True,
        False,
        None,
        "succeeded",
    )


def test_check_tells_what_a_function_would_cost(env):
    report = env.check(index_of)
    assert report.ok
    assert report.partitions == (0,)
    assert report.codecs == ("json",)
    assert "cloudpickle" in str(report)


def test_generator_is_no_result(env):
    with pytest.raises(TypeError) as caught:
        env.execute(lambda params: (value for value in range(3)))
    assert "returned a generator" in str(caught.value.__cause__)


def test_context_progress_is_shown(env):
    def slow(params, ctx):
        import threading

        ctx.progress(0.5, "half")
        threading.Event().wait(1.5)

    run = env.submit(slow)
    deadline = time.monotonic() + 20
    seen = ""
    while not run.refresh().done and time.monotonic() < deadline:
        seen = seen or run._aio.state.progress
    assert "half" in seen
