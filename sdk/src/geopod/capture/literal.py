"""Constants as text: JSON where JSON says the same, else a Python literal (tuples, int keys)."""

from __future__ import annotations

import math
from typing import Any

SCALARS = (type(None), bool, int, float, str)
DEPTH = 64
"""Deeper values are no constants; it also ends a list that holds itself."""


def is_constant(value: Any, depth: int = DEPTH) -> bool:
    """Tell whether `value` is JSON-able as Python's `json` means it, by exact type.

    A subclass (a numpy scalar, an enum member, a named tuple) would come back as something else.
    """
    kind = type(value)
    if kind in SCALARS:
        return True
    if not depth or kind not in {list, tuple, dict}:
        return False
    if kind is dict and not all(type(key) in SCALARS for key in value):
        return False
    members = value.values() if kind is dict else value
    return all(is_constant(member, depth - 1) for member in members)


def is_json(value: Any) -> bool:
    """Tell whether a constant survives JSON as it is: no tuple, no key but strings."""
    if type(value) is dict:
        return all(type(key) is str and is_json(member) for key, member in value.items())
    return type(value) in SCALARS or (type(value) is list and all(map(is_json, value)))


def literal(value: Any) -> str:
    """Return a constant as Python source, ASCII only."""
    if type(value) is float and not math.isfinite(value):
        return f"float({str(value)!r})"
    if type(value) is dict:
        return f"{{{', '.join(f'{literal(k)}: {literal(v)}' for k, v in value.items())}}}"
    if type(value) is tuple:
        return f"({''.join(f'{literal(member)}, ' for member in value)})"
    if type(value) is list:
        return f"[{', '.join(map(literal, value))}]"
    return ascii(value)
