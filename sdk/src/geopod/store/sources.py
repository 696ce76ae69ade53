"""What is sent to a gateway: bytes or a file, as often as a request is repeated.

A file goes to the socket by the kernel where neither TLS nor another event loop stands in the way.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from typing_extensions import override

CHUNK_BYTES = 256 << 10
"""Of one write to the socket; the pages were just hashed, so reading them is a copy."""
INLINE_BYTES = 1 << 20
"""Hashed in the caller's thread: 0.6 ms."""
READ_BYTES = 1 << 20


class Source(Protocol):
    """Bytes of a known length that can be read again."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    async def sha256(self, length: int | None = None) -> str:
        """Return the hash of all of them, or of the first ones."""
        ...

    def body(self, start: int, length: int) -> Any:
        """Return `length` bytes from `start` as a request's body."""
        ...


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    async def sha256(self, length: int | None = None) -> str:
        """Return the hash of all bytes, or of the first ones."""
        data = memoryview(self._data)[:length]
        if len(data) <= INLINE_BYTES:
            return hashlib.sha256(data).hexdigest()
        return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())

    async def body(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`."""
        view = memoryview(self._data)[start : start + length]
        for offset in range(0, length, CHUNK_BYTES):
            yield bytes(view[offset : offset + CHUNK_BYTES])


class FileSource:
    """A file, held open; the caller closes."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    async def sha256(self, length: int | None = None) -> str:
        """Return the hash of all bytes, or of the first ones."""
        length = self.size if length is None else length
        file = os.fdopen(os.dup(self._descriptor), "rb", buffering=0)  # outlives a cancelled upload
        return await asyncio.to_thread(_hash, file, length)

    def body(self, start: int, length: int) -> aiohttp.Payload:
        """Return `length` bytes from `start`; if the file shrank, the request ends early."""
        return _Span(self._descriptor, range(start, start + length))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _hash(file: BinaryIO, length: int) -> str:
    """Return the hash of a file's first bytes; others may move its position meanwhile."""
    digest = hashlib.sha256()
    with file:
        for position in range(0, length, READ_BYTES):
            digest.update(os.pread(file.fileno(), min(READ_BYTES, length - position), position))
    return digest.hexdigest()


class _Span(aiohttp.Payload):
    """Bytes of an open file as a request's body."""

    def __init__(self, descriptor: int, span: range) -> None:
        super().__init__(descriptor, content_type="application/octet-stream")
        self._descriptor = descriptor
        self._span = span
        self._size = len(span)

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("A file's bytes are no text.")

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        if isinstance(writer, StreamWriter) and await self._send_by_kernel(writer):
            return
        for position in self._span[::CHUNK_BYTES]:
            wanted = min(CHUNK_BYTES, self._span.stop - position)
            await writer.write(os.pread(self._descriptor, wanted, position))

    async def _send_by_kernel(self, writer: StreamWriter) -> bool:
        """Let the kernel copy from the file to the socket; False: it cannot, nothing was sent.

        Meanwhile nobody reads: an answer ahead of the body's end is read when the other side hangs
        up, and says why it did.
        """
        transport = writer.transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return False
        if not self._span:  # no byte is no count for sendfile
            return False
        writer.send_headers()
        with os.fdopen(os.dup(self._descriptor), "rb", buffering=0) as file:
            try:
                await asyncio.get_running_loop().sendfile(
                    transport, file, self._span.start, len(self._span), fallback=False
                )
            except (NotImplementedError, RuntimeError):  # uvloop; a transport of another kind
                return False
            except ConnectionError:
                return True  # the connection raises it where there is no answer
        return True
