"""Run a process's main coroutine until it ends or SIGTERM asks it to."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Coroutine
from typing import Any


def run_process(main: Coroutine[Any, Any, int]) -> int:
    """Run the coroutine of a whole process and return its exit code."""
    try:
        import uvloop  # no wheels for every platform
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def until_told(serving: Awaitable[None]) -> bool:
    """Await `serving` until SIGTERM or SIGINT; True: a signal ended it. Raises what it raises."""
    task = asyncio.ensure_future(serving)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def log_to_stderr() -> None:
    """Write what happens to stderr, one line each."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
