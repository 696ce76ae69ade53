"""A file that grows by chunks and knows its sha256: what a download or an upload is written to.

Writing and hashing happen in a thread, one batch at a time, while the next batch is received.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path

BATCH_BYTES = 1 << 20
"""A hop to a thread costs 50 µs, hashing this much 600 µs; two batches are in memory at most."""


class Spool:
    """One new file, readable by its owner alone until it has its final name."""

    def __init__(self, path: Path) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self.path = path
        self.size = 0
        self._descriptor = os.open(path, flags, 0o600)
        self._hash = hashlib.sha256()
        self._batch: list[bytes] = []
        self._waiting = 0
        self._writing: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Append bytes; waits while the disk is behind."""
        self._batch.append(chunk)
        self._waiting += len(chunk)
        self.size += len(chunk)
        if self._waiting >= BATCH_BYTES:
            await self._hand_over()

    async def finish(self, *, fsync: bool = False) -> str:
        """Close the file and return its sha256; `fsync`: when it is on the disk."""
        if self._writing is None and self._waiting <= BATCH_BYTES and not fsync:
            self._write(self._batch)
        else:
            await self._hand_over()
            await self._written()
            if fsync:
                await asyncio.to_thread(os.fsync, self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        return self._hash.hexdigest()

    async def discard(self) -> None:
        """Remove the file; after `finish` too. Its name may have been taken already."""
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._written()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108  # as quick as it gets: small files come by here

    async def _hand_over(self) -> None:
        batch, self._batch, self._waiting = self._batch, [], 0
        await self._written()
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write, batch)

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await asyncio.shield(writing)

    def _write(self, batch: list[bytes]) -> None:
        data = memoryview(b"".join(batch))
        self._hash.update(data)
        while data:
            data = data[os.write(self._descriptor, data) :]
