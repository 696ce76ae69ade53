"""Coroutines that begin at once, in the caller's own turn of the event loop.

`loop.create_task` lets the loop turn before the first line runs. On the way of a short task that
turn is a tenth of a millisecond for nothing: most coroutines there never wait. Python 3.12 has
`asyncio.eager_task_factory`; this is what 3.11 lacks of it.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from geopod.errors.base import override


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run a coroutine up to its first wait, and the rest as a task; None: it never waited.

    What it raises before it waits is raised here. It is its own task from the first line on, so
    that `asyncio.timeout` in it ends it and not its caller.
    """
    loop = asyncio.get_running_loop()
    caller = asyncio.current_task(loop)
    rest = _Rest(work)
    own = cast("asyncio.Task[Any]", rest)
    if caller is not None:
        _leave_task(loop, caller)
    _enter_task(loop, own)
    try:
        rest.waited_for = work.send(None)
    except StopIteration:
        return None
    finally:
        _leave_task(loop, own)
        if caller is not None:
            _enter_task(loop, caller)
    rest.task = loop.create_task(rest)
    return rest.task


class _Rest(Coroutine[Any, Any, None]):
    """A coroutine that has begun. In its first lines it stands for the task that it may become.

    A task of its own would cost each start as much as the turn of the loop that it saves.
    """

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self.waited_for: Any = None
        """What the task has to wait for first."""
        self.task: asyncio.Task[None] | None = None
        """There is one before anything can ask to cancel it: that takes a turn of the loop."""
        self._work = work

    @override
    def send(self, value: Any, /) -> Any:
        """Go on with the work (asyncio calls this)."""
        if self.waited_for is not None:
            first, self.waited_for = self.waited_for, None
            return first
        return self._work.send(value)

    @override
    def throw(self, *error: Any) -> Any:
        """Raise an error inside the work (asyncio calls this)."""
        self.waited_for = None
        return self._work.throw(*error)

    @override
    def close(self) -> None:
        """Give the work up."""
        self._work.close()

    @override
    def __await__(self) -> Generator[Any, Any, None]:
        return self._work.__await__()

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the task, as `asyncio.timeout` does."""
        return self.task is not None and self.task.cancel(msg)

    def cancelling(self) -> int:
        """Return how often it was asked to be cancelled."""
        return 0 if self.task is None else self.task.cancelling()

    def uncancel(self) -> int:
        """Take back one request."""
        return 0 if self.task is None else self.task.uncancel()
