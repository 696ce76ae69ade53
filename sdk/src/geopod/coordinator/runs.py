"""Runs as the outside sees them: manifest writers, watchers, bounded states, `status.json`.

What a run's tasks do is decided in `geopod.dispatch`; this module shows and stores it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from geopod.api import names
from geopod.api.control import RunUpdate
from geopod.api.messages import Committed
from geopod.api.results import INLINE_BYTES, INLINE_TASKS, TaskRecord
from geopod.api.runs import RunState
from geopod.coordinator.backlog import Backlog
from geopod.coordinator.figures import RunFigures
from geopod.coordinator.manifest import ManifestWriter, Receipt
from geopod.coordinator.outside import Watcher
from geopod.coordinator.recovery import UnfinishedRun
from geopod.dispatch import events
from geopod.errors import GeopodError
from geopod.store import KeyMissingError, Store

PHASE_DELAY_S = 0.02
"""A new phase is told this late, so that a run of milliseconds is told once, at its end."""
PROGRESS_EVERY_S = 1.0
STATE_BYTES = 16_000
KEPT_STATES = 256
"""Finished runs whose last state answers watchers from memory; others are read from the store."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class OpenRun:
    """A run between its submission and its published end."""

    writer: ManifestWriter
    watchers: set[Watcher] = field(default_factory=set)
    shown: str | None = None
    """The phase that watchers were last told."""
    timer: asyncio.TimerHandle | None = None
    told: float = 0.0
    """When watchers were last told, in the event loop's seconds."""
    inline: dict[int, bytes] | None = field(default_factory=dict)
    """Copies of results so far; None: they are too large."""
    records: list[TaskRecord] = field(default_factory=list)
    figures: RunFigures = field(default_factory=RunFigures)

    def remember(self, records: Sequence[TaskRecord]) -> None:
        """Keep records, and the results in them, for the run's last state, while they fit."""
        if self.inline is None:
            return
        for record in records:
            entry = record.entry
            if entry is not None and entry.data is not None:
                self.inline[record.index] = entry.data
                bare = msgspec.structs.replace(entry, data=None)
                self.records.append(msgspec.structs.replace(record, entry=bare))
            else:
                self.records.append(record)
        fits = sum(map(len, self.inline.values())) <= INLINE_BYTES
        if len(self.records) > INLINE_TASKS or not fits:
            self.inline = None
            self.records.clear()


class RunOwner(Protocol):
    """Whose runs they are: the coordinator, or a double in tests."""

    def apply(self, event: events.Event) -> None:
        """Something has happened that decides what is done next."""

    def read_run(self, run: str) -> RunState:
        """Return where a run stands, without what only the book knows."""

    def send_soon(self, node: int, message: Committed) -> None:
        """Send a message to a node, if it is connected, after what clients are told now."""

    def close_run(self, run: str) -> None:
        """A run's end is published: it may be forgotten."""

    def fail(self, error: BaseException) -> None:
        """The process must end: a newer coordinator is at work, or something went wrong."""


class RunBook:
    """All runs of one coordinator, open and lately finished."""

    def __init__(self, owner: RunOwner, store: Store, *, environment_uid: str, epoch: int) -> None:
        self._owner = owner
        self._store = store
        self._environment_uid = environment_uid
        self._epoch = epoch
        self._open: dict[str, OpenRun] = {}
        self._finished: OrderedDict[str, RunState] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self.backlog = Backlog(self._follow_store)
        self._puts: set[asyncio.Task[None]] = set()

    def __contains__(self, run: str) -> bool:
        return run in self._open

    def open(self, run: str, recovered: UnfinishedRun | None = None) -> ManifestWriter:
        """Start the book of a run; `recovered`: what earlier coordinators wrote of it."""
        writer = ManifestWriter(
            self._store,
            self._environment_uid,
            run,
            epoch=self._epoch,
            accepts=recovered.chunks if recovered else (),
            digest=recovered.digest if recovered else None,
            committed=self._acknowledge,
            failed=self._owner.fail,
        )
        writer.on_piled = self.backlog.change
        book = OpenRun(writer)
        self._open[run] = book
        if recovered is not None and recovered.chunks:
            book.inline = None
            book.figures.take(recovered.records)
        return writer

    def figures(self, run: str) -> tuple[RunFigures, str] | None:
        """Return the sums of an open run, and its manifest's sha256; None: it is not open."""
        book = self._open.get(run)
        return None if book is None else (book.figures, book.writer.sha256)

    def watch(self, run: str, client: Watcher, *, at_once: bool) -> None:
        """Tell a client how an open run goes: on change, at its end, and `at_once`."""
        self._open[run].watchers.add(client)
        if at_once:
            client.send(RunUpdate(state=self._state(run)))

    def forget(self, client: Watcher) -> None:
        """A client is gone."""
        for book in self._open.values():
            book.watchers.discard(client)

    async def find_finished(self, run: str) -> RunState | None:
        """Return the last state of a finished run, from memory or the store."""
        if run in self._finished:
            return self._finished[run]
        try:
            data = await self._store.get(names.state_key(self._environment_uid, run))
        except KeyMissingError:
            return None
        state = msgspec.json.decode(data, type=RunState)
        return state if state.finished is not None else None

    def recall(self, run: str) -> RunState | None:
        """Return the last state of a run that ended lately, from memory."""
        return self._finished.get(run)

    def commit(
        self,
        run: str,
        records: Sequence[TaskRecord],
        *,
        node: int | None,
        lease: str,
        plan_sha256: str = "",
    ) -> None:
        """Write final records, of partitions of this plan; then the node hears COMMITTED."""
        book = self._open[run]
        book.writer.plan_sha256 = plan_sha256
        book.figures.take(records)
        book.remember(records)
        indexes = [record.index for record in records]
        receipt = Receipt(node, lease, indexes) if node is not None else None
        book.writer.add(records, receipt)

    def changed(self, run: str) -> None:
        """Publish the run's state soon: a new phase almost at once, progress once a second."""
        book = self._open.get(run)
        if book is not None and book.timer is None:
            book.timer = self._loop.call_later(PHASE_DELAY_S, self._publish, run)

    def finish(self, run: str) -> None:
        """Publish the run's end once all its records are in the store."""
        self._open[run].writer.finish(lambda: self._end(run))

    async def flush(self) -> None:
        """Write everything that waits: the process ends."""
        for run, book in list(self._open.items()):
            await book.writer.flush()
            if run in self._open:
                await self._put(run, self._state(run))
        await asyncio.gather(*self._puts)

    def _follow_store(self, is_behind: bool) -> None:  # noqa: FBT001  # Backlog's callback
        """Hold work back or go on, after what is being decided now."""
        self._loop.call_soon(self._owner.apply, events.StoreBehind(is_behind))

    def _acknowledge(self, receipts: list[Receipt]) -> None:
        """Tell the nodes which of their tasks are in the manifest."""
        for receipt in receipts:
            committed = Committed(lease=receipt.lease, indexes=receipt.indexes)
            self._owner.send_soon(receipt.node, committed)

    def _state(self, run: str) -> RunState:
        """Return an open run's state."""
        chunks = self._open[run].writer.chunks
        return msgspec.structs.replace(self._owner.read_run(run), chunks=chunks)

    def _publish(self, run: str) -> None:
        """Tell watchers and the store how an open run is."""
        book = self._open.get(run)
        if book is None:
            return
        book.timer = None
        state = self._state(run)
        if state.finished is not None:
            return  # its last records are being written: `_end` tells the end, never before them
        now = self._loop.time()
        early = book.told + PROGRESS_EVERY_S - now if book.shown == state.phase else 0.0
        if early > 0:
            book.timer = self._loop.call_later(early, self._publish, run)
            return
        book.shown, book.told = state.phase, now
        for client in book.watchers:
            client.send(RunUpdate(state=state))
        self._store_soon(run, state)

    def _end(self, run: str) -> None:
        """Tell watchers and the store how a run ended, with copies of results if it is tiny."""
        book = self._open[run]
        if book.timer is not None:
            book.timer.cancel()
        state = _with_copies(self._state(run), book)
        for client in book.watchers:
            client.send(RunUpdate(state=state))
        del self._open[run]
        self._finished[run] = state
        if len(self._finished) > KEPT_STATES:
            self._finished.popitem(last=False)
        self._store_soon(run, state)
        self._owner.close_run(run)

    def _store_soon(self, run: str, state: RunState) -> None:
        """Store a state, after everything that is waiting to be sent."""
        task = self._loop.create_task(self._put(run, state))
        self._puts.add(task)
        task.add_done_callback(self._puts.discard)

    async def _put(self, run: str, state: RunState) -> None:
        """Store a state; a failure costs nothing but a stale file, the manifest is the truth."""
        stored = self._finished.get(run, state)  # never an older state over the last one
        try:
            key = names.state_key(self._environment_uid, run)
            await self._store.put(key, msgspec.json.encode(stored))
        except (GeopodError, OSError):
            log.exception("The state of run %s could not be stored.", run)


def _with_copies(state: RunState, book: OpenRun) -> RunState:
    """Return a finished run's state with its records and tiny results, if all of them fit."""
    if book.inline is None or len(book.records) != state.total:
        return state
    entries = (record.entry for record in book.records)
    is_described = any(entry is not None and entry.meta for entry in entries)
    inline = {index: data for index, data in sorted(book.inline.items()) if data}
    records = sorted(book.records, key=lambda record: record.index)
    whole = msgspec.structs.replace(state, inline=inline, records=records)
    may_be_long = is_described or len(records) > 8  # noqa: PLR2004  # fewer always fit
    if may_be_long and len(msgspec.json.encode(whole)) > STATE_BYTES:
        return state
    return whole
