"""The coordinator's book of runs: what watchers hear, and when."""

from __future__ import annotations

import asyncio

import pytest
from geopod.api import names
from geopod.api.control import RunUpdate
from geopod.api.results import Entry, TaskRecord
from geopod.api.runs import RunState
from geopod.coordinator import backlog
from geopod.coordinator.runs import RunBook
from geopod.dispatch import StoreBehind
from geopod.errors import GatewayUnavailableError, RateLimitedError
from geopod.store.refusals import refusal
from geopod.testing import MemoryStore

RUNNING = RunState(uid="r", name="r", environment="e", phase="Running", total=1)
ENDED = RunState(
    uid="r", name="r", environment="e", phase="Succeeded", total=1, succeeded=1, finished=2.0
)


class SlowStore(MemoryStore):
    """Writes a manifest chunk only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_write = asyncio.Event()

    async def put(self, key, data, *, if_absent=False):
        if "/manifest/" in key:
            await self.may_write.wait()
        await super().put(key, data, if_absent=if_absent)


class StatelessStore(MemoryStore):
    """Takes everything but the states of runs."""

    def __init__(self, trouble) -> None:
        super().__init__()
        self.trouble = trouble
        self.refused = 0

    async def put(self, key, data, *, if_absent=False):
        if key == names.state_key("e", "r"):
            self.refused += 1
            raise self.trouble
        await super().put(key, data, if_absent=if_absent)


class Owner:
    """The coordinator of one run, whose state the test sets."""

    def __init__(self) -> None:
        self.state = RUNNING
        self.closed = asyncio.Event()
        self.events = []
        self.told = asyncio.Event()

    def apply(self, event):
        self.events.append(event)
        self.told.set()

    def read_run(self, run):
        return self.state

    def send_soon(self, node, message):
        pass

    def close_run(self, run):
        self.closed.set()

    def fail(self, error):
        raise error


class Watcher:
    """A client that keeps what it hears."""

    def __init__(self) -> None:
        self.heard = []

    def send(self, message):
        assert isinstance(message, RunUpdate)
        self.heard.append(message.state)


def test_the_end_is_told_only_after_the_records_are_stored():
    async def story():
        store, owner, watcher = SlowStore(), Owner(), Watcher()
        await store.put(f"{names.epoch_prefix('e')}00000001", b"")
        book = RunBook(owner, store, environment_uid="e", epoch=1)
        book.open("r")
        book.watch("r", watcher, at_once=False)
        record = TaskRecord(index=0, attempt=0, epoch=1, node=0, skipped=True)
        book.changed("r")
        book.commit("r", [record], node=0, lease="1-1")
        owner.state = ENDED
        book.finish("r")
        await asyncio.sleep(0.1)  # longer than the delay with which a phase is told
        assert [state.phase for state in watcher.heard if state.phase != "Running"] == []
        store.may_write.set()
        await owner.closed.wait()
        (last,) = watcher.heard
        assert (last.phase, last.chunks, last.records) == ("Succeeded", 1, [record])

    asyncio.run(story())


def test_work_is_held_while_too_many_reports_wait_for_the_store(monkeypatch):
    monkeypatch.setattr(backlog, "MOST_BYTES", 1000)
    monkeypatch.setattr(backlog, "GO_ON_BYTES", 500)

    async def story():
        store, owner = SlowStore(), Owner()
        await store.put(f"{names.epoch_prefix('e')}00000001", b"")
        book = RunBook(owner, store, environment_uid="e", epoch=1)
        book.open("r")
        for index in range(5):
            record = TaskRecord(index=index, attempt=0, epoch=1, node=0, skipped=True)
            book.commit("r", [record], node=0, lease="1-1")
        assert owner.events == []  # not in the midst of a decision
        await owner.told.wait()
        owner.told.clear()
        store.may_write.set()
        await owner.told.wait()
        assert owner.events == [StoreBehind(is_behind=True), StoreBehind(is_behind=False)]
        assert (book.backlog.bytes, book.backlog.words) == (0, "")

    asyncio.run(story())


@pytest.mark.parametrize(
    "trouble",
    [
        OSError("no room"),
        GatewayUnavailableError.no_answer(route="gateway", timeout_s=90, tries=9),
        RateLimitedError.slow_down(retry_after_s=3),
        refusal("PUT", "k", 401, "Expired", ours=True),
    ],
    ids=["full", "away", "busy", "expired token"],
)
def test_state_that_the_store_does_not_take_is_a_stale_file_and_nothing_else(trouble):
    async def story():
        store = StatelessStore(trouble)
        await store.put(f"{names.epoch_prefix('e')}00000001", b"")
        book = RunBook(Owner(), store, environment_uid="e", epoch=1)
        book.open("r")
        record = TaskRecord(index=0, attempt=0, epoch=1, node=0, skipped=True)
        book.commit("r", [record], node=0, lease="1-1")
        await book.flush()
        assert store.refused == 1

    asyncio.run(story())


def last_state_of(entry: Entry) -> RunState:
    """Return what a watcher hears at the end of a run of one task with this result."""

    async def story():
        store, owner, watcher = MemoryStore(), Owner(), Watcher()
        await store.put(f"{names.epoch_prefix('e')}00000001", b"")
        book = RunBook(owner, store, environment_uid="e", epoch=1)
        book.open("r")
        book.watch("r", watcher, at_once=False)
        record = TaskRecord(index=0, attempt=0, epoch=1, node=0, entry=entry)
        book.commit("r", [record], node=0, lease="1-1")
        owner.state = ENDED
        book.finish("r")
        await owner.closed.wait()
        return watcher.heard[-1]

    return asyncio.run(story())


def test_the_end_of_a_small_run_says_where_its_large_result_lies():
    entry = Entry(codec="npy", sha256="0" * 64, bytes=2_000_128, key="e/runs/r/0-0-1-value")
    state = last_state_of(entry)
    assert ([record.entry for record in state.records], state.inline) == ([entry], {})


def test_a_long_description_is_left_to_the_manifest():
    entry = Entry(codec="list", sha256="0" * 64, bytes=1, key="k", meta={"items": ["x" * 20_000]})
    assert last_state_of(entry).records == []
