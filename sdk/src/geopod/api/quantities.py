"""Kubernetes quantities: `4Gi` of memory, `250m` of a CPU. Text outside, integers inside."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

QUANTITY = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[mkMGTPE]|[eE][0-9]+)?")
DECIMAL = ("k", "M", "G", "T", "P", "E")
BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_FACTORS: dict[str, int] = {"": 1000, "m": 1} | {
    suffix: 1000 * base**power
    for base, suffixes in ((1000, DECIMAL), (1024, BINARY))
    for power, suffix in enumerate(suffixes, start=1)
}
"""Suffix -> thousandths of one."""


def parse_thousandths(quantity: str | int) -> int:
    """Return a Kubernetes quantity in thousandths, rounded up: `250m` is 250, `1` is 1000.

    Raises ValueError on anything else than an unsigned quantity.
    """
    match = QUANTITY.fullmatch(str(quantity))
    if match is None:
        raise ValueError(f"{quantity!r} is not a quantity like 4Gi, 512Mi, 2 or 250m")
    number, suffix = match[1], match[2] or ""
    whole, _, fraction = number.partition(".")
    digits = int((whole + fraction) or "0")
    scale: int = 10 ** len(fraction)
    exponent = suffix[:1] in {"e", "E"} and suffix[1:].isdigit()
    factor: int = 1000 * 10 ** int(suffix[1:]) if exponent else _FACTORS[suffix]
    return -(-digits * factor // scale)


def parse_bytes(quantity: str | int) -> int:
    """Return a quantity of memory or storage in bytes, rounded up: `4Gi` is 4294967296."""
    return -(-parse_thousandths(quantity) // 1000)


def parse_cpu(quantity: str | int) -> int:
    """Return a quantity of CPU in millicores: `250m` is 250, `2` is 2000."""
    return parse_thousandths(quantity)


def _quantity_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    StringConstraints(pattern=f"^({QUANTITY.pattern})$", max_length=32),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
    BeforeValidator(_quantity_text),
]
"""A Kubernetes quantity without a sign; read it with `parse_bytes` or `parse_cpu`."""
