"""A new run is handed to its coordinator while it is stored; others only afterwards."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from geopod.api import names
from geopod.api.runs import RunState
from geopod.backends.local.publish import Publisher
from geopod.backends.local.runs import Runs
from geopod.backends.local.state import StateFolder
from geopod.errors import ConfigError
from geopod.store.directory import DirectoryStore
from local_builders import an_order


class Watch:
    """A watch that is told nothing but what the test puts there."""

    def __init__(self) -> None:
        self.updates = []
        self.did = []

    async def next(self):
        return self.updates.pop(0)

    def cancel(self, indexes=None):
        self.did.append("cancel")

    def close(self):
        self.did.append("close")


class Connection:
    """A connection that notes what it is handed, and whether that was stored by then."""

    is_open = True

    def __init__(self, folder: StateFolder) -> None:
        self.watch = Watch()
        self.handed = []
        self._folder = folder

    def submit(self, order, *, is_new=False):
        self.handed.append((order.uid, is_new, self._folder.has_run(order.name)))
        return self.watch


@pytest.fixture
def folder(tmp_path):
    return StateFolder(tmp_path)


@pytest.fixture
def connection(folder):
    return Connection(folder)


@pytest.fixture
def runs(folder, connection):
    store = DirectoryStore(folder.store)
    runs = Runs(folder, store, publisher=Publisher(folder, store))
    runs._connections["e"] = connection
    return runs


def an_own_order():
    order = an_order("e")
    return an_order("e", uid=order.uid, name=f"ndvi{names.own_suffix(order.uid)}")


def test_a_run_with_a_name_of_its_own_is_handed_over_first(runs, folder, connection):
    order = an_own_order()
    first = asyncio.run(anext(runs.submit(order)))
    assert first.phase == "Queued"
    assert connection.handed == [(order.uid, True, False)]
    assert folder.read_run(order.name) == order  # stored before anybody is told of it
    assert (folder.store / names.order_key("e", order.uid)).exists()


def test_a_name_that_a_user_chose_is_claimed_first(runs, connection):
    order = an_order("e", name="mine")
    asyncio.run(anext(runs.submit(order)))
    assert connection.handed == [(order.uid, False, True)]


def test_a_run_whose_name_is_taken_is_the_one_that_has_it(runs, folder, connection):
    order = an_own_order()
    folder.claim_run(an_order("e", uid="other", name=order.name))
    asyncio.run(anext(runs.submit(order)))
    assert connection.handed == [("other", False, True)]


def test_a_run_that_cannot_be_stored_is_cancelled(runs, folder, connection):
    shutil.rmtree(folder.root / "runs")
    with pytest.raises(ConfigError, match="cannot be used: no such file"):
        asyncio.run(anext(runs.submit(an_own_order())))
    assert connection.watch.did == ["cancel", "close"]


def test_the_end_is_the_last_state(runs, connection):
    async def story():
        order = an_own_order()
        ended = RunState(
            uid=order.uid, name=order.name, environment="e", phase="Succeeded", finished=1.0
        )
        connection.watch.updates = [ended]
        return [state.phase async for state in runs.submit(order)]

    assert asyncio.run(story()) == ["Queued", "Succeeded"]
    assert connection.watch.did == ["close"]
