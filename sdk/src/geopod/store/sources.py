"""What is sent to a gateway: bytes or a file, in chunks, as often as a request is repeated."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 256 << 10
"""Of one write to the socket; the pages were just hashed, so reading them is a copy."""
INLINE_BYTES = 1 << 20
"""Hashed in the caller's thread: 0.6 ms."""


class Source(Protocol):
    """Bytes of a known length that can be read again."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    async def sha256(self) -> str:
        """Return the hash of all of them."""
        ...

    def chunks(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`."""
        ...


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    async def sha256(self) -> str:
        """Return the hash of all bytes."""
        if self.size <= INLINE_BYTES:
            return hashlib.sha256(self._data).hexdigest()
        return await asyncio.to_thread(lambda: hashlib.sha256(self._data).hexdigest())

    async def chunks(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`."""
        view = memoryview(self._data)[start : start + length]
        for offset in range(0, length, CHUNK_BYTES):
            yield bytes(view[offset : offset + CHUNK_BYTES])


class FileSource:
    """A file, held open; the caller closes."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    async def sha256(self) -> str:
        """Return the hash of all bytes."""
        return await asyncio.to_thread(self._hash)

    async def chunks(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`; fewer if the file shrank, which ends the request."""
        end = start + length
        while start < end:
            chunk = os.pread(self._descriptor, min(CHUNK_BYTES, end - start), start)
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _hash(self) -> str:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
