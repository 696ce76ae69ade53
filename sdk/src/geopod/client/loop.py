"""The private event loop of the plain client: one thread, started at first use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

from geopod.errors import GeopodError

Value = TypeVar("Value")
_END = object()
UNWIND_S = 2.0
"""So long Ctrl-C waits for what it cancelled: only then it is known which runs were left."""


class LoopThread:
    """Runs coroutines on one background loop, so that plain calls work inside notebooks too."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="geopod", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Return what the coroutine returns; Ctrl-C cancels it and is raised here.

        An error that is raised on purpose says all there is to know: its traceback begins here,
        so that people read their own line and the fix, not the way through our coroutines.
        """
        ended = threading.Event()
        future = asyncio.run_coroutine_threadsafe(_whole(work, ended), self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            ended.wait(UNWIND_S)
            raise
        except GeopodError as error:
            raise error.with_traceback(None) from error.__cause__

    def iterate(self, values: AsyncGenerator[Value, None]) -> Iterator[Value]:
        """Yield an asynchronous generator's values one by one; close it when the caller stops."""

        async def following() -> Any:
            return await anext(values, _END)

        try:
            while (value := self.run(following())) is not _END:
                yield value
        except GeneratorExit:
            self.run(values.aclose())
            raise


async def _whole(work: Coroutine[Any, Any, Value], ended: threading.Event) -> Value:
    """Do the work; say when it has ended, be it by its cancellation."""
    try:
        return await work
    finally:
        ended.set()


_shared: LoopThread | None = None
_lock = threading.Lock()


def shared_loop() -> LoopThread:
    """Return the one loop thread of this process."""
    global _shared  # noqa: PLW0603  # one per process, made at first use
    with _lock:
        if _shared is None:
            _shared = LoopThread()
        return _shared
