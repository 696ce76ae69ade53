"""Errors of capturing the function: raised on the client, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from geopod.errors.base import GeopodError
from geopod.errors.wording import limit_text, size_text


class CaptureError(GeopodError):
    """The function cannot be sent."""


class PythonVersionMismatchError(CaptureError):
    """Client and nodes run different Python minors and the function has no text to send."""

    code = "E101"

    @classmethod
    def no_source(
        cls, *, function: str, client: str, environment: str, runs: str, why: str
    ) -> Self:
        """`client` and `runs` are minors, `3.11`; `why` reads `a lambda has no source to send`."""
        return cls(
            f"{function!r} was written on Python {client}, environment {environment!r} runs {runs},"
            f" and {why}. Nothing was started.",
            fixes=(
                f"def {function if function.isidentifier() else 'f'}(params): …",
                f"interpreter='python{client}'",
                f"run this client on Python {runs}",
            ),
            details={"client": client, "environment": runs},
        )

    @classmethod
    def refused(cls, *, made_on: str, runs: str) -> Self:
        """A node of minor `runs` was handed bytecode of minor `made_on` and did not load it."""
        return cls(
            f"The function was made on Python {made_on}, the node runs {runs}; bytecode never "
            "crosses minors and was not loaded.",
            fixes=(f"interpreter='python{made_on}'", "send='source'"),
            details={"client": made_on, "environment": runs},
        )


class UnpicklableFunctionError(CaptureError, TypeError):
    """Something that the function holds, or is called with, cannot be sent by value."""

    code = "E102"

    @classmethod
    def holds(
        cls, *, function: str, role: str, name: str, type_name: str, where: str | None = None
    ) -> Self:
        """`role` is `closure variable`, `global` or `default`; `where` is `analysis.py:12`."""
        place = f" ({where})" if where else ""
        return cls(
            f"Cannot send {function!r}: {role} {name!r} is a {type_name}{place}. "
            "Everything else can be sent.",
            fixes=(f"open it inside {function}(), or pass what opens it",),
            details={"role": role, "name": name, "type": type_name},
        )

    @classmethod
    def argument(cls, *, task: int, name: str, type_name: str, why: str) -> Self:
        """`name` is `argument 0` or a keyword's; `why` reads `cannot be pickled`."""
        return cls(
            f"Cannot send task {task}: {name} ({type_name}) {why}.",
            fixes=("pass what makes it, a path or an id", "the same Python minor"),
            details={"task": task, "name": name, "type": type_name},
        )


class BoundGlobalError(CaptureError, NameError):
    """The function needs an object that has no form as text."""

    code = "E103"

    @classmethod
    def not_writable(  # one value per number of the sentence
        cls, *, function: str, role: str, name: str, type_name: str, runs: str, client: str
    ) -> Self:
        """`role` `name` cannot be written as source; `runs` and `client` are Python minors."""
        return cls(
            f"{function!r} does not stand alone: {role} {name!r} ({type_name}) cannot be written "
            f"as source for Python {runs} (client: {client}).",
            fixes=("load it inside", "files=[…]", "the same Python minor"),
            details={"role": role, "name": name, "type": type_name},
        )

    @classmethod
    def not_included(cls, *, function: str, module: str, where: str) -> Self:
        """A file of the bundle imports the user's own `module`; `where` is `analysis.py:12`."""
        return cls(
            f"{function!r} does not stand alone: {where} imports your module {module!r}, which is "
            "not included.",
            fixes=(f"include_modules=[{module!r}]",),
            details={"name": module, "where": where},
        )


class FunctionTooLargeError(CaptureError):
    """What would be sent is over the limit."""

    code = "E104"

    @classmethod
    def holds(cls, *, role: str, name: str, size: int, limit: int, file: str | None = None) -> Self:
        """`role` is `Global`, `Closure variable`, `Function` or `Arguments`; sizes in bytes."""
        return cls(
            f"{role} {name!r} is {size_text(size)}; the limit is {limit_text(limit)}.",
            fixes=(f"include_data=[{file or f'{name.lower()}.pt'!r}]",),
            details={"name": name, "bytes": size, "limit": limit},
        )

    @classmethod
    def bundle(cls, *, function: str, size: int, limit: int, largest: Sequence[str] = ()) -> Self:
        """The whole bundle is too large; `largest` names its biggest members."""
        biggest = f" Largest: {', '.join(largest)}." if largest else ""
        return cls(
            f"The bundle of {function!r} is {size_text(size)}; the limit is {limit_text(limit)}."
            f"{biggest}",
            fixes=("files=[…]",),
            details={"bytes": size, "limit": limit},
        )


class SourceUnavailableError(CaptureError):
    """The function's text is nowhere to be read."""

    code = "E105"

    @classmethod
    def unreadable(cls, *, function: str, why: str = "typed into a bare interpreter") -> Self:
        """The text of `function` is neither in a file nor in `linecache`."""
        return cls(
            f"The source of {function!r} cannot be read ({why}).",
            fixes=("put it in a file or a notebook cell",),
        )

    @classmethod
    def not_importable(cls, *, function: str, why: str) -> Self:
        """A node could not import `function` by its name; `why` reads `it is a lambda`."""
        return cls(
            f"{function!r} cannot be sent with files: a node imports it by name, and {why}.",
            fixes=("make it a function at the top level of a module",),
        )

    @classmethod
    def module(cls, *, module: str, why: str) -> Self:
        """`module` was to be included; `why` reads `there is no such module here`."""
        return cls(
            f"Module {module!r} cannot be included: {why}.",
            fixes=("correct include_modules", f"requirements=[{module!r}] for an installed one"),
            details={"name": module},
        )
