"""States and tables as plain text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from geopod.api.runs import EnvironmentState, RunState
from geopod.display.colour import paint, paint_state
from geopod.errors.wording import TENTHS_BELOW_S, span_text

BAR_WIDTH = 20


def duration(seconds: float) -> str:
    """Return a duration as people read it: `0.4s`, `42s`, `1m20s`, `2h05m`."""
    return f"{seconds:.1f}s" if seconds < TENTHS_BELOW_S else span_text(seconds)


def clock(seconds: float) -> str:
    """Return a stopwatch's face: `0:42`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def bar(fraction: float, *, ascii_only: bool, colour: str = "") -> str:
    """Return a bar of 20 cells; its filled part in a colour if one is named."""
    full = round(min(max(fraction, 0.0), 1.0) * BAR_WIDTH)
    filled, empty = ("#", "-") if ascii_only else ("■", "□")
    rest = empty * (BAR_WIDTH - full)
    return paint(filled * full, colour) + (paint(rest, "dim") if colour else rest)


def run_line(
    state: RunState,
    *,
    remaining_s: float | None,
    ascii_only: bool = False,
    colours: bool = False,
) -> str:
    """Return one line on a run: `Running 172/240 ■■■□ 3 failed · 4 running · 1m20s left`."""
    if state.phase in ("", "Queued"):
        return f"Queued: {state.message}" if state.message else "Queued"
    ended = state.succeeded + state.failed + state.cancelled
    fraction = ended / state.total if state.total else 0.0
    colour = ("red" if state.failed else "green") if colours else ""
    words = (", " if ascii_only else " · ").join(
        run_facts(state, remaining_s=remaining_s, colours=colours)
    )
    phase = paint_state(state.phase, on=colours)
    shown = bar(fraction, ascii_only=ascii_only, colour=colour)
    return f"{phase} {ended}/{state.total} {shown} {words}".rstrip()


def run_facts(state: RunState, *, remaining_s: float | None, colours: bool = False) -> list[str]:
    """Return what a line on a run says beside its count: `3 failed`, `4 running`, `1m20s left`."""
    parts = []
    if state.failed:
        parts.append(paint(f"{state.failed} failed", "red", on=colours))
    if state.running:
        parts.append(f"{state.running} running")
    if remaining_s is not None:
        parts.append(f"{duration(remaining_s)} left")
    if state.progress:
        parts.append(state.progress)
    return parts


def environment_line(state: EnvironmentState, *, waited_s: float) -> str:
    """Return one line on an environment that starts: what it waits for, and since when."""
    if state.message:
        words = state.message
    elif not state.nodes:
        words = "Starting"  # nobody has told how many nodes there will be
    elif state.connected < state.nodes:
        words = f"Starting {state.connected}/{state.nodes} nodes"
    else:
        words = f"Staging {state.staged}/{state.nodes}"
    return f"{words} {clock(waited_s)}"


def table(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, colours: bool = False
) -> str:
    """Return rows as aligned columns with capital headings, as kubectl prints them.

    `colours`: headings are bold, and states have their colour.
    """
    heads = [column.upper() for column in columns]
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(columns))]
    lines = []
    for number, line in enumerate([heads, *cells]):
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        padded[-1] = padded[-1].rstrip()
        if colours:
            padded = [
                paint(cell, "bold") if number == 0 else paint_state(cell, on=column == "phase")
                for column, cell in zip(columns, padded, strict=True)
            ]
        lines.append("   ".join(padded).rstrip())
    return "\n".join(lines)


def is_ascii_only(encoding: str | None) -> bool:
    """Say whether only ASCII may be shown on a stream of this encoding."""
    return "utf" not in (encoding or "").lower() or os.environ.get("GEOPOD_ASCII") == "1"
