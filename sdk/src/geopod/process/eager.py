"""Coroutines that begin at once, in the caller's own turn of the event loop.

`loop.create_task` lets the loop turn before the first line runs. On the way of a short task that
turn is a tenth of a millisecond for nothing: most coroutines there never wait. Python 3.12 has
`asyncio.eager_task_factory`; this is what 3.11 lacks of it.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run a coroutine up to its first wait, and the rest as a task; None: it never waited.

    What it raises before it waits is raised here. It is its own task from the first line on, so
    that `asyncio.timeout` in it ends it and not its caller.
    """
    loop = asyncio.get_running_loop()
    rest = _Rest(work)
    task = loop.create_task(rest.go_on())
    with _current(loop, task):
        rest.begin()
    return None if rest.has_ended else task


@contextmanager
def _current(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> Iterator[None]:
    """Let a task be the current one until the block ends."""
    caller = asyncio.current_task(loop)
    if caller is not None:
        _leave_task(loop, caller)
    _enter_task(loop, task)
    try:
        yield
    finally:
        _leave_task(loop, task)
        if caller is not None:
            _enter_task(loop, caller)


class _Rest:
    """A coroutine that begins here and goes on as a task."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self.has_ended = True
        """It never waited, or failed before it did."""
        self._work = work
        self._waited_for: Any = None

    def begin(self) -> None:
        """Run up to the first wait."""
        try:
            self._waited_for = self._work.send(None)
        except StopIteration:
            return
        self.has_ended = False

    async def go_on(self) -> None:
        """Wait for what it waits for, and go on."""
        if not self.has_ended:
            await self

    def __await__(self) -> Generator[Any, Any, None]:
        work, waited_for = self._work, self._waited_for
        while True:
            try:
                answer = yield waited_for
            except BaseException as error:  # noqa: BLE001  # a cancellation is the work's to answer
                step = partial(work.throw, error)
            else:
                step = partial(work.send, answer)
            try:
                waited_for = step()
            except StopIteration:
                return
