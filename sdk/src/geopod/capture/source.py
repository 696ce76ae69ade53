"""Source for another Python minor: the function's text and what it needs, if it stands alone.

Source of the rules: the project's SDK design, §3. The payload's form: `api.bundles`.
"""

from __future__ import annotations

import ast
import builtins
import json
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from geopod.api.bundles import Captured
from geopod.capture.dispatchers import is_dispatcher
from geopod.capture.limits import ROLES, Request, check_object
from geopod.capture.literal import is_constant, is_json, literal
from geopod.capture.names import is_own, marked_function, shape_name, type_name
from geopod.capture.reach import Reached, Role
from geopod.capture.scope import (
    MISSING,
    Scope,
    import_by_home,
    import_statement,
    is_geopod_decorator,
)
from geopod.capture.text import Definition, find_class, find_function
from geopod.errors import BoundGlobalError, PythonVersionMismatchError


def write_source(
    f: Callable[..., Any], name: str, request: Request
) -> tuple[bytes, tuple[Captured, ...]]:
    """Return the source payload of `f` and what is embedded in it.

    Raises E101 for a shape without text, E103 for a function that does not stand alone, E105 for
    text that cannot be read.
    """
    writer = _Writer(name, request)
    entry = writer.add_entry(f)
    payload = {
        "entry": entry,
        "constants": writer.constants,
        "imports": writer.imports,
        "pieces": writer.pieces,
    }
    return json.dumps(payload).encode(), tuple(writer.captured)


def plain_function(value: object) -> FunctionType | None:
    """Return the `def` at the bottom of a decorated function; None for any other object."""
    if isinstance(value, type | MethodType):
        return None
    inner: Any = value
    while True:
        below = marked_function(inner) or getattr(inner, "__wrapped__", None)
        if below is None or below is inner:
            break
        inner = below
    is_def = isinstance(inner, FunctionType) and inner.__name__ != "<lambda>"
    return inner if is_def else None


class _Writer:
    """Collects one payload; every name in it means one object."""

    def __init__(self, name: str, request: Request) -> None:
        self.name = name
        self.request = request
        self.constants: dict[str, Any] = {}
        self.imports: list[tuple[str, str | None, str]] = []
        self.pieces: list[dict[str, Any]] = []
        self.captured: list[Captured] = []
        self.bound: dict[str, object] = {}

    def add_entry(self, f: Callable[..., Any]) -> str:
        """Add `f` itself; return the name it has in the payload's namespace."""
        inner = plain_function(f)
        if inner is not None and is_own(inner):
            self._add_function(inner, f)
            return inner.__code__.co_name
        if isinstance(f, FunctionType | BuiltinFunctionType) and not is_own(f):
            found = import_by_home(f)
            if found is not None:
                self.imports.append((*found, f.__name__))
                return f.__name__
        raise PythonVersionMismatchError.no_source(
            function=self.name,
            client=self.request.client_python,
            environment=self.request.environment,
            runs=self.request.node_python,
            why=f"{shape_name(f)} has no source to send",
        )

    def _add_function(self, function: FunctionType, value: object) -> None:
        definition = find_function(function, name=self.name)
        name = definition.node.name
        if is_dispatcher(value):  # its text names none of what it calls
            raise self._refusal("global", name, value)
        kept: list[ast.expr] = []
        bound_to = function.__globals__.get(name, MISSING)
        if value is not function or (marked_function(bound_to) or bound_to) is function:
            kept = [
                d for d in definition.node.decorator_list if not is_geopod_decorator(d, function)
            ]
        self.bound[name] = value
        scope = Scope.of_function(function, definition)
        self._add_definition(definition, kept, scope, function.__code__.co_freevars)

    def _add_class(self, cls: type, name: str) -> None:
        definition = find_class(cls, name=self.name)
        if definition.node.name != name:
            raise self._refusal("global", name, cls)
        self._add_definition(definition, definition.node.decorator_list, Scope.of_class(cls), ())

    def _add_definition(
        self,
        definition: Definition,
        kept: list[ast.expr],
        scope: Scope,
        closure: tuple[str, ...],
    ) -> None:
        try:
            names = definition.free_names(kept)
        except SyntaxError:  # `nonlocal` of a function that is not sent
            names = []
        for name in closure:
            if name not in {*names, definition.node.name}:
                raise self._refusal("closure", name, scope.closure.get(name))
        for name in names:
            self._need(name, definition, scope)
        first_line, text = definition.text(kept)
        self._check_syntax(text, first_line)
        self.pieces.append({"filename": definition.filename, "firstLine": first_line, "text": text})

    def _need(self, name: str, definition: Definition, scope: Scope) -> None:
        role, value = scope.look_up(name)
        if value is MISSING:
            if not hasattr(builtins, name) and not definition.assigns_global(name):
                raise self._refusal(role, name, MISSING)
            return
        if name in self.bound:
            known = self.bound[name]
            if known is not value and not (is_constant(value) and known == value):
                raise self._refusal(role, name, value)
            return
        self.bound[name] = value
        if isinstance(value, ModuleType):
            self._embed_module(name, value, definition)
        elif is_constant(value):
            self._embed_constant(name, value, role)
        elif not self._embed_definition(name, value, role, scope):
            self._embed_import(name, value, role, definition)

    def _embed_module(self, name: str, module: ModuleType, definition: Definition) -> None:
        if is_own(module):
            raise self._refusal("global", name, module)
        self.imports.append((module.__name__, None, name))
        attributes = {n.attr for n in ast.walk(definition.node) if isinstance(n, ast.Attribute)}
        for loaded in sorted(sys.modules):
            inside = loaded.removeprefix(f"{module.__name__}.")
            if inside != loaded and attributes.issuperset(inside.split(".")):
                self.imports.append((loaded, None, loaded))  # no identifier: shadows nothing
        self.captured.append(Captured(name=name, kind="import", type=module.__name__))

    def _embed_constant(self, name: str, value: object, role: Role) -> None:
        text = literal(value)
        check_object(self.name, Reached(name, role, value, None), len(text))
        if is_json(value):
            self.constants[name] = value
        else:
            line = f"{name} = {text}\n"
            self.pieces.append({"filename": "<constants>", "firstLine": 1, "text": line})
        self.captured.append(
            Captured(name=name, kind="constant", type=type_name(value), bytes=len(text))
        )

    def _embed_definition(self, name: str, value: object, role: Role, scope: Scope) -> bool:
        """Embed a function or class of the same module; False: it is no such thing."""
        function = plain_function(value)
        home = getattr(function or value, "__module__", None)
        is_helper = function is not None or isinstance(value, type)
        if not is_helper or home != scope.module or not is_own(function or value):
            return False
        before = len(self.pieces)
        if function is None:
            assert isinstance(value, type)  # noqa: S101  # is_helper
            self._add_class(value, name)
        else:
            defined = function.__code__.co_name
            if defined != name and self.bound.get(defined, value) is not value:
                raise self._refusal(role, name, value)
            self._add_function(function, value)
            if defined != name:
                alias = f"{name} = {defined}\n"
                self.pieces.append({"filename": "<aliases>", "firstLine": 1, "text": alias})
        size = sum(len(piece["text"]) for piece in self.pieces[before:])
        self.captured.append(Captured(name=name, kind=role, type=type_name(value), bytes=size))
        return True

    def _embed_import(self, name: str, value: object, role: Role, definition: Definition) -> None:
        found = import_statement(definition.tree, name, value) or import_by_home(value)
        if found is None:
            raise self._refusal(role, name, value)
        self.imports.append((*found, name))
        self.captured.append(Captured(name=name, kind="import", type=".".join(found)))

    def _check_syntax(self, text: str, first_line: int) -> None:
        minor = tuple(map(int, self.request.node_python.split(".")))
        try:
            ast.parse(text, feature_version=(minor[0], minor[1]))
        except SyntaxError as error:
            line = first_line - 1 + (error.lineno or 1)
            raise PythonVersionMismatchError.no_source(
                function=self.name,
                client=self.request.client_python,
                environment=self.request.environment,
                runs=self.request.node_python,
                why=f"its text is no Python {self.request.node_python} (line {line}: {error.msg})",
            ) from error

    def _refusal(self, role: Role, name: str, value: object) -> BoundGlobalError:
        return BoundGlobalError.not_writable(
            function=self.name,
            role=ROLES[role],
            name=name,
            type_name=_kind(value),
            runs=self.request.node_python,
            client=self.request.client_python,
        )


def _kind(value: object) -> str:
    if value is MISSING:
        return "not defined"
    return "functools.singledispatch" if is_dispatcher(value) else type_name(value)
