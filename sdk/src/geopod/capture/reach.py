"""What a function reaches: the globals, closure variables and defaults that travel with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, singledispatchmethod
from operator import is_
from types import FunctionType, MethodType, ModuleType
from typing import Any, Literal

from geopod.capture.dispatchers import is_dispatcher, parts_of
from geopod.capture.names import CACHED, all_names, global_names, is_own, marked_function

Role = Literal["global", "closure", "default"]
ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...))
WATCHED_ITEMS = 64
"""Larger containers are pickled anew each time: comparing them would cost as much."""
NESTING = 4
"""Deeper containers too; it also ends a list that holds itself."""


@dataclass(frozen=True, slots=True)
class Reached:
    """One object that a function holds."""

    name: str
    role: Role
    value: Any
    owner: FunctionType | None
    """The function that uses it: `f` or one of its helpers."""


@dataclass(slots=True)
class Reach:
    """Everything that travels with a function, found without running anything."""

    items: list[Reached] = field(default_factory=list)
    functions: list[FunctionType] = field(default_factory=list)
    """`f` and the user's own functions that it reaches, methods included."""
    names: set[str] = field(default_factory=set)
    """Every name that any of them uses: what is kept of the user's own modules."""


def reach(f: object) -> Reach:
    """Return what `f` reaches, through the user's own functions, classes and modules."""
    found = Reach()
    seen: set[int] = set()
    modules: dict[str, ModuleType] = {}
    queue: list[Any] = [f]
    if not isinstance(f, FunctionType | type):
        instance = f.__self__ if isinstance(f, MethodType) else f
        methods = (getattr(f, "__func__", None), vars(type(f)).get("__call__"))
        owner = next((m for m in methods if isinstance(m, FunctionType)), None)
        found.items.append(Reached("self", "closure", instance, owner))
        queue = [owner, type(instance), *getattr(instance, "__dict__", {}).values()]
    done: set[tuple[str, str]] = set()
    while queue:
        while queue:
            queue.extend(_visit(queue.pop(), found, seen, modules))
        queue.extend(_visit_modules(modules, found, done))
    return found


def _visit(
    value: Any, found: Reach, seen: set[int], modules: dict[str, ModuleType]
) -> Iterator[Any]:
    value = marked_function(value) or value
    if isinstance(value, CACHED) and is_own(value):
        value = value.__wrapped__
    if id(value) in seen or not isinstance(value, FunctionType | type | ModuleType):
        return
    seen.add(id(value))
    if not is_own(value):
        return
    if isinstance(value, ModuleType):
        modules[value.__name__] = value
    elif is_dispatcher(value):
        yield from parts_of(value)
    elif isinstance(value, type):
        yield from value.__bases__
        for member in vars(value).values():
            yield from _functions_of(member)
    else:
        found.functions.append(value)
        found.names |= all_names(value.__code__)
        held = list(_held_by(value))
        found.items.extend(held)
        yield from (item.value for item in held)
        yield from value.__dict__.values()


def _visit_modules(
    modules: dict[str, ModuleType], found: Reach, done: set[tuple[str, str]]
) -> Iterator[Any]:
    for module_name, module in list(modules.items()):
        for name in sorted(found.names & vars(module).keys()):
            if (module_name, name) not in done:
                done.add((module_name, name))
                value = vars(module)[name]
                found.items.append(Reached(f"{module_name}.{name}", "global", value, None))
                yield value


def _functions_of(member: Any) -> Iterator[Any]:
    if isinstance(member, staticmethod | classmethod):
        yield member.__func__
    elif isinstance(member, cached_property):
        yield member.func
    elif isinstance(member, singledispatchmethod):
        yield member.dispatcher
    elif isinstance(member, property):
        yield from (part for part in (member.fget, member.fset, member.fdel) if part)
    else:
        yield member


def _held_by(function: FunctionType) -> Iterator[Reached]:
    for name in global_names(function.__code__):
        if name in function.__globals__:
            yield Reached(name, "global", function.__globals__[name], function)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield Reached(name, "closure", cell.cell_contents, function)
        except ValueError:  # the enclosing function has not bound the name yet
            continue
    yield from (Reached(n, "default", v, function) for n, v in defaults_of(function).items())


def defaults_of(function: FunctionType) -> dict[str, Any]:
    """Return the default values of a function's parameters by name."""
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    values = function.__defaults__ or ()
    named = zip(positional[len(positional) - len(values) :], values, strict=True)
    return dict(named) | (function.__kwdefaults__ or {})


_ABSENT = object()
"""In place of a global that there is not."""


class _UnwatchableError(Exception):
    """The value may change without its identity telling."""


def content_of(f: object) -> tuple[Any, ...] | None:
    """Return a tuple whose members change identity whenever what `f` reaches has changed.

    None: `f` reaches something that may change unnoticed (an array, an instance, a class of the
    user's own), so that only its bytes tell. The tuple never holds `f` itself.
    """
    if not isinstance(f, FunctionType) or is_dispatcher(f):
        return None
    found = reach(f)
    known = {id(function) for function in found.functions}
    content: list[Any] = []
    try:
        for function in found.functions:
            content += _itself(function)
            _watch(function.__dict__, content, known)
        for item in found.items:
            _watch(item.value, content, known)
    except _UnwatchableError:
        return None
    return tuple(content)


def _itself(f: FunctionType) -> tuple[Any, ...]:
    """Return what is the function's own, beside what it reaches."""
    return f.__code__, f.__name__, f.__qualname__, f.__doc__, f.__module__


def plain_names(f: FunctionType) -> tuple[str, ...] | None:
    """Return the global names of a function whose content `glance` shows; None: it does not.

    Such a function reaches no other of the user's own, and nothing that may change in itself.
    """
    found = reach(f)
    is_alone = found.functions == [f] and not (f.__dict__ or f.__closure__)
    is_fixed = is_alone and f.__kwdefaults__ is None  # an empty one may be filled
    if not is_fixed or not all(_is_plain(item.value) for item in found.items):
        return None
    return tuple(global_names(f.__code__))


def _is_plain(value: Any) -> bool:
    if isinstance(value, ModuleType):
        return not is_own(value)
    return type(value) in ATOMS or (callable(value) and _is_by_name(value))


def glance(f: FunctionType, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Return a tuple like `content_of`, of a function that `plain_names` has found plain.

    Of a short call the whole look is a tenth.
    """
    known = f.__globals__
    return (
        *_itself(f),
        f.__kwdefaults__,
        len(f.__dict__),
        *(f.__defaults__ or ()),
        *[known.get(name, _ABSENT) for name in names],
    )


def _watch(value: Any, content: list[Any], known: set[int], depth: int = NESTING) -> None:
    value = marked_function(value) or value
    kind = type(value)
    if kind in ATOMS:
        content.append(value)
    elif kind in {list, tuple, dict, set, frozenset}:
        if len(value) > WATCHED_ITEMS or not depth:
            raise _UnwatchableError
        content += (kind, len(value))
        for member in (*value.keys(), *value.values()) if kind is dict else value:
            _watch(member, content, known, depth - 1)
    elif kind is FunctionType and is_own(value):
        if id(value) not in known:  # what it reaches is not among `content`
            raise _UnwatchableError
        content.append(value.__code__)
    elif isinstance(value, ModuleType) or (callable(value) and _is_by_name(value)):
        content.append(value)
    else:
        raise _UnwatchableError


def _is_by_name(value: Any) -> bool:
    """Tell whether a callable is pickled as a name: a function or class of an installed module."""
    is_named = isinstance(value, type | FunctionType) or hasattr(value, "__qualname__")
    is_free = getattr(value, "__self__", None) is None or isinstance(value.__self__, ModuleType)
    return is_named and is_free and not is_own(value)


def is_same_content(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Tell whether two results of `content_of` have the same members, by identity."""
    return len(one) == len(other) and all(map(is_, one, other))
