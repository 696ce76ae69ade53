"""Closes connections on which nobody finishes a request's headers, or asks anything.

aiohttp ends a connection that is idle after a request; one that never completes its first is held
for ever. Bodies and answers have time limits of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aiohttp import web

Connection = TypeVar("Connection")


class Connections:
    """Which connections have a request under way, and since when the others have none."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._busy: set[Any] = set()
        self._idle: dict[Any, float] = {}

    async def track(
        self, request: web.Request, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer a request; its connection counts as busy for so long."""
        connection = request.protocol
        self._busy.add(connection)
        self._idle.pop(connection, None)
        try:
            return await answer(request)
        finally:
            self._busy.discard(connection)

    def overdue(self, connections: Iterable[Connection], *, now: float) -> list[Connection]:
        """Return those that have been idle for too long; all that are open are given each time."""
        idle = {one for one in connections if one not in self._busy}
        self._idle = {one: self._idle.get(one, now) for one in idle}
        return [one for one in idle if now - self._idle[one] > self._idle_s]

    async def close_overdue(self, server: web.Server) -> None:
        """Look again and again, as long as the server runs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._idle_s / 4)
            for connection in self.overdue(server.connections, now=loop.time()):
                connection.force_close()
