"""Functions under `functools.singledispatch`: what they consist of, and how they travel.

Such a function keeps a cache of weak references, which cannot be pickled, beside its registry.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from geopod.capture.names import is_own

_DISPATCHING = vars(functools)["singledispatch"](len).__code__
"""All of them share it."""
ITS_OWN = frozenset({"dispatch", "register", "registry", "_clear_cache"})
"""Attributes that `functools` gives each of them anew."""


def is_dispatcher(value: object) -> bool:
    """Tell whether it is a function of the user's own under `functools.singledispatch`."""
    return isinstance(value, FunctionType) and value.__code__ is _DISPATCHING and is_own(value)


def parts_of(dispatcher: Any) -> Iterator[Any]:
    """Yield the types that it tells apart, and what it calls for them."""
    for kind, implementation in dispatcher.registry.items():
        yield kind
        yield implementation


def reduce_dispatcher(dispatcher: Any) -> tuple[Any, ...]:
    """Reduce it to one that is empty at first: what it calls for a type may call it in turn."""
    named = {"__name__", "__qualname__", "__module__", "__doc__"}
    kept = {name: getattr(dispatcher, name) for name in sorted(named)}
    kept |= {name: value for name, value in vars(dispatcher).items() if name not in ITS_OWN}
    state = kept, list(dispatcher.registry.items())
    return functools.singledispatch, (len,), state, None, None, _SENT_FILL


def _fill(dispatcher: Any, state: tuple[dict[str, Any], list[tuple[type, Any]]]) -> None:
    kept, registered = state
    for name, value in kept.items():
        setattr(dispatcher, name, value)
    for kind, implementation in registered:
        dispatcher.register(kind, implementation)


_SENT_FILL = FunctionType(_fill.__code__, {}, "_fill")
"""The same, with no home that a node would have to import."""
_SENT_FILL.__module__ = "__main__"
