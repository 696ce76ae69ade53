"""What one capture was asked for, and how large a captured object may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from geopod.capture.reach import Reached
from geopod.errors import FunctionTooLargeError
from geopod.errors.wording import size_text
from geopod.process.caller import warn

Send = Literal["auto", "source", "pickle"]
WARN_OBJECT_BYTES = 256 << 10
"""From here on an object is worth a file or a layer, which each node stages once."""
MAX_OBJECT_BYTES = 16 << 20
"""Sent with the function and loaded by every child: ray-project/ray#65479."""
MAX_BUNDLE_BYTES = 256 << 20
ROLES = {"global": "global", "closure": "closure variable", "default": "default"}


class LargeCaptureWarning(UserWarning):
    """A function carries a large object to every node; a file or a layer is staged once."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """What travels besides the function, as files: modules by name, data by path."""

    modules: tuple[str | ModuleType, ...] = ()
    data: tuple[str | Path, ...] = ()

    def __bool__(self) -> bool:
        """Something is to be included: the function travels as a bundle."""
        return bool(self.modules or self.data)


@dataclass(frozen=True, slots=True)
class Request:
    """One call of `capture_function`, without the function."""

    node_python: str
    client_python: str
    send: Send
    environment: str


def check_object(function: str, item: Reached, size: int) -> None:
    """Refuse an object above the limit, by name; warn of one that a file would carry better."""
    role = ROLES[item.role].capitalize()
    if size > MAX_OBJECT_BYTES:
        raise FunctionTooLargeError.holds(
            role=role, name=item.name, size=size, limit=MAX_OBJECT_BYTES
        )
    if size > WARN_OBJECT_BYTES:
        warn(
            f"{role} {item.name!r} of {function!r} is {size_text(size)} and travels with the "
            "function to every node; files=[…] or include_data=[…] sends it once.",
            LargeCaptureWarning,
        )
