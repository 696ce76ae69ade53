"""Runs through the local backend's real processes, and the catalogue of layers and files."""

import asyncio
import os
from contextlib import aclosing

import pytest
from geopod.api import names
from geopod.errors import InvalidInputError
from local_builders import (
    a_map,
    an_order,
    ended,
    finished,
    ready,
    story,
    submitted,
    values_of,
)

ADD_ONE = "def f(x): return x + 1"
SLOW = "import time\ndef f(x):\n    time.sleep(0.05)\n    return x"

WANTED = [2, 3, 1, 2, 1, 3]


class TestRuns:
    def test_map_returns_every_result_in_order(self, local_home):
        async def act(backend):
            record = await ready(backend, nodes=2)
            order = await a_map(backend, record.uid, ADD_ONE, 1000)
            state = await finished(backend, order)
            assert (state.phase, state.succeeded) == ("Succeeded", 1000)
            return await values_of(backend, order)

        assert story(local_home, act) == list(range(1, 1001))

    def test_run_is_found_by_name_from_another_process(self, local_home):
        async def submit(backend):
            record = await ready(backend)
            order = await a_map(backend, record.uid, SLOW, 20)
            await submitted(backend, order)
            return order

        order = story(local_home, submit)
        assert story(local_home, lambda backend: ended(backend, order.name)).phase == "Succeeded"
        found, state = story(local_home, lambda backend: backend.get_run(order.uid))
        assert (found, state.phase) == (order, "Succeeded")

    def test_repeated_submit_is_the_same_run(self, local_home):
        async def act(backend):
            record = await ready(backend)
            first = an_order(record.uid, name="same")
            second = an_order(record.uid, name="same")
            other = an_order(record.uid, "def f(params): return 2", name="same")
            await finished(backend, first)
            state = await finished(backend, second)
            assert state.uid == first.uid
            with pytest.raises(InvalidInputError, match="name='same' is the name of another run"):
                await finished(backend, other)

        story(local_home, act)

    def test_run_that_is_sent_right_after_scaling_has_the_new_number_of_tasks(self, local_home):
        async def act(backend):
            record = await ready(backend)
            totals = []
            for nodes in WANTED:
                await backend.scale_environment("env", nodes)
                totals.append((await finished(backend, an_order(record.uid))).total)
            return totals

        assert story(local_home, act) == WANTED

    def test_several_runs_share_one_connection(self, local_home):
        async def act(backend):
            record = await ready(backend, nodes=2)
            orders = [an_order(record.uid, f"def f(params): return {n}") for n in range(8)]
            states = await asyncio.gather(*(finished(backend, order) for order in orders))
            assert {state.phase for state in states} == {"Succeeded"}
            return [await values_of(backend, order) for order in orders]

        assert story(local_home, act) == [[n, n] for n in range(8)]

    def test_cancelled_run_keeps_what_is_done(self, local_home):
        async def act(backend):
            record = await ready(backend)
            order = await a_map(backend, record.uid, SLOW, 500)
            async with aclosing(backend.submit(order)) as states:
                async for state in states:
                    if state.succeeded:
                        await backend.cancel_run(order.name)
                        break
            state = await ended(backend, order.name)
            assert state.phase == "Cancelled"
            assert state.succeeded + state.cancelled == 500
            await backend.cancel_run(order.name)

        story(local_home, act)

    def test_one_failure_keeps_the_other_results(self, local_home):
        async def act(backend):
            record = await ready(backend, nodes=2)
            order = await a_map(backend, record.uid, "def f(x): return 1 // (x - 3)", 6)
            return await finished(backend, order)

        state = story(local_home, act)
        assert (state.phase, state.succeeded, state.failed) == ("Failed", 5, 1)
        assert state.failures[0].failure.exception.type == "ZeroDivisionError"

    def test_deleted_run_takes_its_results_along(self, local_home):
        async def act(backend):
            record = await ready(backend)
            order = an_order(record.uid)
            await finished(backend, order)
            await backend.delete_run(order.name, results=True)
            with pytest.raises(LookupError):
                await backend.get_run(order.name)
            return await backend.store(record.uid).names(f"{record.uid}/runs/")

        assert story(local_home, act) == []

    def test_runs_are_listed_newest_first(self, local_home):
        async def act(backend):
            record = await ready(backend)
            orders = [an_order(record.uid) for _ in range(3)]
            for order in orders:
                await finished(backend, order)
            listed = await backend.list_runs(environment="env")
            assert [order.name for order, _ in listed] == [o.name for o in reversed(orders)]
            assert {state.phase for _, state in listed} == {"Succeeded"}

        story(local_home, act)


class TestCatalogue:
    def test_timestamps_are_joined_by_id(self, local_home):
        places = [f"s3://dems/{number}.tif" for number in range(3)]

        async def act(backend):
            for stamp, place in zip("aba", places, strict=True):
                await backend.apply_layer("dem", {"timestamps": [{"id": stamp, "uris": [place]}]})
            return (await backend.get_layer("dem")).spec["timestamps"]

        assert story(local_home, act) == [
            {"id": "a", "uris": [places[2]]},
            {"id": "b", "uris": [places[1]]},
        ]

    def test_file_is_stored_under_its_sha256(self, local_home, tmp_path):
        source = tmp_path / "weights.bin"
        source.write_bytes(os.urandom(1 << 16))

        async def act(backend):
            first = await backend.upload_file(source)
            assert await backend.upload_file(source) == first
            return await backend.store("").get(names.file_key(first))

        assert story(local_home, act) == source.read_bytes()
