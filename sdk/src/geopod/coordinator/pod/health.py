"""Port 9090 of a pod: `/livez`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"
UNAVAILABLE = 503
READY_WITHIN_S = 3.0
"""A start takes about one: who asks during it is answered at its end, not a probe's period later.

Less than the probe's own time-out.
"""


class HealthServer:
    """Answers probes and Prometheus."""

    def __init__(
        self,
        *,
        ready: asyncio.Event,
        render: Callable[[], bytes],
        ready_within_s: float = READY_WITHIN_S,
    ) -> None:
        """`ready`: set while orders are taken."""
        self._ready = ready
        self._ready_within_s = ready_within_s
        self._render = render
        self._runner: web.AppRunner | None = None

    async def start(self, listening: socket.socket) -> None:
        """Answer those who come, and those who have come already."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        """Whoever answers lives: a loop that stands still is ended by the watchdog."""
        return web.Response(text="ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._ready_within_s):
                await self._ready.wait()
        if self._ready.is_set():
            return web.Response(text="ok")
        return web.Response(text="no orders are taken yet", status=UNAVAILABLE)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._render(), headers={"Content-Type": METRICS_TYPE})
