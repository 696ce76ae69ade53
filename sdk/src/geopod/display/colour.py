"""Colours of a terminal: only where somebody looks, and not when they were asked away.

https://no-color.org: `NO_COLOR` set to anything turns them off; so does `geopod --no-color`.
"""

from __future__ import annotations

import os
from typing import TextIO

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
STATE_COLOURS = {
    "Ready": "green",
    "Succeeded": "green",
    "Failed": "red",
    "Running": "blue",
    "Starting": "blue",
    "Suspended": "yellow",
    "Cancelled": "yellow",
    "Terminated": "dim",
    "ok": "green",
    "no": "red",
}


def has_colours(stream: TextIO | None) -> bool:
    """Say whether text for this stream, None if it is closed, may carry colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return os.environ.get("FORCE_COLOR", "") not in ("", "0") or (
        stream is not None and stream.isatty()
    )


def paint(text: str, colour: str, *, on: bool = True) -> str:
    """Return the text in a colour; `on`: whether there are any."""
    return f"\x1b[{CODES[colour]}m{text}\x1b[0m" if on and text and colour in CODES else text


def paint_state(word: str, *, on: bool) -> str:
    """Return a state's word in its colour, padding and all."""
    return paint(word, STATE_COLOURS.get(word.strip(), ""), on=on)
