"""What the kubelet and Prometheus ask: /livez, /readyz, /metrics; and when watches last told.

kopf's own health endpoint stays green while its watches are dead (nolar/kopf#698): here every
watch must have had a byte, an event or a bookmark, within three minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

SILENT_S = 180.0
"""Bookmarks come once a minute; kopf begins a watch anew after 70 silent seconds."""
Watch = tuple[str, str]
"""Plural of the kind, and namespace (empty: all)."""


class WatchStamps:
    """When each watch last told anything."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Expect nothing yet."""
        self._clock = clock
        self._seen: dict[Watch, float] = {}
        self._opened: set[Watch] = set()

    def expect(self, watches: Iterable[Watch]) -> None:
        """Let these watches be begun from now on."""
        now = self._clock()
        self._seen.update(dict.fromkeys(watches, now))

    def opened(self, watch: Watch) -> None:
        """The server took the watch. It proves nothing about what follows."""
        if watch in self._seen and watch not in self._opened:
            self._opened.add(watch)
            self._seen[watch] = self._clock()

    def told(self, watch: Watch) -> None:
        """The watch brought bytes."""
        if watch in self._seen:
            self._seen[watch] = self._clock()

    def ages_s(self) -> dict[str, float]:
        """Return how long the most silent watch of each kind has told nothing."""
        now = self._clock()
        ages: dict[str, float] = {}
        for (plural, _), at in self._seen.items():
            ages[plural] = max(ages.get(plural, 0.0), now - at)
        return ages

    def are_open(self) -> bool:
        """Whether every expected watch was taken once."""
        return bool(self._seen) and len(self._opened) == len(self._seen)


def watch_of(path: str) -> Watch:
    """Return which watch a request path belongs to."""
    parts = path.strip("/").split("/")
    namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-1] else ""
    return parts[-1], namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the probes look at."""

    stamps: WatchStamps
    is_stuck: Callable[[], bool]
    oldest_s: Callable[[], float]
    is_synced: Callable[[], bool]

    def illness(self) -> str:
        """Return why the process should be started again; empty: it lives."""
        silent = {kind: age for kind, age in self.stamps.ages_s().items() if age >= SILENT_S}
        if silent:
            kind = max(silent, key=lambda each: silent[each])
            return f"the watch of {kind} told nothing for {silent[kind]:.0f} s"
        if self.is_stuck():
            return f"work is {self.oldest_s():.0f} s old and nothing is finished"
        return ""

    def absence(self) -> str:
        """Return why the process is not ready; empty: it is."""
        if not self.is_synced():
            return "not every kind was listed yet"
        return "" if self.stamps.are_open() else "not every watch is open yet"


def probe_app(health: Health, metrics: Callable[[], bytes]) -> web.Application:
    """Return the web application that answers the probes."""

    async def livez(_: web.Request) -> web.Response:
        return _verdict(health.illness())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(health.illness() or health.absence())

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz)])
    app.add_routes([web.get("/metrics", scrape)])
    return app


def _verdict(problem: str) -> web.Response:
    return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")
