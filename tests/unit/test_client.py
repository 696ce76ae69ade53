"""The client against a scripted backend: what is sent, what comes back, what is raised."""

from __future__ import annotations

import asyncio
import inspect
import sys

import geopod
import msgspec
import pytest
from geopod.api.names import own_suffix
from geopod.api.results import Failure, TaskReason
from geopod.api.runs import EnvironmentState
from geopod.client import aio, sync
from geopod.client.loop import shared_loop
from geopod.display.progress import Progress
from geopod.errors import (
    EnvironmentTerminatedError,
    InconsistentPartsError,
    InvalidInputError,
    LayerNotFoundError,
    OutOfMemoryError,
    RequirementsError,
    RunFailedError,
)
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OUT_OF_MEMORY = Failure(
    reason=TaskReason.OUT_OF_MEMORY,
    code="E304",
    fact="was killed at its 4.0 GiB memory limit (exit 137).",
    fixes=["memory='8Gi'"],
)


def plain(params):
    return len(params)


def scripted(*script, states=()):
    return ScriptedBackend(script, python=PYTHON, states=states)


def run(work):
    return asyncio.run(work)


def test_execute_returns_one_element_per_node_in_order():
    async def work():
        async with aio.Client(scripted({"a": 1}, None, [3])) as client:
            env = await client.environment("e", nodes=3)
            return await env.execute(plain, progress=False)

    assert run(work()) == [{"a": 1}, None, [3]]


def test_equal_calls_are_runs_of_their_own_and_lists_are_read_anew():
    async def work():
        backend = scripted(1)
        client = aio.Client(backend)
        env = await client.environment("e", nodes=1)
        tags = ["first"]
        for _ in range(2):
            await env.submit(plain, tags=tags)
            await env.submit(plain, tags=("kept",))
            tags.append("more")
        return list(backend.orders.values())

    orders = run(work())
    assert len({order.uid for order in orders}) == len({order.name for order in orders}) == 4
    assert all(order.name.endswith(own_suffix(order.uid)) for order in orders)
    assert [order.tags for order in orders] == [["first"], ["kept"], ["first", "more"], ["kept"]]


def test_one_failure_keeps_the_others_results():
    async def work():
        client = aio.Client(scripted(1, ValueError("empty geometry"), 3))
        env = await client.environment("e", nodes=3)
        await env.execute(plain, progress=False)

    with pytest.raises(RunFailedError, match="empty geometry") as caught:
        run(work())
    assert caught.value.completed == [1, None, 3]
    assert list(caught.value.exceptions) == [1]
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("errors", "expected"), [("return", [1, "GP-E304", 3]), ("skip", [1, 3])], ids=str
)
def test_errors_may_be_returned_or_skipped(errors, expected):
    async def work():
        client = aio.Client(scripted(1, OUT_OF_MEMORY, 3))
        env = await client.environment("e", nodes=3)
        return await env.execute(plain, errors=errors, progress=False)

    found = run(work())
    assert [str(v)[:7] if isinstance(v, OutOfMemoryError) else v for v in found] == expected


@pytest.mark.parametrize("gather", [lambda it: it.results(progress=False), sync.gather])
def test_the_run_of_a_failure_is_as_plain_as_the_client(gather):
    client = sync.Client(aio.Client(scripted(1, OUT_OF_MEMORY)), shared_loop())
    submitted = client.environment("e", nodes=2).submit(plain)
    with pytest.raises(RunFailedError) as caught:
        gather(submitted)
    assert [task.index for task in caught.value.run.failed] == [1]


def test_tasks_of_a_run_that_was_only_waited_for_are_what_they_became():
    client = sync.Client(aio.Client(scripted(1, OUT_OF_MEMORY)), shared_loop())
    tasks = client.environment("e", nodes=2).submit(plain).wait(progress=False).tasks
    assert [task.state for task in tasks] == ["succeeded", "failed"]
    assert repr([task.reason for task in tasks]) == "['', 'OutOfMemory']"


def test_state_of_a_run_tells_those_of_its_tasks_before_their_records_are_read():
    async def work():
        client = aio.Client(scripted(1, OUT_OF_MEMORY, 3))
        env = await client.environment("e", nodes=4)
        ended = await (await env.submit(plain)).wait(progress=False)
        told = {"completed_indexes": "0,2", "failed_indexes": "1"}
        ended.state = msgspec.structs.replace(ended.state, **told)
        return [aio.Task(ended, index).state for index in range(4)]

    assert run(work()) == ["succeeded", "failed", "succeeded", "cancelled"]


def test_layer_counts_its_timestamps():
    assert repr(geopod.LayerRef("dem", "raster", ("2024",))) == (
        "<Layer dem raster, 1 timestamp: 2024>"
    )


def test_rerun_takes_the_failed_tasks_and_merges_their_results():
    backend = scripted(1, ValueError("first"), 3, ValueError("second"))

    async def work():
        client = aio.Client(backend)
        env = await client.environment("e", nodes=4)
        first = await env.submit(plain)
        await first.wait(progress=False)
        backend._script = ["mended"]
        again = await first.rerun()
        return again, await again.results(progress=False)

    again, results = run(work())
    assert results == [1, "mended", 3, "mended"]
    assert again.order.partitions == [1, 3]
    assert again.order.rerun_tasks == [1, 3]
    assert again.order.name != again.order.rerun_of


def test_a_rerun_of_a_rerun_keeps_the_places_of_the_first_maps_tasks():
    backend = scripted("a", ValueError("first"), "c", ValueError("second"))

    async def work():
        client = aio.Client(backend)
        env = await client.environment("e", nodes=2)
        first = await env.submit_map(plain, [(i,) for i in range(4)])
        await first.wait(progress=False)
        backend._script = ["b", ValueError("again")]
        second = await first.rerun()
        await second.wait(progress=False)
        backend._script = ["d"]
        third = await second.rerun()
        known = await client.get_run(third.name)
        return await third.results(progress=False), await known.results(progress=False)

    assert run(work()) == (["a", "b", "c", "d"], ["a", "b", "c", "d"])


def test_a_rerun_whose_results_are_no_layer_does_not_pass_for_one():
    backend = scripted(1, ValueError("first"))

    async def work():
        client = aio.Client(backend)
        env = await client.environment("e", nodes=2)
        first = await env.submit(plain)
        await first.wait(progress=False)
        backend._script = ["mended"]
        again = await (await first.rerun()).wait(progress=False)
        told = {"phase": "Failed", "reason": "InconsistentParts", "message": "The parts overlap."}
        again.state = msgspec.structs.replace(again.state, **told)
        assert await again.results(errors="return") == [1, "mended"]
        await again.results()

    with pytest.raises(InconsistentPartsError, match="The parts overlap"):
        run(work())


def test_a_rerun_over_another_number_of_partitions_is_refused_before_it_runs():
    async def work():
        client = aio.Client(scripted(1, ValueError("first")))
        env = await client.environment("e", nodes=2)
        first = await env.submit(plain)
        await first.wait(progress=False)
        await env.scale(4)
        await first.rerun()

    with pytest.raises(InconsistentPartsError, match="nothing was run again"):
        run(work())


def test_results_of_two_plans_are_not_put_together():
    backend = scripted(1, ValueError("first"))

    async def work():
        client = aio.Client(backend)
        env = await client.environment("e", nodes=2)
        first = await env.submit(plain)
        await first.wait(progress=False)
        first.state = msgspec.structs.replace(first.state, plan_sha256="a" * 64)
        backend._script = ["of another partition"]
        again = await (await first.rerun()).wait(progress=False)
        again.state = msgspec.structs.replace(again.state, plan_sha256="b" * 64)
        await again.results(errors="return")

    with pytest.raises(InconsistentPartsError, match="their results are no whole"):
        run(work())


def test_rerun_leaves_out_of_memory_alone_unless_it_is_named():
    async def work(reasons):
        client = aio.Client(scripted(1, OUT_OF_MEMORY))
        env = await client.environment("e", nodes=2)
        first = await env.submit(plain)
        return (await first.rerun(reasons=reasons)).order.partitions

    assert run(work(["OutOfMemory"])) == [1]
    with pytest.raises(InvalidInputError, match="no task to run again"):
        run(work([]))


def test_map_yields_in_input_order_and_sends_its_arguments():
    backend = scripted("a", "b", "c")

    async def work():
        client = aio.Client(backend)
        env = await client.environment("e")
        return [value async for value in env.map(plain, [10, 20, 30], progress=False)]

    assert run(work()) == ["a", "b", "c"]
    (order,) = backend.orders.values()
    assert order.mode == "Map"
    assert order.count == 3
    assert order.failure_policy == "FailFast"


def test_map_of_many_runs_is_one_progress(monkeypatch):
    told = []

    class Line(Progress):
        def run(self, state):
            told.append((state.succeeded, state.total))

    monkeypatch.setattr("geopod.client.aio.mapping.CHUNK", 2)
    monkeypatch.setattr("geopod.client.aio.mapping.Progress", Line)

    async def work():
        env = await aio.Client(scripted(1, 1)).environment("e")
        return [value async for value in env.map(plain, range(6), progress=False)]

    assert run(work()) == [1] * 6
    counts, totals = zip(*told, strict=True)
    assert list(counts) == sorted(counts)
    assert list(totals) == sorted(totals)
    assert told[-1] == (6, 6)


def test_exception_of_an_input_iterator_propagates_and_nothing_is_sent():
    backend = scripted(1)

    def broken():
        yield 1
        raise KeyError("input")

    async def work():
        env = await aio.Client(backend).environment("e")
        return [value async for value in env.map(plain, broken(), progress=False)]

    with pytest.raises(KeyError):
        run(work())
    assert backend.orders == {}


def test_get_run_finds_a_run_from_anywhere():
    backend = scripted(7)

    async def work():
        env = await aio.Client(backend).environment("e")
        name = (await env.submit(plain)).name
        other = await aio.Client(backend).get_run(name)
        return other, await other.results(progress=False)

    found, results = run(work())
    assert results == [7]
    assert repr(found) == f"<Run {found.name} Succeeded 1/1>"


def test_block_ends_the_environment_it_created():
    backend = scripted(1)

    async def work():
        async with await aio.Client(backend).environment("e") as env:
            await env.execute(plain, progress=False)

    run(work())
    assert backend.environments["e"].state.phase == "Terminated"


def test_terminated_environment_refuses_before_anything_is_sent():
    backend = scripted(1)

    async def work():
        env = await aio.Client(backend).environment("e")
        await env.terminate()
        await env.submit(plain)

    with pytest.raises(EnvironmentTerminatedError):
        run(work())
    assert "submit" not in backend.calls


def test_fatal_reason_ends_the_wait_for_ready():
    failed = EnvironmentState(
        uid="u",
        name="e",
        phase="Failed",
        code="E121",
        message="No layer 'dem' with timestamp '2024' in namespace 'geo'.",
        fixes=["client.layers()"],
    )
    with pytest.raises(LayerNotFoundError, match="No layer 'dem'"):
        run(aio.Client(scripted(1, states=[failed])).environment("e"))


def test_run_that_was_left_keeps_its_environment_until_it_has_ended():
    backend = scripted(1)

    async def work():
        async with await aio.Client(backend).environment("e") as env:
            run = await env.submit(plain)
            run.state = msgspec.structs.replace(run.state, phase="Running")
            backend.run_states[run.name] = run.state
            run.is_left = True
            assert env.left == [run]
        return backend.environments["e"].state.phase

    assert run(work()) == "Ready"


def test_block_leaves_an_environment_that_others_use():
    backend = scripted(1)

    async def work():
        client = aio.Client(backend)
        await client.environment("shared")
        async with await client.environment("shared"):
            pass

    run(work())
    assert backend.environments["shared"].state.phase == "Ready"


def test_abandoned_map_cancels_its_run():
    backend = scripted(*range(5))
    env = sync.Client(aio.Client(backend), shared_loop()).environment("e", progress=False)
    for value in env.map(plain, range(5), progress=False):
        assert value == 0
        env._aio._runs.popitem()[1].state = msgspec.structs.replace(
            next(iter(backend.run_states.values())), phase="Running"
        )
        break
    assert any(call.startswith("cancel_run") for call in backend.calls)


BAD_RUNS = [
    pytest.param({"on_empty": "bogus"}, "on_empty", id="on_empty"),
    pytest.param({"tags": [5]}, "tags", id="tags"),
    pytest.param({"partitions": ["a"]}, "partitions", id="partitions"),
    pytest.param({"retries": "x"}, "retries", id="retries"),
    pytest.param({"task_timeout": "soon"}, "task_timeout", id="task_timeout"),
]


@pytest.mark.parametrize(("options", "words"), BAD_RUNS)
def test_bad_run_options_are_said_before_anything_is_sent(options, words):
    backend = scripted(1)

    async def work():
        env = await aio.Client(backend).environment("e")
        await env.submit(plain, **options)

    with pytest.raises(InvalidInputError, match=words):
        run(work())
    assert backend.orders == {}


def test_misspelt_keyword_is_refused():
    with pytest.raises(TypeError, match="node"):
        run(aio.Client(scripted(1)).environment("e", node=4))


def test_negative_scale_is_refused():
    backend = scripted(1)

    async def work():
        env = await aio.Client(backend).environment("e")
        await env.scale(-1)

    with pytest.raises(InvalidInputError, match="nodes"):
        run(work())
    assert backend.environments["e"].spec["nodes"] == 1


def test_what_is_no_function_is_refused():
    async def work():
        env = await aio.Client(scripted(1)).environment("e")
        await env.submit(5)

    with pytest.raises(InvalidInputError, match="is no function"):
        run(work())


BAD = [
    pytest.param({"name": "Bad Name!"}, InvalidInputError, "Bad Name!", id="name"),
    pytest.param(
        {"requirements": ["geopandas=0.14"]}, RequirementsError, "not valid", id="requirement"
    ),
    pytest.param({"requirements": "numpy"}, RequirementsError, "one string", id="bare string"),
    pytest.param({"layers": "dem"}, InvalidInputError, "not a list", id="one layer"),
    pytest.param({"layers": [3]}, InvalidInputError, "does not name a layer", id="number"),
    pytest.param({"nodes": -1}, InvalidInputError, "nodes", id="negative nodes"),
    pytest.param({"overlap": 5000}, InvalidInputError, "overlap", id="overlap"),
    pytest.param({"idle_after": "soon"}, InvalidInputError, "idle_after", id="duration"),
    pytest.param({"env": {"GEOPOD_X": "1"}}, InvalidInputError, "GEOPOD_", id="reserved variable"),
    pytest.param({"files": ["/nowhere/x.csv"]}, InvalidInputError, "x.csv", id="missing file"),
]


@pytest.mark.parametrize(("keywords", "error", "words"), BAD)
def test_bad_input_is_said_before_anything_is_asked_for(keywords, error, words):
    backend = scripted(1)
    with pytest.raises(error, match=words):
        run(aio.Client(backend).environment(**{"name": "e", **keywords}))
    assert backend.calls == []


def test_plain_client_has_the_names_and_signatures_of_the_coroutines():
    for name in ("Client", "Environment", "Run", "Task"):
        plain_class, coroutine_class = getattr(sync, name), getattr(aio, name)
        for attribute, value in vars(plain_class).items():
            if attribute.startswith("_") or not inspect.isfunction(value):
                continue
            original = getattr(coroutine_class, attribute)
            assert value.__doc__, f"{name}.{attribute}"
            if attribute != "add_done_callback":
                assert list(inspect.signature(value).parameters) == list(
                    inspect.signature(original).parameters
                ), f"{name}.{attribute}"


def test_failed_run_of_a_plain_call_is_a_plain_run():
    client = sync.Client(aio.Client(scripted(1, ValueError("empty geometry"))), shared_loop())
    env = client.environment("e", nodes=2)
    with pytest.raises(RunFailedError) as caught:
        env.execute(plain, progress=False)
    assert isinstance(caught.value.run, geopod.Run)
    assert caught.value.run.results(errors="skip") == [1]


def test_every_public_name_loads():
    for name in geopod.__all__:
        assert getattr(geopod, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = geopod.nothing


def test_order_survives_its_own_encoding():
    backend = scripted(1)

    async def work():
        env = await aio.Client(backend).environment("e", large_result=True)
        target = {"pathId": "ndvi", "timestampId": "2024", "file": {"format": "tif"}}
        return (await env.submit(plain, write_to={**target, "partial": True}, tags=["x"])).order

    order = run(work())
    assert msgspec.json.decode(msgspec.json.encode(order), type=type(order)) == order
    target = {"pathId": "ndvi", "timestampId": "2024", "format": "tif"}
    assert order.write_to == {**target, "partial": "true"}
    assert order.large_result
