"""What installing requirements prints: its text so far, or line by line as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing
from typing import Any

from geopod.api.runs import EnvironmentState
from geopod.backends import Backend

READ_S = 0.25
"""So often this machine's log is read while uv writes it; a cluster's comes whole, in the end."""
BEFORE_READY = frozenset({"Pending", "Starting"})
UNDER_WAY = frozenset({"", "Resolving", "IndexUnreachable", "Updating", "Reconciling", "Ready"})
"""Reasons of an environment that installs, or of which nobody has said yet what it does: one that
is not ready and says `Ready` was so before its spec changed."""


class BuildLog:
    """The log: `await` gives its text, `async for` its lines."""

    def __init__(self, backend: Backend, name: str, *, follow: bool) -> None:
        """`follow`: until nothing is being installed."""
        self._backend = backend
        self._name = name
        self._follow = follow

    def __await__(self) -> Generator[Any, None, str]:
        return self.text().__await__()

    async def text(self) -> str:
        """Return the whole log."""
        if self._follow:
            async with aclosing(self._states()) as states:
                async for _ in states:
                    pass
        return await self._backend.build_log(self._name)

    async def __aiter__(self) -> AsyncGenerator[str, None]:
        """Yield its lines; one that is begun anew is told from its first line."""
        told = ""
        async with aclosing(self._states()) as states:
            async for _ in states:
                text = await self._backend.build_log(self._name)
                whole = text[: text.rfind("\n") + 1]
                start = len(told) if whole.startswith(told) else 0
                told = whole
                for line in whole[start:].splitlines():
                    yield line
        text = await self._backend.build_log(self._name)
        for line in text[len(told) if text.startswith(told) else 0 :].splitlines():
            yield line

    async def _states(self) -> AsyncGenerator[EnvironmentState, None]:
        """Yield whenever there may be more to read, while something is being installed."""
        if not self._follow:
            return
        pause = READ_S if self._backend.name == "local" else None
        async with aclosing(self._backend.watch_environment(self._name)) as states:
            async for state in _at_least_every(states, pause):
                if state.phase not in BEFORE_READY or state.reason not in UNDER_WAY:
                    return
                yield state


async def _at_least_every(
    states: AsyncIterator[EnvironmentState], pause_s: float | None
) -> AsyncGenerator[EnvironmentState, None]:
    """Yield the states as they come, and the last one again whenever a pause has passed."""
    following: asyncio.Future[EnvironmentState] | None = None
    last: EnvironmentState | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(states))
            await asyncio.wait({following}, timeout=pause_s)
            if following.done():
                done, following = following, None
                try:
                    last = done.result()
                except StopAsyncIteration:
                    return
            if last is not None:
                yield last
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait({following})
