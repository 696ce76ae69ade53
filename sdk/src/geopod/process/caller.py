"""Whose line of code a warning is about, also where a thread of ours does the work."""

from __future__ import annotations

import sys
import threading
import warnings
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

NOT_THE_USERS = (
    str(Path(__file__).parents[1]),
    str(Path(warnings.__file__).with_name("asyncio")),
    threading.__file__,
)
"""Between the user's line and a warning lie our own frames, those of a loop and of its thread."""
ASKED_FROM: ContextVar[FrameType | None] = ContextVar("ASKED_FROM", default=None)
"""Where the thread that waits has asked another one for something."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn of what the first line outside geopod does."""
    frame = _users_frame(sys._getframe(1)) or _users_frame(ASKED_FROM.get()) or sys._getframe(1)  # noqa: SLF001  # as warnings does
    warnings.warn_explicit(
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _users_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of somebody else's code, from here outwards; None: none."""
    while frame is not None and frame.f_code.co_filename.startswith(NOT_THE_USERS):
        frame = frame.f_back
    return frame
