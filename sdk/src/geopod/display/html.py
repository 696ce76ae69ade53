"""The pieces of what a notebook shows: escaped text, tables, folds, bars.

No script, no style sheet, no network: only elements with inline styles, so that the same HTML
reads in Jupyter, VS Code, nbconvert and on a code host. Colours come from the page
(`currentColor`), so that dark themes keep their own; a state is a mark and a word before it is a
colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape as escape_html

MOST_ROWS = 20
"""Rows of a list that are shown; the rest is counted."""
MOST_CHARACTERS = 2000
"""Of one traceback or message; the middle goes, the end says what happened."""
MOST_BYTES = 100_000
"""No card may be larger: a notebook keeps every one of them."""

FRAME = (
    "border:1px solid rgba(128,128,128,.35);border-left:4px solid {colour};border-radius:4px;"
    "padding:.5em .8em;margin:.2em 0;max-width:60em;line-height:1.45"
)
TABLE = "border:none;margin:.3em 0;color:inherit;font-size:inherit;background:none"
CELL = "text-align:left;padding:.1em .9em .1em 0;vertical-align:top"
QUIET = "opacity:.75"
CODE = "font-family:monospace;white-space:pre-wrap;margin:.3em 0;font-size:.92em"


def escape(value: object) -> str:
    """Return a value's text for HTML, quotes too."""
    return escape_html(str(value), quote=True)


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return a text without its middle if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def card(kind: str, name: str, *body: str, state: str = "", colour: str = "#8a8a8a") -> str:
    """Return a framed box with a headline; `state` and all of `body` are HTML already."""
    head = f"{escape(kind)} <strong>{escape(name)}</strong> {state}"
    label = escape(f"{kind} {name}")
    return (
        f'<div role="group" aria-label="{label}" style="{FRAME.format(colour=colour)}">'
        f"<div>{head}</div>{''.join(body)}</div>"
    )


def facts(pairs: Mapping[str, object]) -> str:
    """Return names with their values, empty values left out."""
    rows = "".join(
        f'<tr style="background:none"><th scope="row" style="{CELL};font-weight:normal;{QUIET}">'
        f'{escape(name)}</th><td style="{CELL}">{escape(value)}</td></tr>'
        for name, value in pairs.items()
        if value not in (None, "", (), [])
    )
    return f'<table style="{TABLE}">{rows}</table>' if rows else ""


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    total: int | None = None,
    caption: str = "",
) -> str:
    """Return a table of at most 20 rows; `total`: how many there are in all."""
    shown = [list(row) for _, row in zip(range(MOST_ROWS), rows, strict=False)]
    heads = "".join(f'<th scope="col" style="{CELL}">{escape(name)}</th>' for name in columns)
    lines = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in shown
    )
    left = (total or len(shown)) - len(shown)
    more = f'<div style="{QUIET}">and {left:,} more</div>' if left > 0 else ""
    title = f'<caption style="text-align:left">{escape(caption)}</caption>' if caption else ""
    return (
        f'<table style="{TABLE}">{title}<thead><tr>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table>{more}"
    )


def fold(summary: str, text: str) -> str:
    """Return a text that opens at a click, or with the keyboard."""
    return (
        f"<details><summary>{escape(summary)}</summary>"
        f'<pre style="{CODE}">{escape(shortened(text))}</pre></details>'
    )


def paragraph(text: str) -> str:
    """Return a text of its own; line breaks stay."""
    return f'<div style="white-space:pre-wrap;margin:.3em 0">{escape(shortened(text))}</div>'


def code(text: str) -> str:
    """Return a text in which every column counts."""
    return f'<pre style="{CODE}">{escape(shortened(text))}</pre>'


def steps(texts: Sequence[str], *, title: str = "fix") -> str:
    """Return what to do, numbered."""
    items = "".join(f"<li><code>{escape(text)}</code></li>" for text in texts)
    return f'<div>{escape(title)}:<ol style="margin:.1em 0">{items}</ol></div>' if items else ""


def badge(mark: str, word: str, colour: str) -> str:
    """Return a state: its mark and colour are said by its word too."""
    return (
        f'<span style="color:{colour};font-weight:600">'
        f'<span aria-hidden="true">{escape(mark)}</span> {escape(word)}</span>'
    )


def meter(parts: Sequence[tuple[int, str]], total: int, *, label: str) -> str:
    """Return a bar of coloured parts: (how many, colour), of `total`."""
    whole = max(total, 1)
    cells = "".join(
        f'<span style="display:inline-block;height:100%;width:{100 * count / whole:.2f}%;'
        f'background:{colour}"></span>'
        for count, colour in parts
        if count
    )
    return (
        f'<div role="img" aria-label="{escape(label)}" style="height:.7em;max-width:30em;'
        "margin:.4em 0;background:rgba(128,128,128,.25);border-radius:3px;overflow:hidden;"
        f'white-space:nowrap;font-size:1em;line-height:0">{cells}</div>'
    )
