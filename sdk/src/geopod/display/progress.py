"""A moving line on stderr while something is waited for; silent for the first half second.

A terminal gets one line that is rewritten; anything else a line per 15 s or 10 %. It never goes
backwards. `GEOPOD_PROGRESS=0` turns it off.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Self, TextIO

from geopod.display.text import environment_line, is_ascii_only, run_line

if TYPE_CHECKING:
    from geopod.api.runs import EnvironmentState, RunState

SILENT_S = 0.5
REDRAW_S = 0.2
LINE_EVERY_S = 15.0
LINE_EVERY_FRACTION = 0.1
ENOUGH_TASKS, ENOUGH_FRACTION = 5, 0.05
"""Less than this has ended: too little to say how long the rest takes."""


class Progress:
    """The line of one wait inside a coroutine: `with Progress(None) as line: line.run(state)`."""

    def __init__(self, enabled: bool | None, stream: TextIO | None = None) -> None:  # noqa: FBT001  # as the keyword `progress`
        self._stream = sys.stderr if stream is None else stream
        if enabled is None:
            enabled = os.environ.get("GEOPOD_PROGRESS") != "0"
        self._enabled = enabled and self._stream is not None
        self._terminal = self._enabled and self._stream.isatty()
        self._began = time.monotonic()
        self._line = ""
        self._shown_at = -LINE_EVERY_S
        self._shown_fraction = 0.0
        self._ended: deque[tuple[float, int]] = deque(maxlen=50)
        self._drawer: asyncio.TimerHandle | None = None
        self._left: float | None = None
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawer is not None:
            self._drawer.cancel()
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    def run(self, state: RunState) -> None:
        """Show how a run goes."""
        if not self._enabled:
            return
        ended = state.succeeded + state.failed + state.cancelled
        now = time.monotonic()
        self._ended.append((now, ended))
        self._left = self._remaining(ended, state.total)
        line = run_line(
            state,
            remaining_s=self._left,
            ascii_only=is_ascii_only(getattr(self._stream, "encoding", None)),
        )
        self._show(line, ended / state.total if state.total else 0.0, now)

    def environment(self, state: EnvironmentState) -> None:
        """Show what an environment that starts is waiting for."""
        if self._enabled:
            now = time.monotonic()
            self._show(environment_line(state, waited_s=now - self._began), 0.0, now)

    @property
    def is_shown(self) -> bool:
        """Somebody may be reading."""
        return self._enabled

    def say(self, words: str) -> None:
        """Write a line that stays, above the moving one."""
        if self._enabled:
            clear = f"\r{' ' * self._width}\r" if self._width else ""
            self._stream.write(f"{clear}{words}\n")
            self._stream.flush()

    def _remaining(self, ended: int, total: int) -> float | None:
        if ended < ENOUGH_TASKS or ended < ENOUGH_FRACTION * total or ended >= total:
            return None
        (first, before), (last, after) = self._ended[0], self._ended[-1]
        if after == before:
            return None
        return (last - first) / (after - before) * (total - ended)

    @property
    def remaining_s(self) -> float | None:
        """Seconds left by the pace so far; None while too little has ended to say."""
        return self._left

    def _show(self, line: str, fraction: float, now: float) -> None:
        self._line = line
        if self._terminal:
            if self._drawer is None:
                self._later(max(SILENT_S - (now - self._began), 0.0))
            return
        due = now - self._shown_at >= LINE_EVERY_S
        due = due or fraction - self._shown_fraction >= LINE_EVERY_FRACTION
        if due and now - self._began >= SILENT_S:
            self._shown_at, self._shown_fraction = now, fraction
            self._stream.write(line + "\n")
            self._stream.flush()

    def _later(self, delay: float) -> None:
        self._drawer = asyncio.get_running_loop().call_later(delay, self._draw)

    def _draw(self) -> None:
        line = self._line[: max(_columns() - 1, 20)]
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)
        self._later(REDRAW_S)


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns
    except OSError:
        return 80
