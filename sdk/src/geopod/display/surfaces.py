"""Where a moving line is shown: a terminal, a pipe, or the cell of a notebook."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from geopod.display.colour import has_colours

if TYPE_CHECKING:
    from geopod.display.progress import Sight

LINE_EVERY_S = 15.0
LINES_OF_A_RUN = 10
"""A line per tenth of the tasks."""
USUAL_COLUMNS = 80
"""Of a terminal that does not know its width."""
REDRAW_S = 0.2
REDRAW_CELL_S = 0.5
"""A notebook keeps and repaints HTML: slower than a terminal's line."""


class Surface(Protocol):
    """Shows one line at a time."""

    every_s: float
    """So often it wants to be shown what is new."""

    def show(self, sight: Sight, *, waited_s: float) -> None:
        """Show how it stands."""
        ...

    def say(self, words: str) -> None:
        """Write a line that stays."""
        ...

    def close(self, last: Sight | None) -> None:
        """Leave; `last`: what was shown last, None for nothing."""
        ...


class Terminal:
    """One line of a terminal that is rewritten, and gone in the end."""

    every_s = REDRAW_S

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours = has_colours(stream)
        self._width = 0

    def show(self, sight: Sight, *, waited_s: float) -> None:
        """Rewrite the line."""
        del waited_s
        plain = sight.text(colours=False)[: max(_columns(self._stream) - 1, 20)]
        fits = len(plain) == len(sight.text(colours=False))
        line = sight.text(colours=True) if self._colours and fits else plain
        self._stream.write("\r" + line + " " * (self._width - len(plain)))
        self._stream.flush()
        self._width = len(plain)

    def say(self, words: str) -> None:
        """Write a line above the moving one."""
        self._clear()
        self._stream.write(f"{words}\n")
        self._stream.flush()

    def close(self, last: Sight | None) -> None:
        """Take the line away."""
        del last
        self._clear()
        self._stream.flush()

    def _clear(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0


class Lines:
    """A line per 15 s or 10 %: for logs and pipes."""

    every_s = REDRAW_S

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown_at = -LINE_EVERY_S
        self._shown_part = 0

    def show(self, sight: Sight, *, waited_s: float) -> None:
        """Write a line if one is due."""
        part = int(sight.fraction * LINES_OF_A_RUN)
        if waited_s - self._shown_at >= LINE_EVERY_S or part > self._shown_part:
            self._shown_at, self._shown_part = waited_s, part
            self.say(sight.text(colours=False))

    def say(self, words: str) -> None:
        """Write a line."""
        self._stream.write(f"{words}\n")
        self._stream.flush()

    def close(self, last: Sight | None) -> None:
        """Leave what was written."""


class Cell:
    """HTML below the cell that runs, replaced in place: a display, no widget."""

    every_s = REDRAW_CELL_S

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = ""
        self._said: list[str] = []

    def show(self, sight: Sight, *, waited_s: float) -> None:
        """Replace the display by how it stands."""
        del waited_s
        self._put(sight.html())

    def say(self, words: str) -> None:
        """Add a line below the moving one."""
        self._said.append(words)
        self._put(self._shown)

    def close(self, last: Sight | None) -> None:
        """Leave the last state: a notebook is read again later."""
        if self._handle is not None and last is not None:
            self._put(last.html())

    def _put(self, shown: str) -> None:
        from geopod.display.html import paragraph

        shown_by: Any = import_module("IPython.display")  # a notebook has it; it is not typed

        if shown == self._shown and self._handle is not None and not self._said:
            return
        self._shown = shown
        page = shown_by.HTML(shown + "".join(paragraph(words) for words in self._said))
        if self._handle is None:
            self._handle = shown_by.display(page, display_id=True)
        else:
            self._handle.update(page)


def surface_of(stream: TextIO) -> Surface:
    """Return where a line is shown: the notebook's cell if there is one, else the stream."""
    if in_notebook():
        return Cell()
    return Terminal(stream) if stream.isatty() else Lines(stream)


def in_notebook() -> bool:
    """Say whether this process is the kernel of a notebook, which shows HTML."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):
        return USUAL_COLUMNS
