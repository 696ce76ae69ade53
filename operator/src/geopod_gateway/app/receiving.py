"""Bytes of a request's body into a file, in bounded memory, and no slower than allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from aiohttp import web
from geopod.store.spool import Spool, Writer

from geopod_gateway.app.asking import RefusedError


class Sink(Protocol):
    """Takes a body's chunks."""

    async def add(self, chunk: bytes) -> None:
        """Take the next one."""
        ...


async def body(request: web.BaseRequest, sink: Sink, *, limit: int, idle_s: float) -> int:
    """Give a body to `sink` and return its length.

    Raises RefusedError for one that is longer than `limit`, stops moving, or ends too early.
    """
    received = 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(idle_s) as patience:
            moved = loop.time()
            while chunk := await request.content.readany():
                received += len(chunk)
                if received > limit:
                    raise RefusedError(413, "TooLarge", f"The body has more than {limit} bytes.")
                await sink.add(chunk)
                if loop.time() - moved > idle_s / 8:  # a timer per chunk would cost a tenth
                    moved = loop.time()
                    patience.reschedule(moved + idle_s)
    except TimeoutError as error:
        raise RefusedError(408, "TooSlow", f"No byte came for {idle_s:g} s.") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise RefusedError(400, "Broken", "The body ended too early.") from error
    return received


async def to_file(
    request: web.BaseRequest, path: Path, *, limit: int, idle_s: float
) -> tuple[Spool, str]:
    """Return a finished spool with a body's bytes, and their sha256; none is left on an error."""
    spool = Spool(path)
    try:
        await body(request, spool, limit=limit, idle_s=idle_s)
        return spool, await spool.finish()
    except BaseException:
        await spool.discard()
        raise


async def into(
    request: web.BaseRequest, descriptor: int, *, start: int, length: int, idle_s: float
) -> None:
    """Write a body of exactly `length` bytes at `start` of an open file."""
    writer = Writer(descriptor, position=start)
    try:
        received = await body(request, writer, limit=length, idle_s=idle_s)
    finally:
        await writer.flush()
    if received != length:
        raise RefusedError(400, "Broken", f"{received} of {length} bytes came.")


async def text(request: web.BaseRequest, *, limit: int, idle_s: float) -> bytes:
    """Return a short body."""
    chunks: list[bytes] = []
    await body(request, _Kept(chunks), limit=limit, idle_s=idle_s)
    return b"".join(chunks)


class _Kept:
    """Keeps chunks in memory."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def add(self, chunk: bytes) -> None:
        """Keep the next one."""
        self._chunks.append(chunk)
