"""What a name in a definition means on the client, and how an installed object is imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from geopod.capture.names import is_own
from geopod.capture.reach import Role, defaults_of
from geopod.capture.text import Definition

MISSING = object()
"""What a name means that nothing has been bound to."""


class Scope:
    """Where a definition's free names are looked up: closure, globals, defaults."""

    def __init__(
        self, module: str, module_globals: dict[str, Any], closure: dict[str, Any]
    ) -> None:
        self.module = module
        self.globals = module_globals
        self.closure = closure
        self.defaults: dict[str, Any] = {}

    @classmethod
    def of_function(cls, function: FunctionType, definition: Definition) -> Scope:
        """Return the scope of a `def`; a name that is a default means what it meant then."""
        scope = cls(function.__module__, function.__globals__, dict(_cells(function)))
        values = defaults_of(function)
        if not isinstance(definition.node, ast.ClassDef):
            for parameter, expression in _defaults(definition.node.args):
                if isinstance(expression, ast.Name) and parameter in values:
                    scope.defaults[expression.id] = values[parameter]
        return scope

    @classmethod
    def of_class(cls, owner: type) -> Scope:
        """Return the scope of a `class`: its methods' closures and its module."""
        methods = [m for m in vars(owner).values() if isinstance(m, FunctionType)]
        closure = {name: value for method in methods for name, value in _cells(method)}
        closure.pop("__class__", None)
        return cls(owner.__module__, vars(sys.modules[owner.__module__]), closure)

    def look_up(self, name: str) -> tuple[Role, Any]:
        """Return what `name` means and by which role; `MISSING` if nothing."""
        if name in self.closure:
            return "closure", self.closure[name]
        if name in self.globals:
            return "global", self.globals[name]
        if name in self.defaults:
            return "default", self.defaults[name]
        return "global", MISSING


def _cells(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet, as in a nested function that calls itself
            continue


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    tail = positional[len(positional) - len(arguments.defaults) :]
    yield from ((a.arg, d) for a, d in zip(tail, arguments.defaults, strict=True))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield argument.arg, default


def is_geopod_decorator(decorator: ast.expr, function: FunctionType) -> bool:
    """Tell whether a decorator resolves to `geopod.function`, called or not."""
    expression = decorator.func if isinstance(decorator, ast.Call) else decorator
    path: list[str] = []
    while isinstance(expression, ast.Attribute):
        path.insert(0, expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name):
        return False
    value = function.__globals__.get(expression.id, dict(_cells(function)).get(expression.id))
    for attribute in path:
        value = getattr(value, attribute, None)
    home = str(getattr(value, "__module__", "")).partition(".")[0]
    return home == "geopod" and getattr(value, "__name__", "") == "function"


def import_statement(tree: ast.Module, name: str, value: object) -> tuple[str, str] | None:
    """Return (module, attribute) of the `from … import` of the user's file that bound `name`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.level or node.module is None:
            continue
        for alias in node.names:
            loaded = sys.modules.get(node.module)
            is_bound = (alias.asname or alias.name) == name
            if not is_bound or loaded is None or is_own(loaded):
                continue
            if getattr(loaded, alias.name, MISSING) is value:
                return node.module, alias.name
    return None


def import_by_home(value: object) -> tuple[str, str] | None:
    """Return (module, attribute) by which an installed function or class calls itself."""
    home = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    loaded = sys.modules.get(home) if isinstance(home, str) else None
    if loaded is None or not isinstance(name, str) or is_own(loaded):
        return None
    return (loaded.__name__, name) if getattr(loaded, name, MISSING) is value else None
