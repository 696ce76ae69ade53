"""What is said while nothing moves: after half a minute, why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from geopod.errors import GeopodError

if TYPE_CHECKING:
    from geopod.client.aio.explain import Explanation
    from geopod.display.progress import Progress

STILL_S = 30.0
"""dask/dask-kubernetes#404: a wrong image, and thirty silent minutes."""


@asynccontextmanager
async def explained(
    explain: Callable[[], Awaitable[Explanation]], line: Progress
) -> AsyncIterator[Callable[[object], None]]:
    """Give a function to call with what is seen; when that stays the same, say once why."""
    moved = asyncio.Event()
    seen: list[object] = []

    def look(sight: object) -> None:
        if seen != [sight]:
            seen[:] = [sight]
            moved.set()

    async def watch() -> None:
        said = ""
        while True:
            moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(STILL_S):
                    await moved.wait()
                continue
            with suppress(GeopodError):  # who cannot explain must not end the wait
                words = first_line(await explain())
                if words != said:
                    line.say(words)
                said = words

    watching = asyncio.ensure_future(watch())
    try:
        yield look
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def first_line(explanation: Explanation) -> str:
    """Return the nearest cause and what mends it; without one, the summary."""
    wrong = [finding for finding in explanation.findings if finding.ok is False]
    if not wrong:
        return explanation.summary
    fix = f" fix: {wrong[-1].fixes[0]}" if wrong[-1].fixes else ""
    return f"{wrong[-1].about}: {wrong[-1].fact}{fix}"
