"""Lists that know how to show themselves: what a search found, what a run returned."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from typing_extensions import override

from geopod.display import html
from geopod.display.states import look

Found = TypeVar("Found")
MOST_PREVIEW = 120
"""Characters of one result."""
MOST_CELLS = 24
"""Of an array that is shown itself; a larger one is told by its shape."""
MOST_TEXT_ROWS = 20


class _Short(reprlib.Repr):
    """Texts of values, cut inside; a dict keeps its order."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 20
        self.maxstring = self.maxother = MOST_PREVIEW

    @override
    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Return a dict's first items in its own order."""
        if level <= 0:
            return "{…}"
        pieces = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for _, (key, value) in zip(range(self.maxdict), x.items(), strict=False)
        ]
        more = ["…"] if len(x) > self.maxdict else []
        return "{" + ", ".join([*pieces, *more]) + "}"


class Search(list[Found]):
    """What was found: a list that prints a line per item, and is a table in a notebook."""

    def __init__(
        self, found: Iterable[Found], *, row: Callable[[Found], Mapping[str, object]]
    ) -> None:
        """`row`: an item's columns."""
        super().__init__(found)
        self._row = row

    @override
    def __repr__(self) -> str:
        if not self:
            return "[]"
        lines = [f" {item!r}" for item in self[:MOST_TEXT_ROWS]]
        more = [f" … and {len(self) - MOST_TEXT_ROWS} more"] if len(self) > MOST_TEXT_ROWS else []
        return "\n".join(["[", *lines, *more, "]"])

    def _repr_html_(self) -> str:
        """Return the list as a table, for notebooks."""
        rows = [self._row(item) for item in self[: html.MOST_ROWS]]
        columns = list(rows[0]) if rows else []
        noun = "item" if len(self) == 1 else "items"
        return html.table(
            columns,
            ([row.get(column, "") for column in columns] for row in rows),
            total=len(self),
            caption=f"{len(self)} {noun}",
        )


class Results(list[Any]):
    """A run's results: a plain list, and a table in a notebook."""

    def _repr_html_(self) -> str:
        """Return one row per result: what it is, and its beginning."""
        failed = sum(isinstance(value, BaseException) for value in self)
        shown = look("failed" if failed else "succeeded")
        state = html.badge(shown.mark, f"{failed} failed", shown.colour) if failed else ""
        rows = ((index, kind_of(value), preview(value)) for index, value in enumerate(self))
        return html.card(
            "Results",
            str(len(self)),
            html.table(("task", "type", "value"), rows, total=len(self)),
            state=state,
            colour=shown.colour,
        )


def kind_of(value: Any) -> str:
    """Return a value's type with its size: `ndarray float32 (1, 20, 30)`, `list of 3`."""
    name = type(value).__name__
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and shape:
        return f"{name} {dtype or ''} {shape}".replace("  ", " ")
    if isinstance(value, (list, tuple, dict, bytes)):
        return f"{name} of {len(value):,}"
    return "" if value is None else name


def preview(value: Any) -> str:
    """Return the beginning of a value's text in one line; of large arrays and tables none."""
    if isinstance(getattr(value, "shape", None), tuple) and getattr(value, "size", 0) > MOST_CELLS:
        return ""
    if isinstance(value, BaseException):
        text = f"{type(value).__name__}: {str(value).partition(chr(10))[0]}"
    else:
        text = _Short().repr(value)
    flat = " ".join(text.split())
    return flat if len(flat) <= MOST_PREVIEW else f"{flat[:MOST_PREVIEW]}…"
