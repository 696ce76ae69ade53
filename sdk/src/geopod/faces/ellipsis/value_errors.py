"""Every error that leaves the face is a ValueError too: Ellipsis' package raises nothing else."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from geopod.errors import GeopodError, RemoteFunctionError, RunFailedError

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")
_MIXED: WeakKeyDictionary[type[GeopodError], type[GeopodError]] = WeakKeyDictionary()
"""One mixed class per class, so that errors of one kind share theirs."""
OWN_WORDS = {
    "large_result": "largeResult",
    "enable_gpu": "enableGpu",
    "write_to": "writeToLayer",
}
"""The SDK's keywords, and what they are called here."""
_SDK_WORDS = re.compile(rf"\b({'|'.join(OWN_WORDS)})\b")


def raises_value_errors(function: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
    """Give a function whose geopod errors are ValueErrors as well; nothing else about them is new.

    The class is the SDK's own mixed with ValueError: `except OutOfMemoryError` works as before.
    """

    @functools.wraps(function)
    def calling(*args: Parameters.args, **keywords: Parameters.kwargs) -> Value:
        try:
            return function(*args, **keywords)
        except GeopodError as error:
            become_value_error(error)
            raise

    return calling


def become_value_error(error: GeopodError) -> None:
    """Make an error an instance of ValueError too; its traceback, notes and attributes stay.

    Its sentences name the arguments as they are called here; a user's own message is left alone.
    """
    if not isinstance(error, RemoteFunctionError | RunFailedError):
        error.fact = in_own_words(error.fact)
        error.fixes = tuple(in_own_words(fix) for fix in error.fixes)
    if not isinstance(error, ValueError):
        error.__class__ = _mixed_with_value_error(type(error))


def in_own_words(text: str) -> str:
    """Return a sentence of the SDK with its keywords as they are called here."""
    return _SDK_WORDS.sub(lambda found: OWN_WORDS[found[1]], text)


def _mixed_with_value_error(kind: type[GeopodError]) -> type[GeopodError]:
    if kind not in _MIXED:
        namespace: dict[str, Any] = {
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "__doc__": kind.__doc__,
        }
        _MIXED[kind] = type(kind.__name__, (kind, ValueError), namespace)
    return _MIXED[kind]
