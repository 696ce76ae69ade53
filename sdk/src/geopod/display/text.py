"""States and tables as plain text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from geopod.api.runs import EnvironmentState, RunState
from geopod.errors.wording import TENTHS_BELOW_S, span_text

BAR_WIDTH = 20


def duration(seconds: float) -> str:
    """Return a duration as people read it: `0.4s`, `42s`, `1m20s`, `2h05m`."""
    return f"{seconds:.1f}s" if seconds < TENTHS_BELOW_S else span_text(seconds)


def clock(seconds: float) -> str:
    """Return a stopwatch's face: `0:42`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def bar(fraction: float, *, ascii_only: bool) -> str:
    """Return a bar of 20 cells."""
    full = round(min(max(fraction, 0.0), 1.0) * BAR_WIDTH)
    filled, empty = ("#", "-") if ascii_only else ("■", "□")
    return filled * full + empty * (BAR_WIDTH - full)


def run_line(state: RunState, *, remaining_s: float | None, ascii_only: bool = False) -> str:
    """Return one line on a run: `Running 172/240 ■■■□ 3 failed, 4 running, 1m20s left`."""
    if state.phase in ("", "Queued"):
        return f"Queued: {state.message}" if state.message else "Queued"
    ended = state.succeeded + state.failed + state.cancelled
    parts = []
    if state.failed:
        parts.append(f"{state.failed} failed")
    if state.running:
        parts.append(f"{state.running} running")
    if remaining_s is not None:
        parts.append(f"{duration(remaining_s)} left")
    if state.progress:
        parts.append(state.progress)
    fraction = ended / state.total if state.total else 0.0
    words = f" {', '.join(parts)}" if parts else ""
    return f"{state.phase} {ended}/{state.total} {bar(fraction, ascii_only=ascii_only)}{words}"


def environment_line(state: EnvironmentState, *, waited_s: float) -> str:
    """Return one line on an environment that starts: what it waits for, and since when."""
    if state.message:
        words = state.message
    elif state.connected < state.nodes:
        words = f"Starting {state.connected}/{state.nodes} nodes"
    else:
        words = f"Staging {state.staged}/{state.nodes}"
    return f"{words} {clock(waited_s)}"


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Return rows as aligned columns with capital headings, as kubectl prints them."""
    heads = [column.upper() for column in columns]
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(columns))]
    lines = (
        "   ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
        for line in [heads, *cells]
    )
    return "\n".join(line.rstrip() for line in lines)


def is_ascii_only(encoding: str | None) -> bool:
    """Say whether only ASCII may be shown on a stream of this encoding."""
    return "utf" not in (encoding or "").lower() or os.environ.get("GEOPOD_ASCII") == "1"
