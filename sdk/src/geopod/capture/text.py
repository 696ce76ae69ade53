"""The text of a function or class: found by `ast` positions, cut in whole lines, never dedented.

Dedenting would change every multi-line string inside; indented text runs inside `if 1:` instead.
"""

from __future__ import annotations
import __future__

import ast
import functools
import linecache
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from typing_extensions import override

from geopod.errors import SourceUnavailableError

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
FUTURES = {name: getattr(__future__, name).compiler_flag for name in __future__.all_feature_names}
ANNOTATIONS = "annotations"
TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # a notebook cell may await
REWRITTEN_BY_PYTEST = "@pytest_ar"
"""pytest compiles test modules from another tree than their text; they cannot be compared."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A `def` or `class` statement in the text that it came from."""

    node: Node
    lines: tuple[str, ...]
    filename: str
    futures: tuple[str, ...]
    tree: ast.Module

    def text(self, kept: list[ast.expr]) -> tuple[int, str]:
        """Return (first line, text) of the statement with the decorators `kept` and no others.

        Lines of dropped decorators between kept ones stay as empty lines, so that line numbers
        in tracebacks are those of the user's file.
        """
        first = self.node.lineno
        lines = list(self.lines[first - 1 : self.node.end_lineno])
        for start, end, decorator in reversed(list(self._decorators())):
            if decorator in kept:
                lines = [*self.lines[start - 1 : end], *lines]
                first = start
            elif kept:
                lines = ["\n"] * (end - start + 1) + lines
                first = start
        while lines[0] == "\n":
            del lines[0]
            first += 1
        head = [f"from __future__ import {name}\n" for name in self._futures(kept)]
        if lines[0][0] in " \t":
            head.append("if 1:\n")
        body = "".join(lines)
        ending = "" if body.endswith("\n") else "\n"
        return max(1, first - len(head)), "".join(head) + body + ending

    def _decorators(self) -> Iterator[tuple[int, int, ast.expr]]:
        """Yield (first line, last line, expression) of each decorator, comments included."""
        starts: list[int] = []
        for decorator in self.node.decorator_list:
            start = decorator.lineno
            while not self.lines[start - 1].lstrip().startswith("@"):
                start -= 1
            starts.append(start)
        ends = [start - 1 for start in (*starts, self.node.lineno)][1:]
        yield from zip(starts, ends, self.node.decorator_list, strict=True)

    def _futures(self, kept: list[ast.expr]) -> tuple[str, ...]:
        if self.needs_annotations(kept) or not _has_annotations(self.node):
            return self.futures
        return tuple(dict.fromkeys((*self.futures, ANNOTATIONS)))

    def needs_annotations(self, kept: list[ast.expr]) -> bool:
        """Tell whether somebody may look at annotations: a class or a decorator does, `f` no."""
        return isinstance(self.node, ast.ClassDef) or bool(kept)

    def assigns_global(self, name: str) -> bool:
        """Tell whether the statement itself makes the global `name`."""
        declared = (part.names for part in ast.walk(self.node) if isinstance(part, ast.Global))
        return any(name in names for names in declared)

    def free_names(self, kept: list[ast.expr]) -> list[str]:
        """Return the names that the statement takes from outside, nested code included.

        Raises SyntaxError when it rebinds a variable of an enclosing function.
        """
        node = ast.parse(ast.unparse(self.node)).body[0]
        assert isinstance(node, Node)  # noqa: S101  # what was unparsed
        texts = {ast.unparse(decorator) for decorator in kept}
        node.decorator_list = [d for d in node.decorator_list if ast.unparse(d) in texts]
        if not self.needs_annotations(kept):
            node = _WithoutAnnotations().visit(node)
        table = symtable.symtable(ast.unparse(node), self.filename, "exec")
        return list(dict.fromkeys(_free_names(table, top=True)))


class _WithoutAnnotations(ast.NodeTransformer):
    """Drops the annotations of parameters and returns."""

    @override
    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        return super().generic_visit(node)


def _has_annotations(node: ast.AST) -> bool:
    return any(
        getattr(part, "annotation", None) is not None or getattr(part, "returns", None) is not None
        for part in ast.walk(node)
    )


def _free_names(table: symtable.SymbolTable, *, top: bool) -> Iterator[str]:
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()}
    for symbol in table.get_symbols():
        is_outside = symbol.get_name() not in own if top else symbol.is_global()
        if is_outside and symbol.is_referenced():
            yield symbol.get_name()
    for child in table.get_children():
        yield from (name for name in _free_names(child, top=False) if not (top and name in own))


def find_function(function: FunctionType, *, name: str) -> Definition:
    """Return the `def` statement of a function; `name` is what errors call it.

    Raises SourceUnavailableError (E105) when there is no text, or a text that has changed.
    """
    code = function.__code__
    lines = _lines_of(code.co_filename, function.__globals__, name)
    flags = code.co_flags & sum(FUTURES.values())
    tree, compiled = _parsed(code.co_filename, lines, flags, name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        if node.name == code.co_name and code.co_firstlineno in {first, node.lineno, first - 1}:
            if REWRITTEN_BY_PYTEST not in function.__globals__:
                _check_unchanged(code, compiled, name)
            return Definition(node, lines, code.co_filename, _future_names(flags), tree)
    raise SourceUnavailableError.unreadable(function=name, why=_changed(code.co_filename))


def find_class(cls: type, *, name: str) -> Definition:
    """Return the `class` statement of a class; raises SourceUnavailableError (E105)."""
    home = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    members = (getattr(member, "__func__", member) for member in vars(cls).values())
    codes = [member.__code__ for member in members if isinstance(member, FunctionType)]
    inside = [code for code in codes if code.co_qualname.startswith(f"{cls.__qualname__}.")]
    written = [code for code in inside if linecache.getlines(code.co_filename)]
    filename = written[0].co_filename if written else str(home.get("__file__") or "")
    lines = _lines_of(filename, home, name)
    tree, _ = _parsed(filename, lines, 0, name)
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and node.name == cls.__name__
        and _holds_one_of(node, [code for code in written if code.co_filename == filename])
    ]
    if not found:
        raise SourceUnavailableError.unreadable(function=name, why=_changed(filename))
    futures = _future_names(_flags_of(tree))
    return Definition(found[-1], lines, filename, futures, tree)


def _holds_one_of(node: ast.ClassDef, methods: list[CodeType]) -> bool:
    """Tell whether a method begins inside `node`: a name may have been given to two classes."""
    end = node.end_lineno or 0
    return not methods or any(node.lineno < code.co_firstlineno <= end for code in methods)


def _flags_of(tree: ast.Module) -> int:
    imports = (s for s in tree.body if isinstance(s, ast.ImportFrom) and s.module == "__future__")
    return sum({FUTURES[alias.name] for statement in imports for alias in statement.names})


def _future_names(flags: int) -> tuple[str, ...]:
    """Return the `__future__` features that change how text compiles today."""
    return tuple(name for name, flag in FUTURES.items() if flags & flag)


def _lines_of(filename: str, module_globals: dict[str, Any], name: str) -> tuple[str, ...]:
    linecache.checkcache(filename)
    lines = linecache.getlines(filename, module_globals)
    if lines:
        return tuple(lines)
    typed = filename.startswith("<") or not filename
    why = "typed into a bare interpreter" if typed else f"{filename} is not there"
    raise SourceUnavailableError.unreadable(function=name, why=why)


def _parsed(
    filename: str, lines: tuple[str, ...], flags: int, name: str
) -> tuple[ast.Module, CodeType]:
    try:
        return _parse("".join(lines), filename, flags)
    except (SyntaxError, ValueError) as error:
        why = _changed(filename)
        raise SourceUnavailableError.unreadable(function=name, why=why) from error


@functools.lru_cache(maxsize=64)
def _parse(text: str, filename: str, flags: int) -> tuple[ast.Module, CodeType]:
    flags |= TOP_LEVEL_AWAIT
    tree = compile(text, filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    return tree, compile(text, filename, "exec", flags, dont_inherit=True)


def _changed(filename: str) -> str:
    return f"{filename} has changed since it was loaded"


def _check_unchanged(code: CodeType, module: CodeType, name: str) -> None:
    """Refuse text that would compile to another function than the one the user holds."""
    same_place = (c for c in _nested(module) if c.co_firstlineno == code.co_firstlineno)
    if not any(_is_same_code(code, candidate) for candidate in same_place):
        raise SourceUnavailableError.unreadable(function=name, why=_changed(code.co_filename))


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)


def _is_same_code(one: CodeType, other: CodeType) -> bool:
    """Compare what runs; positions may differ, as an interpreter may leave columns out."""
    names = ("co_name", "co_code", "co_names", "co_varnames", "co_freevars", "co_flags")
    if any(getattr(one, name) != getattr(other, name) for name in names):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _is_same_code(a, b)
        if isinstance(a, CodeType) and isinstance(b, CodeType)
        else type(a) is type(b) and (a == b or repr(a) == repr(b))
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )
