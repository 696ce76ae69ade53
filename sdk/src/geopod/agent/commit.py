"""What tasks returned, encoded and in the store, before anybody hears of it.

Small results of one report share one object (a pack); larger ones are objects of their own. No
value is opened here: `codecs` turns bytes into bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from geopod.agent import reports
from geopod.agent.failures import failure_of
from geopod.agent.logs import encode_log
from geopod.agent.verdict import result_too_large
from geopod.agent.work import HandedOver, Outcome
from geopod.api import names
from geopod.api.messages import Assign, Done, Failed
from geopod.api.results import (
    INLINE_BYTES,
    INLINE_TASKS,
    SHARED_BYTES,
    SMALL_RESULT_BYTES,
    Entry,
    Failure,
    TaskRecord,
)
from geopod.codecs import Encoded, MalformedValueError
from geopod.codecs import encode as encode_value
from geopod.errors import GeopodError, ResultNotSerializableError
from geopod.store import Store

PACK_BYTES = SHARED_BYTES
"""Results up to this size share an object: one write for a batch of a map."""
THREAD_BYTES = 1 << 20
"""Values over this, and those that need a geo library, are encoded in a thread."""
DIGEST_BYTES = 4 << 20
"""Up to here a digest takes less than two turns to a thread and the loop's patience."""
META_BYTES = 256 << 10
"""Of a result's description (columns of a table, files of a list): it is part of a message."""
IN_THREAD = frozenset({"geoarrow", "raster", "arrow"})
AT_ONCE = frozenset({"json", "bytes", "npy"})
"""Of these a header is looked at, whatever their size."""


@dataclass(slots=True)
class _Result:
    """One outcome on its way to the manifest."""

    outcome: Outcome
    encoded: Encoded | None = None
    failure: Failure | None = None
    entry: Entry | None = None


class Committer:
    """Puts one node's results and logs into the store and says so in messages."""

    def __init__(self, store: Store, *, environment_uid: str, node: int, workdir: Path) -> None:
        self._store = store
        self._environment_uid = environment_uid
        self._node = node
        self._workdir = workdir
        self._serial = 0

    async def commit(self, assign: Assign, outcomes: Sequence[Outcome]) -> list[Done | Failed]:
        """Store what these tasks returned and printed; return what to report, ≤ 1 MiB each."""
        results = [await self._encode(assign, outcome) for outcome in outcomes]
        await self._store_values(assign, results)
        for outcome in outcomes:
            await self.store_log(assign, outcome)
        return self._messages(assign, results)

    async def store_log(self, assign: Assign, outcome: Outcome) -> None:
        """Store what one attempt printed; nothing was printed: nothing is written."""
        if outcome.log is None or not outcome.log.size:
            return
        attempt = names.attempt_name(outcome.index, outcome.attempt, assign.epoch)
        data = encode_log(
            outcome.log, index=outcome.index, attempt=outcome.attempt, node=self._node
        )
        await self._store.put(names.log_key(self._environment_uid, assign.run, attempt), data)

    async def _encode(self, assign: Assign, outcome: Outcome) -> _Result:
        """Encode one value; what cannot be encoded is the task's failure."""
        value = outcome.value
        if value is None:
            return _Result(outcome, failure=outcome.failure)
        try:
            large = value.size > THREAD_BYTES and value.kind not in AT_ONCE
            if value.kind in IN_THREAD or large:
                encoded = await asyncio.to_thread(self._encode_value, value)
            else:
                encoded = self._encode_value(value)
        except GeopodError as error:
            return _Result(outcome, failure=failure_of(error))
        except MalformedValueError as error:
            malformed = ResultNotSerializableError(f"returned {error}.")
            return _Result(outcome, failure=failure_of(malformed))
        wordy = _too_wordy(encoded)
        if wordy is not None:
            return _Result(outcome, failure=wordy)
        failure = None
        if encoded.size > SMALL_RESULT_BYTES and not (assign.large_result or assign.write_to):
            failure = result_too_large(encoded.size, encoded.codec)
        return _Result(outcome, encoded, failure)

    def _encode_value(self, value: HandedOver) -> Encoded:
        return encode_value(value.kind, value.data, value.meta, workdir=self._workdir)

    async def _store_values(self, assign: Assign, results: list[_Result]) -> None:
        """Store all values; the few small ones of a small run go into their entries."""
        pack: list[bytes] = []
        start = 0
        left = INLINE_BYTES if assign.total <= INLINE_TASKS else 0
        pack_key = names.pack_key(self._environment_uid, assign.run, assign.lease, self._serial)
        for result in results:
            encoded = result.encoded
            if encoded is None:
                continue
            if not isinstance(encoded.data, bytes) or len(encoded.data) > PACK_BYTES:
                result.entry = await self._store_value(assign, result.outcome, encoded)
            elif len(encoded.data) <= left:
                left -= len(encoded.data)
                result.entry = _entry(encoded, "", data=encoded.data)
            else:
                result.entry = _entry(encoded, pack_key, start=start)
                pack.append(encoded.data)
                start += len(encoded.data)
        if pack:
            self._serial += 1
            await self._store.put(pack_key, b"".join(pack))

    async def _store_value(self, assign: Assign, outcome: Outcome, encoded: Encoded) -> Entry:
        """Store one value as an object of its own."""
        attempt = names.attempt_name(outcome.index, outcome.attempt, assign.epoch)
        key = names.result_key(self._environment_uid, assign.run, attempt, "value")
        if isinstance(encoded.data, bytes):
            entry = _entry(encoded, key)
            await self._store.put(key, encoded.data)
            return entry
        source, size, value = encoded.data, encoded.size, outcome.value
        own = value is not None and encoded.data is not value.data
        if value is not None and value.file is not None and not own and value.is_settled():
            source, own = value.file, True
        sha256 = None
        if value is not None and value.early is not None and encoded.data is value.data:
            sha256 = await value.early.finish(size)
        if sha256 is None and size <= DIGEST_BYTES:
            sha256 = _digest(encoded.data)
        elif sha256 is None:
            sha256 = await asyncio.to_thread(_digest, encoded.data)
        await self._store.put_file(key, source, move=own)
        return Entry(codec=encoded.codec, sha256=sha256, bytes=size, key=key, meta=encoded.meta)

    def _messages(self, assign: Assign, results: list[_Result]) -> list[Done | Failed]:
        """Return the reports: one DONE for all that went well, one FAILED for each other."""
        records: list[TaskRecord] = []
        messages: list[Done | Failed] = []
        for result in results:
            record = self._record(assign, result)
            if result.failure is None:
                records.append(record)
            else:
                messages.append(reports.failed(assign, record))
        if records:
            messages[:0] = reports.done(assign, records)
        return messages

    def _record(self, assign: Assign, result: _Result) -> TaskRecord:
        outcome = result.outcome
        return TaskRecord(
            index=outcome.index,
            attempt=outcome.attempt,
            epoch=assign.epoch,
            node=self._node,
            entry=result.entry,
            failure=result.failure,
            runtime_s=outcome.runtime_s,
            peak_bytes=outcome.peak_bytes,
            log_bytes=outcome.log.size if outcome.log else 0,
            touched=list(outcome.touched),
        )


def _too_wordy(encoded: Encoded) -> Failure | None:
    """Return the failure of a result whose description no message could carry."""
    size = len(msgspec.json.encode(encoded.meta)) if encoded.meta else 0
    if size <= META_BYTES:
        return None
    fact = f"returned a value whose description takes {size:,} bytes; the limit is {META_BYTES:,}."
    return failure_of(ResultNotSerializableError(fact, fixes=("return fewer files or columns",)))


def _entry(encoded: Encoded, key: str, *, start: int = 0, data: bytes | None = None) -> Entry:
    """Return the manifest's entry of bytes in memory."""
    value = encoded.data if isinstance(encoded.data, bytes) else b""
    return Entry(
        codec=encoded.codec,
        sha256=hashlib.sha256(value).hexdigest(),
        bytes=len(value),
        key=key,
        start=start,
        meta=encoded.meta,
        data=data,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
