"""How long an agent waits for its store: no task runs again because that one was away a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from geopod.errors import (
    AuthError,
    GatewayUnavailableError,
    GeopodError,
    PermissionDeniedError,
    RateLimitedError,
)

STORE_PATIENCE_S = 120.0
"""For a store that is away, full or busy: another node may reach it, or find room there."""
STORE_PAUSE_S = (0.2, 10.0)
"""First and longest pause between two tries."""
TROUBLES = (
    OSError,
    AuthError,
    GatewayUnavailableError,
    PermissionDeniedError,
    RateLimitedError,
)
"""What a store raises that may pass. A token is one: the kubelet replaces it within two minutes of
the operator, which may be away itself."""

Value = TypeVar("Value")
log = logging.getLogger(__name__)


async def until_served(ask: Callable[[], Awaitable[Value]], what: str, *, lease_s: float) -> Value:
    """Return what `ask` returns; whatever may pass is waited for. Raises one of `TROUBLES`.

    `lease_s`: how long the tasks that wait may take; so long a refused token is waited for, since
    no other node has a better one.
    """
    loop = asyncio.get_running_loop()
    began, (pause, longest) = loop.time(), STORE_PAUSE_S
    while True:
        try:
            return await ask()
        except TROUBLES as error:
            wait_s = max(pause, _asked_pause_s(error))
            if loop.time() + wait_s > began + _patience_s(error, lease_s):
                raise
            log.warning("%s, again in %.1f s: %s", what, wait_s, error)
        await asyncio.sleep(wait_s)
        pause = min(2 * pause, longest)


def _asked_pause_s(error: Exception) -> float:
    """Return how long the store asks to be left alone; 0: it did not say."""
    return float(error.details.get("retryAfter", 0)) if isinstance(error, GeopodError) else 0.0


def _patience_s(error: Exception, lease_s: float) -> float:
    """Return how long one trouble is waited for, from the first try on."""
    if isinstance(error, AuthError):
        return max(STORE_PATIENCE_S, lease_s)
    status = error.details.get("status") if isinstance(error, GeopodError) else None
    return 0.0 if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else STORE_PATIENCE_S
