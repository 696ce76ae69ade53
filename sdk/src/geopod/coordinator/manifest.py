"""The result manifest in the store: group commit of final records, and how they are read back.

A chunk is created if absent under (epoch, sequence), so two coordinators never share one. The
first chunk of an epoch names the earlier chunks that count: `accepted_keys` follows that, so
nobody reads what an old coordinator wrote after a newer one took over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import msgspec

from geopod.api import names
from geopod.api.results import Entry, ManifestChunk, TaskRecord
from geopod.coordinator.backlog import weigh
from geopod.coordinator.epochs import Fenced, is_newest
from geopod.errors import GatewayUnavailableError, RateLimitedError
from geopod.process import eager
from geopod.store import KeyExistsError, Store

CHUNK_RECORDS = 256
"""So many waiting records are written without waiting for more."""
MOST_RECORDS = 1024
MOST_BYTES = 16 << 20
"""Of one chunk, unless a single report has more: reports pile up while the store is away, failures
and tables may say much, and S3 creates 64 MiB at once, no more."""
SHORTEST_WINDOW_S = 0.05
LONGEST_WINDOW_S = 1.0
"""Between two chunks of one run pass a tenth of its age, within these bounds: a run of any
length has some hundred chunks, and a crash costs at most a second of reports, sent again."""
RETRY_S = 1.0
"""Pause after a failed write (a full disk); records wait, agents keep what is not committed. A
refused token is not waited for: the coordinator makes its own, from a key that a restart reads."""

log = logging.getLogger(__name__)
_decode_chunk = msgspec.json.Decoder(ManifestChunk).decode


class Digest(Protocol):
    """What `hashlib` hands out."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Whom to tell that tasks are committed: the node, its lease, the tasks' indexes."""

    node: int
    lease: str
    indexes: list[int]


@dataclass(frozen=True, slots=True)
class _Report:
    """Records that came together, and whom to tell."""

    records: Sequence[TaskRecord]
    receipt: Receipt | None
    bytes: int


async def accepted_keys(store: Store, environment_uid: str, run_uid: str) -> list[str]:
    """Return the store keys of the chunks that count, in the order of writing."""
    keys = await store.names(names.manifest_prefix(environment_uid, run_uid))
    if not keys:
        return []
    newest = keys[-1].rpartition("-")[0]
    own = [key for key in keys if key.startswith(newest)]
    first = _decode_chunk(await store.get(own[0]))
    return [*(first.accepts or ()), *own]


async def read_records(
    store: Store, keys: Sequence[str], *, digest: Digest | None = None
) -> list[TaskRecord]:
    """Return the records in these chunks, the first one of each index, in the order of writing.

    `digest` is fed with the chunks' bytes.
    """
    records: dict[int, TaskRecord] = {}
    for key in keys:
        data = await store.get(key)
        if digest is not None:
            digest.update(data)
        for record in _decode_chunk(data).records:
            records.setdefault(record.index, record)
    return list(records.values())


async def read_plan(store: Store, keys: Sequence[str]) -> str:
    """Return the plan that the records in these chunks are of; empty: they are of none."""
    for key in reversed(keys):
        plan = _decode_chunk(await store.get(key)).plan_sha256
        if plan:
            return plan
    return ""


async def read_result(store: Store, entry: Entry) -> bytes:
    """Return a committed result's bytes: out of its entry, or from where they lie."""
    if entry.data is not None:
        return entry.data
    return await store.get(entry.key, start=entry.start, length=entry.bytes)


class ManifestWriter:
    """Writes one run's final records in chunks, and says when they count.

    `accepts`: chunks of earlier coordinators that count, `digest`: fed with their bytes.

    `committed` is called with the receipts of each chunk that counts; `failed` with Fenced when a
    newer coordinator was seen before that was certain, or with what went wrong: the process ends.
    """

    def __init__(
        self,
        store: Store,
        environment_uid: str,
        run_uid: str,
        *,
        epoch: int,
        accepts: Sequence[str] = (),
        digest: Digest | None = None,
        committed: Callable[[list[Receipt]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._where = (environment_uid, run_uid)
        self._epoch = epoch
        self._accepts = list(accepts)
        self._digest = sha256() if digest is None else digest
        self.plan_sha256 = ""
        """Of the run's partitions."""
        self.on_piled: Callable[[int], None] = lambda _bytes: None
        """Told how many bytes wait from now on or, negative, are written."""
        self._committed = committed
        self._failed = failed
        self._sequence = 0
        self._waiting: list[_Report] = []
        self._records = 0
        """Of all that waits."""
        self._finished: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._born = self._wrote = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._is_writing = False
        self._task: asyncio.Task[None] | None = None
        """Writes, and waits for the store."""
        self._error: Exception | None = None
        """What went wrong without any wait."""

    @property
    def chunks(self) -> int:
        """How many chunks a reader finds: those accepted from earlier epochs, and own ones."""
        return self._sequence + len(self._accepts)

    @property
    def sha256(self) -> str:
        """sha256 over the bytes of all chunks so far, in their order."""
        return self._digest.hexdigest()

    def add(self, records: Sequence[TaskRecord], receipt: Receipt | None = None) -> None:
        """Take records for the next chunk: at once if none was written lately."""
        report = _Report(records, receipt, weigh(records))
        self._waiting.append(report)
        self._records += len(records)
        self.on_piled(report.bytes)
        if not self._is_writing:
            self._schedule()

    def finish(self, finished: Callable[[], None]) -> None:
        """Write what waits at once and call `finished` when everything is in the store."""
        self._finished = finished
        if not self._is_writing:
            self._start()

    async def take_over(self) -> None:
        """Write the first chunk of this epoch, empty: earlier coordinators are shut out."""
        await self._write(self._encoded([]))

    async def flush(self) -> None:
        """Return when nothing waits any more; raises what went wrong."""
        if not self._is_writing and self._waiting:
            self._start()
        if self._error is not None:
            raise self._error
        if self._task is not None:
            await self._task

    def _schedule(self) -> None:
        """Start a write now or when the window since the last one has passed."""
        now = self._loop.time()
        window = min(max((now - self._born) / 10, SHORTEST_WINDOW_S), LONGEST_WINDOW_S)
        wait = self._wrote + window - now if self._sequence else 0.0
        if wait <= 0 or self._records >= CHUNK_RECORDS:
            self._start()
        elif self._timer is None:
            self._timer = self._loop.call_later(wait, self._start)

    def _start(self) -> None:
        """Write everything that waits: before this returns, where the store lets nobody wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_writing:
            return
        self._is_writing = True
        try:
            task = eager.start(self._drain())
        except Exception as error:  # noqa: BLE001  # the process ends with it
            self._error = error
            self._failed(error)
            return
        if task is not None:
            self._task = task
            task.add_done_callback(self._judge)

    def _judge(self, task: asyncio.Task[None]) -> None:
        if self._task is task:  # its last act may have been to start the next one
            self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)

    async def _drain(self) -> None:
        """Write one chunk, and more while so much waits that another is due."""
        try:
            while self._waiting:
                data, reports = self._cut()
                is_rest = not self._waiting
                await self._write(data)
                self.on_piled(-sum(report.bytes for report in reports))
                # Only after the write: a newer coordinator that comes later lists this chunk.
                if not await is_newest(self._store, self._where[0], self._epoch):
                    raise Fenced
                self._committed([it.receipt for it in reports if it.receipt is not None])
                if is_rest and self._records < CHUNK_RECORDS and self._finished is None:
                    break
        finally:
            self._is_writing = False
        if self._waiting:
            self._schedule()
        elif self._finished is not None:
            finished, self._finished = self._finished, None
            finished()

    def _cut(self) -> tuple[bytes, list[_Report]]:
        """Take the reports of the next chunk, all that wait if they are not too much for it."""
        count = records = 0
        for report in self._waiting:
            records += len(report.records)
            if count and records > MOST_RECORDS:
                break
            count += 1
        data = self._encoded(self._waiting[:count])
        while len(data) > MOST_BYTES and count > 1:
            count //= 2
            data = self._encoded(self._waiting[:count])
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._records -= sum(len(report.records) for report in taken)
        return data, taken

    def _encoded(self, reports: Sequence[_Report]) -> bytes:
        """Return the next chunk with these reports."""
        chunk = ManifestChunk(
            epoch=self._epoch,
            sequence=self._sequence,
            accepts=self._accepts if self._sequence == 0 else None,
            plan_sha256=self.plan_sha256 if reports else "",
            records=[record for report in reports for record in report.records],
        )
        return msgspec.json.encode(chunk)

    async def _write(self, data: bytes) -> None:
        """Create the next chunk; repeats while the store fails."""
        key = names.manifest_key(*self._where, self._epoch, self._sequence)
        while True:
            try:
                await self._store.put(key, data, if_absent=True)
            except KeyExistsError:
                pass  # the epoch is ours alone: an earlier try of ours was answered late
            except (OSError, GatewayUnavailableError, RateLimitedError):
                log.exception("Chunk %s could not be written; again in %.0f s.", key, RETRY_S)
                await asyncio.sleep(RETRY_S)
                continue
            break
        self._digest.update(data)
        self._sequence += 1
        self._wrote = self._loop.time()
