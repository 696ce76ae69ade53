"""A moving line while something is waited for; silent for the first half second.

A terminal gets one line that is rewritten, a notebook one display that is replaced, anything else
a line per 15 s or 10 %. It goes to stderr or the notebook's cell, never to stdout, and never goes
backwards. `GEOPOD_PROGRESS=0` turns it off. A state that comes is only kept; the line is made at
most five times a second, however many tasks end.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TextIO

from geopod.display.states import look, state_badge
from geopod.display.surfaces import Surface, surface_of
from geopod.display.text import environment_line, is_ascii_only, run_facts, run_line

if TYPE_CHECKING:
    from geopod.api.runs import EnvironmentState, RunState

SILENT_S = 0.5
ENOUGH_TASKS, ENOUGH_FRACTION = 5, 0.05
"""Less than this has ended: too little to say how long the rest takes."""
PACE_EVERY_S = 0.2
"""Looks at the pace are so far apart, or a fast run's are all of one moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen at one moment of a wait."""

    run: RunState | None = None
    environment: EnvironmentState | None = None
    remaining_s: float | None = None
    waited_s: float = 0.0
    ascii_only: bool = False

    @property
    def fraction(self) -> float:
        """How much of a run has ended, 0 to 1."""
        run = self.run
        return ended_of(run) / run.total if run is not None and run.total else 0.0

    def text(self, *, colours: bool) -> str:
        """Return it as one line."""
        if self.run is not None:
            return run_line(
                self.run,
                remaining_s=self.remaining_s,
                ascii_only=self.ascii_only,
                colours=colours,
            )
        if self.environment is not None:
            return environment_line(self.environment, waited_s=self.waited_s)
        return ""

    def html(self) -> str:
        """Return it for the cell of a notebook."""
        from geopod.display import html  # only in a notebook

        run = self.run
        if run is None:
            phase = self.environment.phase if self.environment is not None else "Starting"
            words = html.escape(self.text(colours=False))
            return f'<div role="status">{state_badge(phase)} {words}</div>'
        parts = [
            (run.succeeded, look("succeeded").colour),
            (run.failed, look("failed").colour),
            (run.cancelled, look("cancelled").colour),
            (run.running, look("running").colour),
        ]
        count = f"{ended_of(run)}/{run.total}"
        facts = run_facts(run, remaining_s=self.remaining_s)
        words = html.escape(" · ".join([count, *facts]) if run.phase else run.message)
        bar = html.meter(parts, run.total, label=f"{ended_of(run)} of {run.total} tasks ended")
        return (
            f'<div role="status">Run <strong>{html.escape(run.name)}</strong> '
            f"{state_badge(run.phase or 'Queued')} {words}{bar}</div>"
        )


def ended_of(state: RunState) -> int:
    """Return how many of a run's tasks have ended."""
    return state.succeeded + state.failed + state.cancelled


class Progress:
    """The line of one wait inside a coroutine: `with Progress(None) as line: line.run(state)`."""

    def __init__(self, enabled: bool | None, stream: TextIO | None = None) -> None:  # noqa: FBT001  # as the keyword `progress`
        stream = sys.stderr if stream is None else stream
        if enabled is None:
            enabled = os.environ.get("GEOPOD_PROGRESS") != "0"
        self._surface: Surface | None = surface_of(stream) if enabled and stream else None
        self._ascii = is_ascii_only(getattr(stream, "encoding", None))
        self._began = time.monotonic()
        self._run: RunState | None = None
        self._environment: EnvironmentState | None = None
        self._most = 0
        self._ended: deque[tuple[float, int]] = deque(maxlen=50)
        self._drawer: asyncio.TimerHandle | None = None
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawer is not None:
            self._drawer.cancel()
        if self._surface is not None and self._shown:
            self._surface.close(self._sight())

    def run(self, state: RunState) -> None:
        """Show how a run goes."""
        ended, now = ended_of(state), time.monotonic()
        if ended < self._most:
            return  # a restarted coordinator counts anew: what has ended has ended
        self._most = ended
        self._run = state
        if not self._ended or now - self._ended[-1][0] >= PACE_EVERY_S:
            self._ended.append((now, ended))
        self._schedule()

    def environment(self, state: EnvironmentState) -> None:
        """Show what an environment that starts is waiting for."""
        self._environment = state
        self._schedule()

    @property
    def is_shown(self) -> bool:
        """Somebody may be reading."""
        return self._surface is not None

    def say(self, words: str) -> None:
        """Write a line that stays, above the moving one."""
        if self._surface is not None:
            self._surface.say(words)

    @property
    def remaining_s(self) -> float | None:
        """Seconds left by the pace so far; None while too little has ended to say."""
        total = self._run.total if self._run is not None else 0
        ended = self._most
        if ended < ENOUGH_TASKS or ended < ENOUGH_FRACTION * total or ended >= total:
            return None
        (first, before), (last, after) = self._ended[0], self._ended[-1]
        if after == before:
            return None
        return (last - first) / (after - before) * (total - ended)

    def _sight(self) -> Sight:
        waited = time.monotonic() - self._began
        if self._run is not None:
            return Sight(
                run=self._run,
                remaining_s=self.remaining_s,
                waited_s=waited,
                ascii_only=self._ascii,
            )
        return Sight(environment=self._environment, waited_s=waited)

    def _schedule(self) -> None:
        if self._surface is not None and self._drawer is None:
            silent = SILENT_S - (time.monotonic() - self._began)
            self._later(max(silent, 0.0))

    def _later(self, delay: float) -> None:
        self._drawer = asyncio.get_running_loop().call_later(delay, self._draw)

    def _draw(self) -> None:
        if self._surface is not None:
            self._shown = True
            sight = self._sight()
            self._surface.show(sight, waited_s=sight.waited_s)
            self._later(self._surface.every_s)
