"""A file that grows by chunks and knows its sha256: what a download or an upload is written to.

Chunks are hashed and written where they arrive: they are in the processor's cache then, and a
thread would fight the event loop for Python's lock (measured: half the rate). A disk that makes us
wait is written to by a thread, batch by batch, so that the loop goes on. Who has few files under
way may have them hashed by a thread too, in batches of 4 MiB (measured: a fifth less time; batches
of 1 MiB cost time): that is memory which a gateway with a thousand uploads does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import time
from pathlib import Path
from typing import Protocol

SLOW_S = 0.05
"""A write into the page cache takes 50 µs; this long it takes when the disk is behind."""
BATCH_BYTES = 4 << 20
"""Handed to a thread at once; two batches are in memory at most."""
MOST_CHUNKS = 1000
"""Linux takes 1024 in one call."""


class Digest(Protocol):
    """What `hashlib` hands out."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


class Writer:
    """Writes chunks one after the other into an open file, from `position` on."""

    def __init__(self, descriptor: int, *, position: int = 0) -> None:
        self.position = position
        self._descriptor = descriptor
        self._is_slow = False
        self._batch: list[bytes] = []
        self._waiting = 0
        self._writing: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Append bytes; waits while the disk is behind."""
        if not self._is_slow:
            began = time.perf_counter()
            write_all(self._descriptor, [chunk], self.position)
            self.position += len(chunk)
            self._is_slow = time.perf_counter() - began > SLOW_S
            return
        self._batch.append(chunk)
        self._waiting += len(chunk)
        if self._waiting >= BATCH_BYTES:
            await self._hand_over()

    async def flush(self) -> None:
        """Return when everything is written; raises what writing raised."""
        await self._hand_over()
        await self._written()

    async def _hand_over(self) -> None:
        await self._written()
        batch, position = self._batch, self.position
        self.position, self._batch, self._waiting = position + self._waiting, [], 0
        if batch:
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(None, write_all, self._descriptor, batch, position)

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await asyncio.shield(writing)


class Spool:
    """One new file, readable by its owner alone until it has its final name."""

    def __init__(self, path: Path, *, is_hashed_aside: bool = False) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self.path = path
        self._descriptor = os.open(path, flags, 0o600)
        self._writer = Writer(self._descriptor)
        self._hash = hashlib.sha256()
        self._is_hashed_aside = is_hashed_aside
        self._unhashed: list[bytes] = []
        self._waiting = 0
        self._hashing: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Append bytes; waits while the disk or the hash is behind."""
        if self._is_hashed_aside:
            await self._hash_aside(chunk)
        else:
            self._hash.update(chunk)
        await self._writer.add(chunk)

    async def finish(self) -> str:
        """Close the file and return its sha256."""
        await self._writer.flush()
        os.close(self._descriptor)
        self._descriptor = -1
        await self._hashed()
        _update(self._hash, self._unhashed)
        return self._hash.hexdigest()

    async def _hash_aside(self, chunk: bytes) -> None:
        self._unhashed.append(chunk)
        self._waiting += len(chunk)
        if self._waiting >= BATCH_BYTES:
            await self._hashed()
            batch, self._unhashed, self._waiting = self._unhashed, [], 0
            loop = asyncio.get_running_loop()
            self._hashing = loop.run_in_executor(None, _update, self._hash, batch)

    async def _hashed(self) -> None:
        hashing, self._hashing = self._hashing, None
        if hashing is not None:
            await asyncio.shield(hashing)

    async def discard(self) -> None:
        """Remove the file; after `finish` too. Its name may have been taken already."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                await self._writer.flush()
            os.close(self._descriptor)
            self._descriptor = -1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108  # as quick as it gets: small files come by here


def _update(digest: Digest, batch: list[bytes]) -> None:
    for chunk in batch:
        digest.update(chunk)


def write_all(descriptor: int, batch: list[bytes], position: int) -> None:
    """Write chunks one after the other at `position`; raises OSError for a full disk."""
    for start in range(0, len(batch), MOST_CHUNKS):
        chunks = batch[start : start + MOST_CHUNKS]
        wanted = sum(map(len, chunks))
        written = os.pwritev(descriptor, chunks, position)
        if written != wanted:
            raise OSError(errno.ENOSPC, f"{written} of {wanted} bytes could be written")
        position += wanted
