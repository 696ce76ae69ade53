"""Durations as users write them: `"90s"`, `"2h"`, or plain seconds."""

from __future__ import annotations

import math
import re

from geopod.errors import InvalidInputError
from geopod.errors.wording import value_text

DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def seconds(value: str | float, *, name: str) -> float:
    """Return a duration in seconds; raises InvalidInputError naming the argument `name`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if 0 <= value < math.inf:
            return float(value)
    elif isinstance(value, str) and (found := NUMBER.fullmatch(value)):
        unit = found[2] or "s"
        if unit in DURATION_UNITS:
            return float(found[1]) * DURATION_UNITS[unit]
    raise InvalidInputError(
        f"{name}={value_text(value)} is not a duration.",
        fixes=(f"{name}=90", f"{name}='90s'", f"{name}='2h'"),
    )


def whole_seconds(value: str | float, *, name: str) -> int:
    """Return a duration in whole seconds, rounded up: what resources hold."""
    exact = seconds(value, name=name)
    return int(exact) + (exact % 1 > 0)
