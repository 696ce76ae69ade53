"""A proxy before the gateway that holds a chosen request: kills hit the very moment they mean."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import aiohttp
from aiohttp import web
from geopod.api import deployment

ASKED = (
    *(deployment.TOKEN_HEADER, deployment.DIGEST_HEADER, deployment.WRITER_HEADER),
    *("If-None-Match", "If-Match", "Range"),
)
"""Headers that the gateway reads."""
OWN = frozenset({"Transfer-Encoding", "Content-Length", "Connection", "Date", "Server"})
"""Headers of an answer that the proxy writes itself."""


@dataclass(eq=False)
class Catch:
    """One request to come, held at a moment."""

    method: str
    path: re.Pattern[str]
    when: str
    """`asked`: before the gateway hears of it; `done`: before its answer goes back."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    is_lost: bool = False
    """It never arrives."""

    def let_go(self, *, lost: bool = False) -> None:
        """Let it arrive now, or never."""
        self.is_lost = lost
        self.released.set()


class Gate(Catch):
    """A task of a run that waits at a socket: caught while it runs."""

    def __init__(self, path: Path) -> None:
        super().__init__("", re.compile("$^"), "")
        self.path = str(path)
        self.behind: Catch | None = None
        """A moment that must have passed too before any task goes on."""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Gate]:
        """Let tasks come and wait until they are let go, or the block ends."""
        server = await asyncio.start_unix_server(self._hold, self.path)
        try:
            yield self
        finally:
            self.let_go()
            server.close()

    async def _hold(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold(self)
        if self.behind is not None:
            await self.behind.released.wait()
        writer.close()


class Tap:
    """Everything between geopod's processes and the store."""

    def __init__(self, gateway: str) -> None:
        self.url = ""
        self._gateway = gateway
        self._armed: list[Catch] = []
        self._session: aiohttp.ClientSession

    def catch(self, method: str, path: str, when: str) -> Catch:
        """Hold the next request of this kind."""
        made = Catch(method, re.compile(path), when)
        self._armed.append(made)
        return made

    def disarm(self, caught: Catch) -> None:
        """Wait for it no longer."""
        if caught in self._armed:
            self._armed.remove(caught)
        caught.let_go()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Pass on until the block ends."""
        server = web.Server(self._pass_on)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        connector = aiohttp.TCPConnector(force_close=True)  # a killed gateway leaves no dead ones
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            self._session = session
            try:
                yield
            finally:
                for caught in self._armed:
                    caught.let_go(lost=True)
                await runner.cleanup()

    async def _pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        caught = self._caught(request)
        if caught is not None and caught.when == "asked":
            await hold(caught)
            if caught.is_lost:
                return _hang_up(request)
        try:
            answer = await self._ask(request, body)
        except (aiohttp.ClientError, OSError):
            self._catch_again(caught)
            return _hang_up(request)
        if caught is not None and caught.when == "done":
            if answer.status >= HTTPStatus.BAD_REQUEST:
                self._catch_again(caught)
                return answer
            await hold(caught)
            if caught.is_lost:
                return _hang_up(request)
        return answer

    async def _ask(self, request: web.BaseRequest, body: bytes) -> web.Response:
        headers = {name: request.headers[name] for name in ASKED if name in request.headers}
        async with self._session.request(
            request.method, self._gateway + request.raw_path, data=body or None, headers=headers
        ) as asked:
            kept = {name: text for name, text in asked.headers.items() if name not in OWN}
            return web.Response(status=asked.status, body=await asked.read(), headers=kept)

    def _catch_again(self, caught: Catch | None) -> None:
        """Hold the next request of the kind: this one was not carried out."""
        if caught is not None and not caught.released.is_set():
            self._armed.append(caught)

    def _caught(self, request: web.BaseRequest) -> Catch | None:
        for caught in self._armed:
            if caught.method == request.method and caught.path.search(request.path):
                self._armed.remove(caught)
                return caught
        return None


async def hold(caught: Catch) -> None:
    """Say that it is here, and wait until it is let go."""
    caught.reached.set()
    await caught.released.wait()


def _hang_up(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
