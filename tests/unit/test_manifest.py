"""Chunks of the manifest: when they are written, who is told, and which of them count."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
import pytest
from geopod.api import names
from geopod.api.results import Failure, ManifestChunk, TaskReason, TaskRecord
from geopod.coordinator import manifest
from geopod.coordinator.epochs import Fenced, is_newest, take_epoch
from geopod.coordinator.manifest import (
    CHUNK_RECORDS,
    ManifestWriter,
    Receipt,
    accepted_keys,
    read_plan,
    read_records,
)
from geopod.errors import GatewayUnavailableError, RateLimitedError
from geopod.testing import MemoryStore
from hypothesis import given
from hypothesis import strategies as st

UID = "env-1"
RUN = "run-1"


def records(*indexes: int, epoch: int = 1) -> list[TaskRecord]:
    return [TaskRecord(index=index, attempt=1, epoch=epoch, node=0) for index in indexes]


def receipt(*indexes: int) -> Receipt:
    return Receipt(0, "1-1", list(indexes))


class Desk:
    """One coordinator's writer of the run, and what it was told."""

    def __init__(self, store: MemoryStore, *, epoch: int = 1, accepts: Sequence[str] = ()) -> None:
        self.committed: list[int] = []
        self.news = asyncio.Event()
        self.failed: list[BaseException] = []
        self.writer = ManifestWriter(
            store,
            UID,
            RUN,
            epoch=epoch,
            accepts=accepts,
            committed=self.hear,
            failed=self.failed.append,
        )

    def hear(self, receipts: list[Receipt]) -> None:
        self.committed += [index for one in receipts for index in one.indexes]
        self.news.set()


FULL = OSError(28, "No space left on device")
BUSY = RateLimitedError.slow_down(retry_after_s=1)
AWAY = GatewayUnavailableError.no_answer(route="gateway", timeout_s=90, tries=9)


class FailingStore(MemoryStore):
    """A store whose first writes fail, as on a full disk."""

    def __init__(self, failures: int, trouble: Exception = FULL) -> None:
        super().__init__()
        self.failures = failures
        self.trouble = trouble

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        if self.failures:
            self.failures -= 1
            raise self.trouble
        await super().put(key, data, if_absent=if_absent)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_the_first_records_are_written_at_once_and_the_next_ones_together():
    async def story() -> None:
        store = MemoryStore()
        desk = Desk(store)
        desk.writer.add(records(0), receipt(0))
        await desk.writer.flush()
        assert desk.committed == [0]
        for index in range(1, 10):
            desk.writer.add(records(index), receipt(index))
        assert desk.committed == [0]  # within the window nothing is written
        finished = asyncio.Event()
        desk.writer.finish(finished.set)
        await finished.wait()
        assert desk.committed == list(range(10))
        assert desk.writer.chunks == 2

    play(story())


def test_chunks_say_which_plan_their_records_are_of():
    async def story() -> None:
        store = MemoryStore()
        desk = Desk(store)
        desk.writer.plan_sha256 = "p" * 64
        desk.writer.add(records(0), receipt(0))
        await desk.writer.flush()
        later = Desk(store, epoch=2, accepts=await accepted_keys(store, UID, RUN))
        await later.writer.take_over()
        keys = await accepted_keys(store, UID, RUN)
        assert len(keys) == 2
        assert await read_plan(store, keys) == "p" * 64
        assert await read_plan(store, keys[1:]) == ""

    play(story())


def test_many_waiting_records_do_not_wait_for_the_window(monkeypatch):
    for window in ("SHORTEST_WINDOW_S", "LONGEST_WINDOW_S"):
        monkeypatch.setattr(manifest, window, 3600.0)

    async def story() -> None:
        desk = Desk(MemoryStore())
        desk.writer.add(records(0), receipt(0))
        await desk.writer.flush()
        desk.news.clear()
        many = range(1, 1 + CHUNK_RECORDS)
        desk.writer.add(records(*many), receipt(*many))
        async with asyncio.timeout(60):
            await desk.news.wait()
        assert len(desk.committed) == 1 + CHUNK_RECORDS

    play(story())


@pytest.mark.parametrize("trouble", [FULL, BUSY, AWAY], ids=["full", "busy", "away"])
def test_a_write_that_fails_is_repeated_and_nothing_is_acknowledged_before(monkeypatch, trouble):
    monkeypatch.setattr(manifest, "RETRY_S", 0.0)

    async def story() -> None:
        store = FailingStore(1, trouble)
        desk = Desk(store)
        desk.writer.add(records(0), receipt(0))
        desk.writer.add(records(1), receipt(1))
        assert desk.committed == []
        finished = asyncio.Event()
        desk.writer.finish(finished.set)
        await finished.wait()
        assert desk.committed == [0, 1]
        assert [
            r.index for r in await read_records(store, await accepted_keys(store, UID, RUN))
        ] == [
            0,
            1,
        ]

    play(story())


async def chunks_of_what_piled_up(store: MemoryStore, reports: Sequence[list[TaskRecord]]):
    """The chunks after the first, of reports that came while the store was away."""
    desk = Desk(store)
    desk.writer.add(records(0), receipt(0))  # and this write has failed already
    for report in reports:
        desk.writer.add(report, receipt(*(record.index for record in report)))
    assert desk.committed == []
    finished = asyncio.Event()
    desk.writer.finish(finished.set)
    await finished.wait()
    assert desk.committed == list(range(1 + sum(map(len, reports))))
    _, *keys = await accepted_keys(store, UID, RUN)
    return [msgspec.json.decode(await store.get(key), type=ManifestChunk) for key in keys]


def test_many_records_that_piled_up_are_written_in_chunks(monkeypatch):
    monkeypatch.setattr(manifest, "RETRY_S", 0.0)
    monkeypatch.setattr(manifest, "MOST_RECORDS", 10)

    async def story() -> None:
        reports = [records(index, index + 1) for index in range(1, 31, 2)]
        reports.append(records(*range(31, 71)))  # one report is never divided
        chunks = await chunks_of_what_piled_up(FailingStore(failures=1), reports)
        assert [len(chunk.records) for chunk in chunks] == [10, 10, 10, 40]

    play(story())


def test_large_records_that_piled_up_are_written_in_chunks_that_a_store_takes(monkeypatch):
    monkeypatch.setattr(manifest, "RETRY_S", 0.0)
    monkeypatch.setattr(manifest, "MOST_BYTES", 10_000)
    failure = Failure(reason=TaskReason.EXCEPTION, code="E307", fact="x" * 3000)

    async def story() -> None:
        store = FailingStore(failures=1)
        reports = [
            [msgspec.structs.replace(record, failure=failure)] for record in records(*range(1, 20))
        ]
        reports[5][0] = msgspec.structs.replace(
            reports[5][0], failure=msgspec.structs.replace(failure, fact="y" * 20_000)
        )
        chunks = await chunks_of_what_piled_up(store, reports)
        sizes = [len(msgspec.json.encode(chunk)) for chunk in chunks]
        assert sum(len(chunk.records) for chunk in chunks) == 19
        assert [size > 10_000 for size in sizes].count(True) == 1  # the one that alone has more

    play(story())


def test_a_replaced_coordinator_acknowledges_nothing():
    async def story() -> None:
        store = MemoryStore()
        epoch = await take_epoch(store, UID)
        desk = Desk(store, epoch=epoch)
        await take_epoch(store, UID)
        desk.writer.add(records(0), receipt(0))
        with pytest.raises(Fenced):
            await desk.writer.flush()
        await asyncio.sleep(0)
        assert desk.committed == []
        assert [type(error) for error in desk.failed] == [Fenced]

    play(story())


def test_epochs_grow_by_one_and_only_the_last_is_newest():
    async def story() -> None:
        store = MemoryStore()
        epochs = [await take_epoch(store, UID) for _ in range(3)]
        assert epochs == [1, 2, 3]
        assert [await is_newest(store, UID, epoch) for epoch in epochs] == [False, False, True]

    play(story())


def test_the_first_record_of_an_index_counts():
    async def story() -> None:
        store = MemoryStore()
        for sequence, node in enumerate((4, 5)):
            record = TaskRecord(index=0, attempt=1, epoch=1, node=node)
            chunk = ManifestChunk(epoch=1, sequence=sequence, records=[record])
            await store.put(names.manifest_key(UID, RUN, 1, sequence), msgspec.json.encode(chunk))
        read = await read_records(store, await accepted_keys(store, UID, RUN))
        assert [record.node for record in read] == [4]

    play(story())


@given(
    st.lists(
        st.one_of(
            st.just("take over"),
            st.tuples(st.integers(0, 3), st.integers(0, 20)),  # how old a writer writes what
        ),
        max_size=25,
    )
)
def test_what_was_acknowledged_stays_and_what_an_old_coordinator_writes_does_not_count(
    history: list[str | tuple[int, int]],
):
    async def story() -> None:
        store = MemoryStore()
        desks = [Desk(store, epoch=await take_epoch(store, UID))]
        for step in history:
            if isinstance(step, str):
                accepts = await accepted_keys(store, UID, RUN)
                desk = Desk(store, epoch=await take_epoch(store, UID), accepts=accepts)
                await desk.writer.take_over()
                desks.append(desk)
                continue
            age, index = step
            desk = desks[max(len(desks) - 1 - age, 0)]
            desk.writer.add(records(index, epoch=len(desks)), receipt(index))
            try:
                await desk.writer.flush()
            except Fenced:
                assert desk is not desks[-1]
        read = await read_records(store, await accepted_keys(store, UID, RUN))
        acknowledged = {index for desk in desks for index in desk.committed}
        assert {record.index for record in read} == acknowledged

    play(story())
