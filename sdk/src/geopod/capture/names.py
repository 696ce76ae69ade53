"""Names: which modules are the user's own, what a piece of code looks up, how objects are called.

No I/O beyond asking where a module lies; nothing is imported for it.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import sysconfig
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

MARK = "__geopod_function__"
"""Attribute by which an object made by `@geopod.function` names the function it was made of."""
NEVER_BY_VALUE = frozenset({"geopod", "_geopod_runner", "cloudpickle"})
"""Installed on every node, or of no use there, wherever they lie on this machine."""
CACHED = type(functools.cache(len))
"""What `functools.cache` and `functools.lru_cache` make of a function."""
INSTALLED = frozenset({"site-packages", "dist-packages"})


@functools.cache
def _stdlib_folder() -> PurePath:
    return PurePath(sysconfig.get_path("stdlib"))


def is_own_module(name: str | None) -> bool:
    """Tell whether a module is the user's own: neither the standard library nor installed.

    An editable install is the user's own: its files lie where the user edits them.
    """
    if name == "__main__":
        return True
    top = (name or "").partition(".")[0]
    if not name or top in sys.stdlib_module_names or top in NEVER_BY_VALUE:
        return False
    module = sys.modules.get(name)
    return isinstance(module, ModuleType) and is_own_file(_location(module))


def _location(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return file
    spec = getattr(module, "__spec__", None)
    places = list(getattr(spec, "submodule_search_locations", None) or ())
    return str(places[0]) if places else str(getattr(spec, "origin", None) or "")


@functools.lru_cache(maxsize=4096)
def is_own_file(location: str) -> bool:
    """Tell whether a file or folder is neither the standard library's nor installed."""
    if location in {"built-in", "frozen"}:
        return False
    path = PurePath(location)
    if path.suffix in {".so", ".pyd"} or not INSTALLED.isdisjoint(path.parts):
        return False
    return not path.is_relative_to(_stdlib_folder())


def is_own(value: object) -> bool:
    """Tell whether a function, class or module has its home in one of the user's own modules.

    So has a function that cannot be found under its name: a nested one, or one made by `exec`.
    """
    if isinstance(value, ModuleType):
        return is_own_module(value.__name__)
    home = getattr(value, "__module__", None)
    if home in sys.modules:
        is_hidden = isinstance(value, FunctionType | CACHED) and not _is_found_by_name(value)
        return is_hidden or is_own_module(home)
    return str(home).partition(".")[0] not in NEVER_BY_VALUE


def _is_found_by_name(function: Any) -> bool:
    found: Any = sys.modules[function.__module__]
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


@functools.lru_cache(maxsize=4096)
def global_names(code: CodeType) -> dict[str, int]:
    """Return the names that `code`, nested code included, looks up as globals.

    Values: the line of the first use. Class bodies look globals up with LOAD_NAME.
    """
    names: dict[str, int] = {}
    line = code.co_firstlineno
    class_body = not code.co_flags & inspect.CO_OPTIMIZED
    for instruction in dis.get_instructions(code):
        line = (instruction.positions and instruction.positions.lineno) or line
        found = "GLOBAL" in instruction.opname
        if found or (class_body and instruction.opname == "LOAD_NAME"):
            names.setdefault(instruction.argval, line)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            for name, nested_line in global_names(constant).items():
                names.setdefault(name, nested_line)
    return names


@functools.lru_cache(maxsize=4096)
def all_names(code: CodeType) -> frozenset[str]:
    """Return every name that `code` uses for globals, attributes and imports, nested included."""
    nested = (all_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return frozenset(code.co_names).union(*nested)


@functools.lru_cache(maxsize=4096)
def first_use(code: CodeType, name: str) -> int | None:
    """Return the line where `code` first uses `name` as a global or closure variable."""
    if name in global_names(code):
        return global_names(code)[name]
    for instruction in dis.get_instructions(code):
        if instruction.argval == name and "DEREF" in instruction.opname:
            return (instruction.positions and instruction.positions.lineno) or None
    nested = (first_use(c, name) for c in code.co_consts if isinstance(c, CodeType))
    return next((line for line in nested if line), None)


def place_of(function: FunctionType, name: str) -> str:
    """Return where `function` uses `name`, as `analysis.py:12`."""
    code = function.__code__
    return f"{Path(code.co_filename).name}:{first_use(code, name) or code.co_firstlineno}"


def type_name(value: object) -> str:
    """Return how people call a value's type: `sqlite3.Connection`, `torch.nn.Module`, `list`."""
    if isinstance(value, ModuleType):
        return f"module of your own: {value.__name__}"
    if isinstance(value, FunctionType):
        return "lambda" if value.__name__ == "<lambda>" else "function"
    if isinstance(value, type):
        return f"class {value.__qualname__}"
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else _dotted(kind)


def _dotted(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def marked_function(value: object) -> Any:
    """Return what an object made by `@geopod.function` was made of; None for anything else.

    Looks at the type and the instance dictionary first, so that a proxy's `__getattr__` stays
    untouched.
    """
    if hasattr(type(value), MARK) or MARK in getattr(value, "__dict__", {}):
        inner = getattr(value, MARK, None)
        return inner if callable(inner) else None
    return None


def plain_name(function: object) -> str:
    """Return the name a user knows `function` by; a lambda's is the global it is bound to."""
    name = getattr(function, "__name__", None) or type(function).__name__
    if name == "<lambda>" and isinstance(function, FunctionType):
        bound = (key for key, value in function.__globals__.items() if value is function)
        return next(bound, name)
    return str(name)


def shape_name(function: object) -> str:
    """Return what kind of callable it is, with its article: `a lambda`, `a bound method`."""
    if isinstance(function, FunctionType):
        return "a lambda" if function.__name__ == "<lambda>" else "a function"
    if isinstance(function, MethodType):
        return "a bound method"
    if isinstance(function, BuiltinFunctionType):
        return "a built-in function"
    if isinstance(function, type):
        return "a class"
    return f"a callable object ({type_name(function)})"
