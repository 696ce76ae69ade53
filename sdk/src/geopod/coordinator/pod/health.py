"""Port 9090 of a pod: `/livez`, `/readyz`, `/metrics`."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"
UNAVAILABLE = 503


class HealthServer:
    """Answers probes and Prometheus."""

    def __init__(self, *, is_ready: Callable[[], bool], render: Callable[[], bytes]) -> None:
        self._is_ready = is_ready
        self._render = render
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> None:
        """Listen on all addresses."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=port).start()

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        """Whoever answers lives: a loop that stands still is ended by the watchdog."""
        return web.Response(text="ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._is_ready():
            return web.Response(text="ok")
        return web.Response(text="no orders are taken yet", status=UNAVAILABLE)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._render(), headers={"Content-Type": METRICS_TYPE})
