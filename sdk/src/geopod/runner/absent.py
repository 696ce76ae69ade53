"""`import geopod` in a user's file, on a node where geopod is not installed.

A file sent whole says `@geopod.function(...)` at its top: here that returns the function itself.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` came with 3.12; the runner runs on 3.10.

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .context import Context, current_context

NAME = "geopod"


def stand_in_for_geopod() -> None:
    """Make `import geopod` work unless it works already."""
    if NAME in sys.modules or importlib.util.find_spec(NAME) is not None:
        return
    module = _Absent(NAME)
    vars(module).update(function=_function, current_context=current_context, Context=Context)
    sys.modules[NAME] = module


class _Absent(ModuleType):
    """Stands for whatever is asked of it; what a file does with that at its import is lost."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__name__}.{name}")

    def __call__(self, *_given: Any, **_options: Any) -> Any:
        return self


def _function(given: Any = None, /, **_options: Any) -> Any:
    if given is not None:
        return given
    keep: Callable[[Any], Any] = lambda decorated: decorated  # noqa: E731  # one expression
    return keep
