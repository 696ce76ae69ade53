"""Explanations, numbers and origins of runs, and a task run again here, without a cluster."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from dataclasses import replace

import msgspec
import pytest
from geopod.api.results import Failure, TaskReason
from geopod.api.runs import Condition, EnvironmentState
from geopod.client import aio, sync
from geopod.client.aio.explain import Explanation
from geopod.client.loop import shared_loop
from geopod.errors import (
    EnvironmentNotFoundError,
    PythonVersionMismatchError,
    ResultExpiredError,
    RunFailedError,
    TaskCancelledError,
)
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TOO_LARGE = Failure(
    reason=TaskReason.RESULT_TOO_LARGE,
    code="E301",
    fact="returned 7.4 MiB (7,759,113 bytes as npy); the limit with large_result=False is 2 MiB.",
)
FAILED = EnvironmentState(
    uid="uid-e",
    name="e",
    phase="Failed",
    code="E402",
    message="Image 'x' cannot be pulled (unauthorized): no; no pull secret.",
    fixes=["administrator: image or secret of ComputeRuntime 'default'"],
    conditions=[
        Condition(type="Accepted", status=True, reason="Accepted", message="understood."),
        Condition(type="NodesReady", status=False, reason="ImagePullFailed", message="no image."),
        Condition(type="Suspended", status=False, reason="Awake", message="awake."),
    ],
)


def plain(params):
    return len(params)


async def in_environment(*script, nodes=1):
    backend = ScriptedBackend(script, python=PYTHON)
    return backend, await aio.Client(backend).environment("e", nodes=nodes)


async def finished(environment, function=plain, **options):
    run = await environment.submit(function, **options)
    return await run.wait(progress=False)


def test_ready_environment_is_explained_in_one_sentence():
    async def work():
        _, environment = await in_environment(1)
        return await environment.explain()

    found = asyncio.run(work())
    assert found.summary == "'e' is Ready, 1 of 1 nodes ready."
    assert found.ok
    assert not found.fatal
    assert found.fixes == ()


def test_failed_environment_names_the_error_its_conditions_and_the_fix():
    async def work():
        backend, environment = await in_environment(1)
        record = backend.environments["e"]
        backend.environments["e"] = replace(record, state=FAILED)
        return await environment.explain()

    found = asyncio.run(work())
    assert found.fatal
    assert found.facts[0].startswith("start: GP-E402 Image 'x' cannot be pulled")
    assert "NodesReady: ImagePullFailed: no image." in found.facts
    assert found.fixes == ("administrator: image or secret of ComputeRuntime 'default'",)
    assert str(found).endswith("fix: 1) administrator: image or secret of ComputeRuntime 'default'")


def test_run_is_explained_by_its_failures_equal_ones_once():
    async def work():
        _, environment = await in_environment(ValueError("a"), ValueError("b"), 3, nodes=3)
        run = await finished(environment)
        return await run.explain()

    found = asyncio.run(work())
    assert "3 of 3 tasks done, 2 failed" in found.summary
    assert len(found.findings) == 1
    assert "(and 1 more like it)" in found.facts[0]


def test_refused_run_is_explained_and_raised_by_its_reason():
    async def work():
        _, environment = await in_environment(1)
        run = await environment.submit(plain)
        run.state = msgspec.structs.replace(
            run.state,
            phase="Failed",
            reason="InterpreterMismatch",
            message="function made on Python 3.10, environment runs 3.12.",
        )
        run._reader._store.objects.clear()
        explained = await run.explain()
        with pytest.raises(PythonVersionMismatchError, match=r"made on Python 3\.10"):
            await run.results(progress=False)
        return explained

    found = asyncio.run(work())
    assert found.fatal
    assert "GP-E101" in found.facts[0]


def test_run_that_a_deadline_of_its_own_ended_says_so():
    why = "The run did not start within 1 s of its submission (queueTimeoutSeconds)."

    async def work():
        cancelled = Failure(reason=TaskReason.CANCELLED, code="E308", fact="was cancelled.")
        _, environment = await in_environment(cancelled)
        run = await finished(environment)
        run.state = msgspec.structs.replace(run.state, reason="QueueDeadlineExceeded", message=why)
        with pytest.raises(RunFailedError) as caught:
            await run.results(progress=False)
        return caught.value

    error = asyncio.run(work())
    assert str(error) == f'GP-E309 {why}\nfix: 1) run.explain() 2) run.rerun(tasks="all")'
    assert not isinstance(error, TaskCancelledError)
    assert isinstance(error.exceptions[0], TaskCancelledError)
    assert (error.completed, error.counts["failed"]) == ([None], 1)


def test_waiting_run_is_explained_by_its_environment():
    async def work():
        backend, environment = await in_environment(1)
        run = await environment.submit(plain)
        backend.run_states[run.name] = msgspec.structs.replace(run.state, phase="Queued")
        return await run.explain()

    assert "environment: 'e' is Ready, 1 of 1 nodes ready." in asyncio.run(work()).facts


def test_doctor_says_what_is_wrong():
    async def work():
        return await aio.Client(ScriptedBackend([1], python=PYTHON)).doctor()

    found = asyncio.run(work())
    assert isinstance(found, Explanation)
    assert found.summary == "target 'scripted', namespace 'testing': all is well."


def test_stats_count_tasks_and_time():
    async def work():
        _, environment = await in_environment(1, ValueError("x"), None, nodes=3)
        return await (await finished(environment)).stats()

    stats = asyncio.run(work())
    assert (stats.tasks, stats.finished, stats.failed) == (3, 3, 1)
    assert stats.tasks_by_node == {0: 1, 1: 1, 2: 1}
    assert stats.result_bytes == len("1") + len("null")
    assert "3 of 3 tasks ended, 1 failed" in str(stats)


def test_provenance_is_json_and_names_function_and_results():
    async def work():
        _, environment = await in_environment(5)
        return await (await finished(environment, tags=["x"])).provenance()

    found = asyncio.run(work())
    assert json.loads(json.dumps(found))["function"]["name"] == "plain"
    assert found["results"][0]["codec"] == "json"
    assert found["run"]["tags"] == ["x"]
    assert found["layers"] == []


def test_values_over_the_limit_are_counted_in_every_ones_sentence():
    async def work():
        _, environment = await in_environment(TOO_LARGE, TOO_LARGE, 3, nodes=3)
        run = await finished(environment)
        return await run.results(errors="return", progress=False)

    first = asyncio.run(work())[0]
    assert "2 tasks are over it; all are kept until they expire." in first.fact


def test_results_that_the_store_forgot_are_said_to_have_expired():
    async def work():
        _, environment = await in_environment(5)
        run = await finished(environment)
        run._reader._store.objects.clear()
        await run.results(errors="raise", progress=False)

    with pytest.raises(ResultExpiredError, match="expired at"):
        asyncio.run(work())


def doubled(value, *, by=2):
    return value * by


async def later(value, ctx):
    await asyncio.sleep(0)
    return value, ctx.index, ctx.total


def test_task_of_a_map_runs_again_here():
    backend = ScriptedBackend([0, 0, 0], python=PYTHON)
    environment = sync.Client(aio.Client(backend), shared_loop()).environment("e", progress=False)
    run = environment.submit_map(doubled, [(1,), (2,), (3,)], {"by": 10})
    run.wait(progress=False)
    assert [task.reproduce() for task in run.tasks] == [10, 20, 30]


def test_coroutine_function_runs_again_with_its_context():
    backend = ScriptedBackend([0, 0], python=PYTHON)
    environment = sync.Client(aio.Client(backend), shared_loop()).environment("e", progress=False)
    run = environment.submit_map(later, [("a",), ("b",)])
    run.wait(progress=False)
    assert run.tasks[1].reproduce() == ("b", 1, 2)


def variable(name, ctx):
    return os.environ.get(name)


def test_task_runs_again_with_its_own_environment_variables(monkeypatch):
    monkeypatch.setenv("TILE", "mine")
    backend = ScriptedBackend([0, 0], python=PYTHON)
    environment = sync.Client(aio.Client(backend), shared_loop()).environment("e", progress=False)
    run = environment.submit_map(
        variable, [("TILE",), ("TILE",)], environments=[{"TILE": "31UFU"}, None]
    )
    run.wait(progress=False)
    assert [task.reproduce() for task in run.tasks] == ["31UFU", "mine"]
    assert os.environ["TILE"] == "mine"


def boom(value):
    raise KeyError(value)


def test_reproduced_failure_is_the_users_own_exception():
    async def work():
        _, environment = await in_environment(0)
        run = await environment.submit_map(boom, [("parcel",)])
        await run.tasks[0].reproduce()

    with pytest.raises(KeyError, match="parcel"):
        asyncio.run(work())


def test_task_without_layers_is_called_with_empty_params():
    async def work():
        _, environment = await in_environment(0)
        return await (await finished(environment)).tasks[0].reproduce()

    assert asyncio.run(work()) == 0


def test_debugger_begins_in_the_function_and_in_no_finalizer(monkeypatch, capsys):
    settrace = sys.settrace

    def finalizer():
        """Stand for what the garbage collector may call at any moment."""

    def traced(trace):
        settrace(trace)
        finalizer()

    async def work():
        _, environment = await in_environment(0)
        run = await finished(environment)
        monkeypatch.setattr(sys, "settrace", traced)
        return await run.tasks[0].reproduce(debug=True)

    monkeypatch.setattr(sys, "stdin", io.StringIO("c\n"))
    listening = signal.getsignal(signal.SIGINT)
    assert asyncio.run(work()) == 0
    assert "-> return len(params)" in capsys.readouterr().out.splitlines()
    assert signal.getsignal(signal.SIGINT) is listening


def test_packages_that_differ_here_are_told_before_a_task_is_reproduced():
    asked = ["pytest>=1", "pytest<1", "no-such-package>=2", "pytest<1; python_version < '3'"]

    async def work():
        backend, environment = await in_environment(0)
        run = await finished(environment)
        record = backend.environments["e"]
        spec = {**record.spec, "requirements": asked}
        backend.environments["e"] = replace(record, spec=spec)
        with pytest.warns(UserWarning, match="otherwise here") as told:
            await run.tasks[0].reproduce()
        backend.environments.clear()  # nobody knows its packages any more
        assert await run.tasks[0].reproduce() == 0
        return [str(warning.message) for warning in told]

    (said,) = asyncio.run(work())
    assert said == (
        f"'plain' ran with pytest<1 (here: {pytest.__version__}), no-such-package>=2 (here: none): "
        "it may behave otherwise here."
    )


def test_bytecode_of_another_minor_is_not_loaded_here():
    async def work():
        _, environment = await in_environment(0)
        run = await finished(environment)
        function = msgspec.structs.replace(run.order.function, python="3.9")
        run.order = msgspec.structs.replace(run.order, function=function)
        await run.tasks[0].reproduce()

    with pytest.raises(PythonVersionMismatchError, match=r"made on Python 3\.9"):
        asyncio.run(work())


STARTING = EnvironmentState(
    uid="uid-e",
    name="e",
    phase="Starting",
    nodes=1,
    conditions=[
        Condition(type="NodesReady", status=False, reason="Unschedulable", message="no machine.")
    ],
)


def test_wait_in_which_nothing_moves_says_why_once(monkeypatch, capsys):
    monkeypatch.setattr("geopod.client.aio.stillness.STILL_S", 0.01)

    class Still(ScriptedBackend):
        async def watch_environment(self, name):
            self.environments[name] = replace(self.environments[name], state=STARTING)
            for _ in range(3):
                yield STARTING
            for _ in range(3):
                await self.explained.wait()
                self.explained.clear()
            yield msgspec.structs.replace(STARTING, phase="Ready")

        async def diagnose(self, environment=None):
            self.explained.set()
            return []

    async def work():
        backend = Still([1], python=PYTHON)
        backend.explained = asyncio.Event()
        return (await aio.Client(backend).environment("e", progress=True)).phase

    assert asyncio.run(work()) == "Ready"
    told = capsys.readouterr().err
    assert told.count("NodesReady: Unschedulable: no machine.") == 1


def test_environment_that_is_deleted_while_it_starts_is_missing():
    class Deleted(ScriptedBackend):
        async def watch_environment(self, name):
            self.environments.pop(name)
            yield STARTING

    with pytest.raises(EnvironmentNotFoundError):
        asyncio.run(aio.Client(Deleted([1], python=PYTHON)).environment("e", progress=False))


def test_run_that_waits_for_its_environment_says_why(monkeypatch, capsys):
    monkeypatch.setattr("geopod.client.aio.stillness.STILL_S", 0.01)

    class Waiting(ScriptedBackend):
        async def submit(self, order):
            async for state in super().submit(order):
                yield state
                if state.phase == "Queued":
                    self.environments["e"] = replace(self.environments["e"], state=STARTING)
                    self.run_states[order.name] = state
                    await self.explained.wait()

        async def diagnose(self, environment=None):
            asyncio.get_running_loop().call_later(0.01, self.explained.set)
            return []

    async def work():
        backend = Waiting([1], python=PYTHON)
        backend.explained = asyncio.Event()
        environment = await aio.Client(backend).environment("e", progress=False)
        return await environment.execute(plain, progress=True)

    assert asyncio.run(work()) == [1]
    assert "NodesReady: Unschedulable: no machine." in capsys.readouterr().err
