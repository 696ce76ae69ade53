"""Run a process's main coroutine until it ends or SIGTERM asks it to."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn

COLLECT_AFTER = 10_000
"""New objects between two collections: a call makes some hundred, a collection takes 50 µs cold."""


MOST_OPEN_FILES = 1 << 16
"""An agent has one open per result that waits for the store, a coordinator one per node; 1024, the
usual limit, is a few seconds of a quick map."""


def end_on_sigterm() -> None:
    """End at once by SIGTERM until `until_told` listens for it.

    The first process of a container ignores what it has no handler for; imports take seconds.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def run_pod(main: Coroutine[Any, Any, int]) -> NoReturn:
    """Run the coroutine of a pod's process and end with its exit code.

    Threads that still read, hash or unpack are not waited for: their folders go with the pod.
    """
    run_process(_and_exit(main))
    os._exit(1)  # cancelled before it began


async def _and_exit(main: Coroutine[Any, Any, int]) -> int:
    code = 1
    try:
        code = await main
    except Exception:
        logging.getLogger("geopod").exception("The process ends.")
        raise
    finally:  # here: the loop would wait for its threads
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_process(main: Coroutine[Any, Any, int]) -> int:
    """Run the coroutine of a whole process and return its exit code."""
    gc.freeze()  # what was imported stays: no collection looks at it
    gc.set_threshold(COLLECT_AFTER, 20, 50)
    allow_open_files()
    try:
        import uvloop  # no wheels for every platform
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def allow_open_files() -> None:
    """Let this process have MOST_OPEN_FILES, or as many as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # a system that promises more than it gives
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


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
