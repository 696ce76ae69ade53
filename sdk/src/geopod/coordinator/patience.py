"""How long a coordinator waits for its store, which may be away, full or busy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from geopod.errors import GatewayUnavailableError, RateLimitedError

PATIENCE_S = 120.0
"""After that a process ends that can do nothing without: its last words stand in the environment's
conditions, which say only that it starts as long as it waits."""
PAUSE_S = (0.5, 10.0)
"""First and longest pause between two tries."""
TROUBLES = (GatewayUnavailableError, RateLimitedError)
"""A gateway that is away, full or busy. A folder's OSError is not waited for: on one machine its
user is there and reads it."""

Value = TypeVar("Value")
log = logging.getLogger(__name__)


async def until_served(
    ask: Callable[[], Awaitable[Value]], what: str, *, patience_s: float = PATIENCE_S
) -> Value:
    """Return what `ask` returns; whatever may pass is waited for. Raises one of `TROUBLES`."""
    loop = asyncio.get_running_loop()
    give_up, (pause, longest) = loop.time() + patience_s, PAUSE_S
    while True:
        try:
            return await ask()
        except TROUBLES as error:
            if loop.time() + pause > give_up:
                raise
            log.warning("%s, again in %.1f s: %s", what, pause, error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
