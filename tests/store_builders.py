"""Stores of every kind for tests, and a gateway that runs in the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web
from geopod.api import deployment, tokens
from geopod.store.channel import Patience
from geopod.store.directory import DirectoryStore
from geopod.store.gateway import GatewayStore
from geopod.store.later import LaterStore
from geopod.store.objects import ObjectStore
from geopod.testing import MemoryStore
from geopod_gateway.app import Gateway
from geopod_gateway.settings import Settings
from obstore.store import MemoryStore as Bucket

SIGNING_KEY = b"0123456789abcdef0123456789abcdef"
UID = "5a2f6a54-2f4e-4b21-9d0e-0c6a1f2d3e4b"
BY_PROXY = web.ResponseKey("by_proxy", bool)
HASTY = Patience(
    total_s=2.0, first_wait_s=0.01, longest_wait_s=0.05, connect_s=10.0, silence_s=30.0
)


def a_token(path: str = f"{UID}/", **changed) -> str:
    """Return a token for everything of one environment; a test changes one thing."""
    key_id = changed.pop("key_id", path.split("/", maxsplit=1)[0])
    key = changed.pop("key", tokens.key_for(SIGNING_KEY, key_id))
    values = {"may": ("get", "put", "delete"), "now": time.time(), "lifetime_s": 600.0, **changed}
    return tokens.mint(key, key_id=key_id, path=path, **values)


def some_settings(storage: Path, **changed) -> Settings:
    """Return settings of a gateway over a folder that is not synced."""
    values = {"reserve_bytes": 0, "fsync": False, "idle_s": 30.0, **changed}
    return Settings(storage=str(storage), signing_key=SIGNING_KEY, **values)


class Faults:
    """What goes wrong with the requests for objects, in their order; after that, nothing."""

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.seen: list[web.Request] = []

    @property
    def middleware(self):
        """Return the middleware that does it."""

        @web.middleware
        async def spoil(request, handler):
            self.seen.append(request)
            fault = self.script.pop(0) if self.script else "ok"
            if fault.isdecimal():  # a proxy's own answer
                wait = {"Retry-After": "3"} if fault == "429" else {}
                text = "no endpoints available\n"
                answer = web.Response(status=int(fault), text=text, headers=wait)
                answer[BY_PROXY] = True
                return answer
            if fault == "drop":
                request.transport.abort()
                return web.Response()
            response = await handler(request)
            if fault == "lost":
                request.transport.abort()
            elif fault == "cut":
                await cut(request, response)
            return response

        return spoil


async def unsign(_request: web.Request, answer: web.StreamResponse) -> None:
    """Take the gateway's mark from what a proxy answers."""
    if BY_PROXY in answer:
        del answer.headers[deployment.GATEWAY_HEADER]


async def cut(request: web.Request, whole: web.StreamResponse) -> None:
    """Send all headers and half of the body; then the connection is gone."""
    half = web.StreamResponse(status=whole.status, headers=whole.headers)
    half.content_length = len(whole.body)
    await half.prepare(request)
    await half.write(whole.body[: len(whole.body) // 2])
    await asyncio.sleep(0)
    request.transport.close()


@contextlib.asynccontextmanager
async def running(gateway: Gateway, faults: Faults | None = None) -> AsyncIterator[str]:
    """Serve a gateway on a free port; yields its URL."""
    if faults is None:
        async with gateway.serving(host="127.0.0.1", port=0) as served:
            yield "http://{}:{}".format(*served.addresses[0][:2])
        return
    application = gateway.application()
    application.middlewares.append(faults.middleware)
    application.on_response_prepare.append(unsign)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def a_store(url: str, cache: Path, token: Callable[[], str] | None = None):
    """Open a store behind a running gateway, with little patience."""
    source = token or a_token
    async with GatewayStore(url, token=source, cache=cache, patience=HASTY) as store:
        yield store


@contextlib.asynccontextmanager
async def opened(kind: str, folder: Path):
    """Yield an empty store of one kind."""
    if kind == "directory":
        yield DirectoryStore(folder / "store")
    elif kind == "memory":
        yield MemoryStore()
    elif kind == "later":
        async with LaterStore(MemoryStore) as store:
            yield store
    elif kind == "bucket":
        yield ObjectStore(Bucket(), cache=folder / "cache")
    else:
        async with (
            running(Gateway(some_settings(folder / "store"))) as url,
            a_store(url, folder / "cache") as store,
        ):
            yield store
