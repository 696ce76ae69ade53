"""One task of a run, plain."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from typing_extensions import override

from geopod.api.results import LogLine
from geopod.client import aio
from geopod.client.aio.explain import Explanation
from geopod.client.interrupt import leaving
from geopod.client.loop import LoopThread
from geopod.client.sync.forwarding import Forwarded, mirrors


class Task:
    """One task of a run, with the names of `concurrent.futures`."""

    index = Forwarded()
    """The task, counted from 0."""
    state = Forwarded()
    """`pending`, `succeeded`, `skipped`, `failed` or `cancelled`."""
    reason = Forwarded()
    """The manifest's word for the failure, `OutOfMemory`; empty without one."""
    attempts = Forwarded()
    """How many attempts it took; 0 while it has not ended."""
    node = Forwarded()
    """The node that ran it; None while it has not ended."""
    runtime = Forwarded()
    """Seconds of the last attempt; None while it has not ended."""
    peak_memory = Forwarded()
    """Bytes at the most; None while it has not ended."""

    def __init__(self, task: aio.Task, loop: LoopThread) -> None:
        self._aio = task
        self._loop = loop

    @override
    def __repr__(self) -> str:
        return repr(self._aio)

    def _repr_html_(self) -> str:
        """Return a card for notebooks."""
        return self._aio._repr_html_()

    def done(self) -> bool:
        """Say whether the task has ended."""
        return self._aio.done()

    def cancelled(self) -> bool:
        """Say whether the task was cancelled."""
        return self._aio.cancelled()

    @mirrors(aio.Task.result)
    def result(self, timeout: float | str | None = None, *, allow_pickle: bool = False) -> Any:
        with self._leaving():
            return self._loop.run(self._aio.result(timeout, allow_pickle=allow_pickle))

    @mirrors(aio.Task.exception)
    def exception(self, timeout: float | str | None = None) -> Exception | None:
        with self._leaving():
            return self._loop.run(self._aio.exception(timeout))

    def _leaving(self) -> AbstractContextManager[None]:
        run = self._aio.run
        return leaving([run], lambda: self._loop.run(run.cancel()))

    @mirrors(aio.Task.cancel)
    def cancel(self) -> None:
        self._loop.run(self._aio.cancel())

    @mirrors(aio.Task.logs)
    def logs(self, *, follow: bool = False) -> Iterator[LogLine]:
        return read_lines(self._aio.run, self._aio.logs(follow=follow), self._loop)

    @mirrors(aio.Task.explain)
    def explain(self) -> Explanation:
        return self._loop.run(self._aio.explain())

    @mirrors(aio.Task.reproduce)
    def reproduce(self, *, debug: bool = False) -> Any:
        value = self._loop.run(self._aio.prepare())(debug=debug)
        return self._loop.run(value) if inspect.iscoroutine(value) else value

    def add_done_callback(self, function: Callable[[Task], object]) -> None:
        """Call `function(task)` once the task has ended, on a thread for callbacks.

        At once if it has ended already. What it raises is logged, as `concurrent.futures` does.
        """

        async def add() -> None:
            self._aio.add_done_callback(
                lambda _: self._loop.aside.submit(_call_back, function, self)
            )

        if self.done():
            _call_back(function, self)
        else:
            self._loop.run(add())


def _call_back(function: Callable[[Task], object], task: Task) -> None:
    try:
        function(task)
    except Exception:
        logging.getLogger("geopod").exception("A callback of %r failed", task)


def read_lines(
    run: aio.Run, lines: AsyncGenerator[LogLine, None], loop: LoopThread
) -> Iterator[LogLine]:
    """Yield log lines; who reads them only looks on, so that no Ctrl-C cancels the run."""
    with leaving([run]):
        yield from loop.iterate(lines)
