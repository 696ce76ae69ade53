"""Bytes of a request's body into a file, in bounded memory, and no slower than allowed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web
from geopod.store.spool import BATCH_BYTES, Spool

from geopod_gateway.app.asking import RefusedError


async def body(request: web.BaseRequest, *, limit: int, idle_s: float) -> AsyncIterator[bytes]:
    """Yield a body's chunks; raises RefusedError for one that is too long, or stops moving."""
    received = 0
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await request.content.readany()
        except TimeoutError as error:
            raise RefusedError(408, "TooSlow", f"No byte came for {idle_s:g} s.") from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise RefusedError(400, "Broken", "The body ended too early.") from error
        if not chunk:
            return
        received += len(chunk)
        if received > limit:
            raise RefusedError(413, "TooLarge", f"The body has more than {limit} bytes.")
        yield chunk


async def to_file(
    request: web.BaseRequest, path: Path, *, limit: int, idle_s: float, fsync: bool
) -> tuple[Spool, str]:
    """Return a finished spool with a body's bytes, and their sha256; none is left on an error."""
    spool = Spool(path)
    try:
        async for chunk in body(request, limit=limit, idle_s=idle_s):
            await spool.add(chunk)
        return spool, await spool.finish(fsync=fsync)
    except BaseException:
        await spool.discard()
        raise


async def into(
    request: web.BaseRequest, descriptor: int, *, start: int, length: int, idle_s: float
) -> None:
    """Write a body of exactly `length` bytes at `start` of an open file."""
    position = start
    batch: list[bytes] = []
    waiting = 0
    async for chunk in body(request, limit=length, idle_s=idle_s):
        batch.append(chunk)
        waiting += len(chunk)
        if waiting >= BATCH_BYTES:
            await asyncio.to_thread(_write, descriptor, batch, position)
            position, batch, waiting = position + waiting, [], 0
    await asyncio.to_thread(_write, descriptor, batch, position)
    if position + waiting != start + length:
        raise RefusedError(400, "Broken", f"{position + waiting - start} of {length} bytes came.")


def _write(descriptor: int, batch: list[bytes], position: int) -> None:
    data = memoryview(b"".join(batch))
    while data:
        written = os.pwrite(descriptor, data, position)
        data, position = data[written:], position + written
