"""The store's routes: read the request, ask `access`, do it. Never unpickles, logs no token."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web
from geopod.api import deployment, tokens
from geopod.store import KeyMissingError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from geopod_gateway import access
from geopod_gateway.access import Allowed, Asked, Refused
from geopod_gateway.app import objects
from geopod_gateway.app.asking import RefusedError, single
from geopod_gateway.app.connections import Connections
from geopod_gateway.app.objects import Shelf
from geopod_gateway.app.parts import Uploads
from geopod_gateway.app.room import Room
from geopod_gateway.app.storage import BucketStorage, FolderStorage, Storage
from geopod_gateway.app.sweep import sweep_for_ever
from geopod_gateway.app.tenants import Usage
from geopod_gateway.metrics import Metrics
from geopod_gateway.settings import Settings

_QUIET = frozenset({"Missing", "Exists", "Replaced", "BadRange"})
"""Answers that are part of ordinary work, not refusals to look at."""


GRACE_S = 20.0
"""Below the pod's grace period of 30 s: transfers under way may end."""
KEEP_ALIVE_S = 75.0
"""Longer than clients keep an idle connection (30 s): they close it, and no request is lost."""
MAX_LINE_BYTES = 8190
"""Of the request's line and of each header: a token has at most 4096 characters."""


class Gateway:
    """One gateway: its storage, its counters, and the handler of every request."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        storage = open_storage(settings)
        usage = Usage(settings.quota_bytes)
        room = Room(
            storage.spool,
            reserve_bytes=settings.reserve_bytes,
            usage=usage,
            max_object_bytes=settings.max_object_bytes,
        )
        self.metrics = Metrics()
        self.shelf = Shelf(storage, room, self.metrics, settings.idle_s)
        self._settings = settings
        self._clock = clock
        self._uploads = Uploads(self.shelf, fsync=settings.fsync)
        self._connections = Connections(settings.idle_s)

    def application(self) -> web.Application:
        """Return the application; it sweeps while it runs."""
        app = web.Application(client_max_size=0)
        app.router.add_get("/livez", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._count)
        app.router.add_route("*", "/{anything:.*}", self._handle)
        app.on_response_prepare.append(_sign)
        app.cleanup_ctx.append(self._sweeping)
        return app

    @contextlib.asynccontextmanager
    async def serving(self, *, host: str | None, port: int) -> AsyncIterator[web.AppRunner]:
        """Serve, with limits to what a connection may hold; ends what is under way at the end."""
        runner = web.AppRunner(
            self.application(),
            access_log=None,  # paths would name users' runs; a line costs more than a small GET
            shutdown_timeout=GRACE_S,
            keepalive_timeout=KEEP_ALIVE_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
        )
        await runner.setup()
        closing = asyncio.create_task(self._connections.close_overdue(_server(runner)))
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
            yield runner
        finally:
            closing.cancel()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request for an object; its connection is busy meanwhile."""
        return await self._connections.track(request, self._counted)

    async def _counted(self, request: web.Request) -> web.StreamResponse:
        """Answer one request for an object; every end of it is counted."""
        began = time.perf_counter()
        method = request.method if request.method in access.METHODS else "other"
        try:
            response = await self._answer(request)
        except RefusedError as refused:
            response = self._refuse(refused)
        except KeyMissingError:
            response = self._refuse(RefusedError(404, "Missing", "There is no such object."))
        except (ConnectionError, TimeoutError):  # whoever asked is gone, or reads no more
            request.protocol.force_close()
            raise
        except OSError as error:
            response = self._refuse(_failure(error))
        finally:
            self.metrics.seconds.labels(method).observe(time.perf_counter() - began)
        self.metrics.requests.labels(method, str(response.status)).inc()
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.method,
            request.raw_path,
            request.headers.getall(deployment.TOKEN_HEADER, ()),
            single(request, deployment.DIGEST_HEADER),
        )
        decided = access.decide(asked, key_of=self._key_of, now=self._clock())
        if isinstance(decided, Refused):
            raise RefusedError(decided.status, decided.reason, decided.message)
        if decided.query:
            return await self._answer_part(request, decided)
        match request.method:
            case "PUT":
                return await objects.write(request, decided, self.shelf)
            case "DELETE":
                return await objects.delete(decided, self.shelf)
            case _ if decided.key.endswith("/"):
                return await objects.list_folder(decided, self.shelf)
            case _:
                return await objects.read(request, decided, self.shelf)

    async def _answer_part(self, request: web.Request, allowed: Allowed) -> web.StreamResponse:
        match request.method:
            case "PUT":
                return await self._uploads.receive(request, allowed)
            case "POST" if "uploads" in allowed.query:
                return await self._uploads.begin(request, allowed)
            case "POST":
                return await self._uploads.complete(request, allowed)
            case "DELETE":
                return await self._uploads.abandon(allowed)
            case _:
                return await self._uploads.show(allowed)

    def _key_of(self, key_id: str) -> bytes:
        return tokens.key_for(self._settings.signing_key, key_id)

    def _refuse(self, refused: RefusedError) -> web.Response:
        if refused.reason not in _QUIET:
            self.metrics.refusals.labels(refused.reason).inc()
        text = f"{refused.reason}: {refused.message}\n"
        return web.Response(status=refused.status, text=text, headers=refused.headers)

    async def _alive(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        """Answer whether objects can be read; without room for more it is still ready."""
        try:
            free = self.shelf.room.free_bytes
        except OSError as error:
            return web.Response(status=503, text=f"storage: {error.strerror}\n")
        self.metrics.free.set(free)
        return web.Response(text="ok\n" if free > 0 else "ok, read-only: the disk is full\n")

    async def _count(self, _request: web.Request) -> web.Response:
        body = generate_latest(self.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _sweeping(self, _app: web.Application) -> AsyncIterator[None]:
        settings = self._settings
        wait_s = 0.0
        if settings.quota_bytes:  # enforced from the first request on
            self.shelf.room.usage.counted(await self.shelf.storage.usage())
            wait_s = settings.sweep_s
        sweeping = asyncio.create_task(
            sweep_for_ever(
                self.shelf,
                first_wait_s=wait_s,
                every_s=settings.sweep_s,
                upload_keep_s=settings.upload_keep_s,
            )
        )
        yield
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping


def _server(runner: web.AppRunner) -> web.Server:
    """Return the server of a runner that was set up."""
    assert runner.server is not None  # noqa: S101  # setup made it
    return runner.server


def open_storage(settings: Settings) -> Storage:
    """Return the storage that the settings name."""
    if settings.storage.startswith("s3://"):
        return BucketStorage(settings.storage, spool=settings.spool)
    return FolderStorage(Path(settings.storage), fsync=settings.fsync)


def _failure(error: OSError) -> RefusedError:
    """Return the answer for a storage that failed; its own words go to the log alone."""
    logging.getLogger("geopod_gateway").error("storage: %s", error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return RefusedError(507, "DiskFull", "The store has no room left.")
    return RefusedError(503, "StorageFailed", "The store's storage failed; try again.")


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    """Let every answer say that it is the gateway's, not that of something before it."""
    response.headers[deployment.GATEWAY_HEADER] = "1"
    response.headers["Server"] = "geopod"
