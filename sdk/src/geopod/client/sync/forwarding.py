"""How a plain object stands for the coroutine object behind it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Mirrored = TypeVar("Mirrored", bound=Callable[..., Any])


def mirrors(original: Callable[..., Any]) -> Callable[[Mirrored], Mirrored]:
    """Give a plain function the parameters and docstring of the coroutine it runs."""

    def give(plain: Mirrored) -> Mirrored:
        returned = inspect.signature(plain).return_annotation
        functools.update_wrapper(plain, original, assigned=("__doc__",), updated=())
        shown = inspect.signature(original).replace(return_annotation=returned)
        plain.__signature__ = shown  # type: ignore[attr-defined]  # for help()
        return plain

    return give


class Forwarded:
    """An attribute that is read from the object behind the plain one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, plain: Any, owner: type | None = None) -> Any:
        return self if plain is None else getattr(plain._aio, self._name)  # noqa: SLF001
