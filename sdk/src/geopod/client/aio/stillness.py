"""What is said while nothing moves: after half a minute, why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from geopod.errors import GeopodError

if TYPE_CHECKING:
    from geopod.client.aio.explain import Explanation
    from geopod.display.progress import Progress

STILL_S = 30.0
"""dask/dask-kubernetes#404: a wrong image, and thirty silent minutes."""


class Stillness:
    """Says once why nothing moves, whenever what is seen stays the same for half a minute.

    A timer and no task: a wait of milliseconds pays nothing for it.
    """

    def __init__(self, explain: Callable[[], Awaitable[Explanation]], line: Progress) -> None:
        self._explain = explain
        self._line = line
        self._seen: object = None
        self._said = ""
        self._timer: asyncio.TimerHandle | None = None
        self._explaining: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._restart()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._explaining is not None:
            self._explaining.cancel()

    def look(self, sight: object) -> None:
        """Take what is seen now; something else than before is movement."""
        if sight != self._seen:
            self._seen = sight
            self._restart()

    def _restart(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._line.is_shown:
            self._timer = asyncio.get_running_loop().call_later(STILL_S, self._begin)

    def _begin(self) -> None:
        self._explaining = asyncio.ensure_future(self._tell())
        self._restart()

    async def _tell(self) -> None:
        with suppress(GeopodError):  # who cannot explain must not end the wait
            words = first_line(await self._explain())
            if words != self._said:
                self._line.say(words)
            self._said = words


def first_line(explanation: Explanation) -> str:
    """Return the nearest cause and what mends it; without one, the summary."""
    wrong = [finding for finding in explanation.findings if finding.ok is False]
    if not wrong:
        return explanation.summary
    fix = f" fix: {wrong[-1].fixes[0]}" if wrong[-1].fixes else ""
    return f"{wrong[-1].about}: {wrong[-1].fact}{fix}"
