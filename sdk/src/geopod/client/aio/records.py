"""A run's results: manifest chunks read once, entries fetched and decoded when asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from geopod import codecs
from geopod.api.results import SHARED_BYTES, TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.coordinator.manifest import accepted_keys, read_records, read_result
from geopod.store import Store

WHOLE_READ_BYTES = 1 << 16
"""Results up to this size are read with all that share their object, which are read next."""
PACKS_BYTES = 16 << 20
"""So much of shared objects is kept."""


class RecordReader:
    """The final record of every task of one run, as far as the manifest has it."""

    def __init__(self, store: Store, order: RunOrder) -> None:
        self._store = store
        self._order = order
        self._read: set[str] = set()
        """Keys of the chunks whose records are in `records`."""
        self._inline: dict[int, bytes] = {}
        self._packs: dict[str, bytes] = {}
        self._words: dict[str, str] = {}
        self.records: dict[int, TaskRecord] = {}

    def take(self, state: RunState) -> None:
        """Keep what a finished run's state carries: records and copies of tiny results."""
        for record in state.records:
            self.records[record.index] = record
            entry = record.entry
            if entry is not None and not entry.key:  # it lies nowhere else; no bytes are not told
                data = state.inline.get(record.index) if entry.bytes else b""
                msgspec.structs.force_setattr(entry, "data", data)
        self._inline.update(state.inline)

    async def refresh(self) -> list[TaskRecord]:
        """Read the chunks that are new; return the records that were not there before."""
        order = self._order
        keys = await accepted_keys(self._store, order.environment, order.uid)
        unread = [key for key in keys if key not in self._read]
        fresh = []
        for key in unread:  # one by one: a hundred thousand records are not held twice
            for record in await read_records(self._store, [key]):
                if record.index not in self.records:
                    self.records[record.index] = record
                    self._share_words(record)
                    fresh.append(record)
            self._read.add(key)
        return fresh

    def _share_words(self, record: TaskRecord) -> None:
        """Let equal words of all records be one text: a fifth of what a large run takes."""
        entry = record.entry
        if entry is not None:
            for field, word in (("key", entry.key), ("codec", entry.codec)):
                shared = self._words.setdefault(word, word)
                msgspec.structs.force_setattr(entry, field, shared)

    async def complete(self, indexes: Iterable[int]) -> None:
        """Make sure that the record of every one of these tasks is here if there is one."""
        if any(index not in self.records for index in indexes):
            await self.refresh()

    async def value(self, record: TaskRecord, *, allow_pickle: bool) -> Any:
        """Fetch and decode one task's result; None for an empty partition.

        Raises KeyMissingError when the bytes are gone from the store.
        """
        entry = record.entry
        if record.skipped or entry is None:
            return None
        source: bytes | Path
        if entry.data is not None:
            source = entry.data
        elif record.index in self._inline:
            source = self._inline[record.index]
        elif entry.bytes <= WHOLE_READ_BYTES:
            source = await self._small(entry.key, entry.start, entry.bytes)
        elif entry.bytes <= SHARED_BYTES:
            source = await read_result(self._store, entry)
        else:
            source = await self._store.fetch(entry.key)
        return codecs.decode(
            entry, source, allow_pickle=allow_pickle, large_result=self._order.large_result
        )

    async def _small(self, key: str, start: int, length: int) -> bytes:
        pack = self._packs.get(key)
        if pack is None:
            pack = await self._store.get(key)
            if sum(map(len, self._packs.values())) + len(pack) > PACKS_BYTES:
                self._packs.clear()  # a map reads its packs in order
            self._packs[key] = pack
        return pack[start : start + length]
