"""How long a coordinator waits for its store: it is of no use without one, and loses nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from geopod.errors import GatewayUnavailableError, RateLimitedError

PAUSE_S = (0.5, 10.0)
"""First and longest pause between two tries."""
TROUBLES = (GatewayUnavailableError, RateLimitedError)
"""A gateway that is away, full or busy. A folder's OSError is not waited for: on one machine its
user is there and reads it."""

Value = TypeVar("Value")
log = logging.getLogger(__name__)


async def until_served(ask: Callable[[], Awaitable[Value]], what: str) -> Value:
    """Return what `ask` returns; whatever may pass is waited for, for ever."""
    pause, longest = PAUSE_S
    while True:
        try:
            return await ask()
        except TROUBLES as error:
            log.warning("%s, again in %.1f s: %s", what, pause, error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
