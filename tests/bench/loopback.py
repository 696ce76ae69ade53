"""What aiohttp alone takes to move a file between two processes: the floor of any HTTP store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

CHUNK = 256 << 10


class _Hash:
    """The sha256 of what goes by, or nothing."""

    def __init__(self, *, is_wanted: bool) -> None:
        self.update: Callable[[bytes], object] = hashlib.sha256().update if is_wanted else len


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Yield the port of another process that stores one body, synced, and sends it back."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        asyncio.run(_serve(folder / "stored", writer))
        os._exit(0)
    try:
        yield int(os.read(reader, 16))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


async def _serve(stored: Path, tell: int) -> None:
    async def put(request: web.Request) -> web.Response:
        digest = _Hash(is_wanted="hashed" in request.query)
        with stored.open("wb", buffering=0) as file:
            while chunk := await request.content.readany():
                digest.update(chunk)
                file.write(chunk)
            os.fsync(file.fileno())
        return web.Response(status=201)

    async def get(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(stored)

    app = web.Application(client_max_size=0)
    app.router.add_put("/", put)
    app.router.add_get("/", get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    os.write(tell, str(runner.addresses[0][1]).encode())
    await asyncio.Event().wait()


async def send(session: aiohttp.ClientSession, url: str, source: Path, *, is_hashed: bool) -> None:
    """Put a file; `is_hashed`: both sides make the sha256 of it."""
    digest = _Hash(is_wanted=is_hashed)

    async def chunks() -> AsyncIterator[bytes]:
        with source.open("rb", buffering=0) as file:  # the page cache
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                yield chunk

    length = {"Content-Length": str(source.stat().st_size)}  # noqa: ASYNC240
    query = "?hashed" if is_hashed else ""
    async with session.put(url + query, data=chunks(), headers=length) as answer:
        answer.raise_for_status()


async def receive(
    session: aiohttp.ClientSession, url: str, target: Path, *, is_hashed: bool
) -> None:
    """Get what was put into a new file; `is_hashed`: and make its sha256."""
    digest = _Hash(is_wanted=is_hashed)
    async with session.get(url) as answer:
        with target.open("wb", buffering=0) as file:  # the page cache
            async for chunk in answer.content.iter_any():
                digest.update(chunk)
                file.write(chunk)
    target.unlink()  # noqa: ASYNC240
