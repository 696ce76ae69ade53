"""How numbers read in errors: sizes, durations, moments, lists. Pure text, no clock.

Source of the forms: the examples of the project's SDK design (§6), `7.4 MiB`, `30m00s`, `4.0 GiB`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

BINARY_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
KIBI = 1024
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
TENTHS_BELOW_S = 10
"""Below this a measured time shows tenths of a second."""
ROW_OF_NAMES = 3
"""From here on consecutive names read as `first … last`."""
VALUE_CHARACTERS = 400
"""Of a value that a caller gave, at the most."""
WHOLE_FROM = 100
"""From here on a decimal says nothing more: `812 MiB`, but `7.4 MiB`."""


def size_text(size: float) -> str:
    """Return bytes as people read them: `7.4 MiB`, `812 MiB`, `4.0 GiB`, `17 bytes`."""
    value, unit = _scaled(size)
    if unit == BINARY_UNITS[0]:
        return "1 byte" if value == 1 else f"{value:.0f} bytes"
    return f"{value:.0f} {unit}" if value >= WHOLE_FROM else f"{value:.1f} {unit}"


def limit_text(size: int) -> str:
    """Return a limit that someone chose: `2 MiB` when it is whole, else as `size_text`."""
    value, unit = _scaled(size)
    return f"{value:.0f} {unit}" if value == int(value) else size_text(size)


def share_text(part: int, whole: int) -> str:
    """Return two sizes in the unit of the second, `3.1 of 4.0 GiB`."""
    value, unit = _scaled(whole)
    if unit == BINARY_UNITS[0]:
        return f"{part} of {size_text(whole)}"
    factor = whole / value
    return f"{part / factor:.1f} of {value:.1f} {unit}"


def bare_text(size: int, like: int) -> str:
    """Return `size` as a number without unit, in the unit of `like`: `a node has 4`."""
    value, _ = _scaled(like)
    shown = size * value / like
    return f"{shown:.0f}" if shown == int(shown) else f"{shown:.1f}"


def quantity_text(size: int) -> str:
    """Return bytes as a Kubernetes quantity to paste, rounded up: `12Gi`, `512Mi`."""
    gibibyte, mebibyte = 1 << 30, 1 << 20
    unit, suffix = (gibibyte, "Gi") if size >= gibibyte else (mebibyte, "Mi")
    return f"{-(-size // unit)}{suffix}"


def span_text(seconds: float) -> str:
    """Return a measured time: `30m00s`, `1m20s`, `2h05m`, `42s`, `1.5s`."""
    if seconds < TENTHS_BELOW_S and seconds != int(seconds):
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < MINUTE_S:
        return f"{whole}s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S}m{whole % MINUTE_S:02d}s"
    return f"{whole // HOUR_S}h{whole % HOUR_S // MINUTE_S:02d}m"


def option_text(seconds: float) -> str:
    """Return a duration as a user would write it in a call: `30m`, `2h`, `7d`, `90s`."""
    for unit, letter in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "m")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit:.0f}{letter}"
    return f"{seconds:g}s"


def about_text(seconds: float) -> str:
    """Return a duration in its largest fitting unit: `60 s`, `12 min`, `2 h`, `7 d`."""
    for unit, word in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit * 2 or (seconds >= unit > MINUTE_S and seconds % unit == 0):
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds:g} s"


def moment_text(moment: datetime, now: datetime | None = None) -> str:
    """Return a moment in UTC, `10:00Z`; with its date unless `now` is the same day."""
    if now is None or moment.date() == now.date():
        return f"{moment:%H:%M}Z"
    return f"{moment:%Y-%m-%d %H:%M}Z"


def value_text(value: object) -> str:
    """Return what a caller gave, as Python writes it, cut in the middle; its type if it cannot."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # the caller's own class, or a number of too many digits
        return f"<{type(value).__name__}>"
    half = VALUE_CHARACTERS // 2
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def items_text(items: Sequence[object], *, limit: int = 5) -> str:
    """Return `a, b, c`, at most `limit` of them and how many more there are."""
    shown = ", ".join(str(item) for item in items[:limit])
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def offered_text(names: Sequence[str]) -> str:
    """Return what is offered: `python3.10 … python3.13` for a row of minors, else a list."""
    minors = [int(name.rpartition(".")[2]) for name in names if name.rpartition(".")[2].isdigit()]
    row = list(range(minors[0], minors[0] + len(names))) if minors else []
    consecutive = len(names) >= ROW_OF_NAMES and minors == row
    return f"{names[0]} … {names[-1]}" if consecutive else items_text(names, limit=8) or "none"


def bounds_text(bounds: Iterable[float]) -> str:
    """Return an extent as `(xmin, ymin, xmax, ymax)` with seven significant digits."""
    return "(" + ", ".join(f"{value:.7g}" for value in bounds) + ")"


def _scaled(size: float) -> tuple[float, str]:
    value = float(size)
    for unit in BINARY_UNITS[:-1]:
        if abs(value) < KIBI:
            return value, unit
        value /= KIBI
    return value, BINARY_UNITS[-1]
