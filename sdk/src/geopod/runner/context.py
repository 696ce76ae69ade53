"""What a task may know of its place in the run, and what it may tell: `ctx`."""

# mypy: disable-error-code="explicit-override"
# `typing.override` came with 3.12; the runner runs on 3.10.

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

MAX_PROGRESS_CHARACTERS = 1000
"""A table by mistake would be no message."""
PROGRESS_INTERVAL_S = 1.0

ReportProgress = Callable[[int, "float | None", str], None]


class Cancellation:
    """Whether the run was cancelled; set by SIGTERM, read by `ctx.cancelled()`."""

    def __init__(self) -> None:
        self.requested = False
        self.is_polled = False
        """The function asks for it: it wants to end by itself and is not interrupted."""


class Context:
    """The second parameter `ctx` of a function that declares it; also `current_context()`."""

    def __init__(
        self,
        *,
        index: int,
        attempt: int,
        place: Place,
        cancellation: Cancellation,
        report: ReportProgress,
    ) -> None:
        self.index = index
        """The task, from 0; per node: the partition."""
        self.attempt = attempt
        """Which attempt of the task this is, from 1."""
        self._place = place
        self._cancellation = cancellation
        self._report = report
        self._reported_s = float("-inf")

    @property
    def total(self) -> int:
        """How many tasks the run has."""
        return self._place.total

    @property
    def run(self) -> str:
        """The run's uid."""
        return self._place.run

    @property
    def scratch(self) -> Path:
        """A folder for the run's files on this node; a file that `f` returns is taken from it."""
        return Path(self._place.scratch)

    @property
    def core_extent(self) -> dict[str, float] | None:
        """The node's own part of the job extent, without halo; None without layers."""
        core = self._place.core
        return None if core is None else extent_of(core)

    def progress(self, fraction: float | None = None, text: str = "") -> None:
        """Say how far the task is (0 to 1); more than one call a second is dropped.

        A fraction that is no number, as 0 of 0 gives, is not told.
        """
        now = time.monotonic()
        if now - self._reported_s >= PROGRESS_INTERVAL_S:
            self._reported_s = now
            told = None if fraction is None else float(fraction)
            if told is not None and not math.isfinite(told):  # no reason to end a task
                told = None
            self._report(self.index, told, str(text)[:MAX_PROGRESS_CHARACTERS])

    def log(self, text: object) -> None:
        """Write a line to the task's log at once."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201  # the log is the task's stderr

    def cancelled(self) -> bool:
        """Say whether the run was cancelled; who asks is given the grace time to end by itself."""
        self._cancellation.is_polled = True
        return self._cancellation.requested

    def __repr__(self) -> str:
        return f"<Context task {self.index} (of {self.total}), attempt {self.attempt}>"


class Place:
    """What all tasks of a child have in common."""

    def __init__(self, *, run: str, total: int, scratch: str, core: Sequence[float] | None) -> None:
        self.run = run
        self.total = total
        self.scratch = scratch
        self.core = core


RUNNING_MODULE = "_geopod_runner.context"
"""This module's name in the runner's zipapp; a user's `geopod` has a copy of its own."""

_current: list[Context] = []


def enter(context: Context | None) -> None:
    """Make `context` the one that `current_context()` returns; None: no task runs."""
    _current.clear()
    if context is not None:
        _current.append(context)


def current_context() -> Context:
    """Return the running task's context; RuntimeError outside a task."""
    running = sys.modules.get(RUNNING_MODULE, sys.modules[__name__])
    contexts: list[Context] = vars(running)["_current"]
    if not contexts:
        raise RuntimeError("no task is running: current_context() works inside a geopod function")
    return contexts[0]


def extent_of(bounds: Sequence[float]) -> dict[str, float]:
    """Return a new extent of `[xMin, yMin, xMax, yMax]`, its keys in the documented order."""
    x_min, y_min, x_max, y_max = bounds
    return {"xMin": x_min, "xMax": x_max, "yMin": y_min, "yMax": y_max}
