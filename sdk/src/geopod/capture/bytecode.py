"""Bytecode for the same Python minor: cloudpickle, the user's own modules by value.

One of the three modules that touch pickle; it only writes. Bytecode of another minor crashes the
interpreter that loads it (cloudpipe/cloudpickle#505), so whoever calls this has compared minors.
"""

from __future__ import annotations

import copy
import functools
import inspect
import io
import operator
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import cloudpickle
from typing_extensions import override

from geopod.api.bundles import MAX_SEGMENTS
from geopod.capture.dispatchers import is_dispatcher, reduce_dispatcher
from geopod.capture.names import (
    CACHED,
    all_names,
    global_names,
    is_own,
    is_own_module,
    marked_function,
)

PROTOCOL = 5
CLOUDPICKLE_VERSION: str = cloudpickle.__version__
LARGE_BUFFER_BYTES = 1 << 20
"""The node maps larger buffers for each task anew; below it a copy takes no longer."""
PLAIN_TYPES = frozenset({type(None), bool, int, float, str, bytes})
_registry = threading.RLock()
"""cloudpickle's list of modules by value is the process's, not the pickler's."""


def _code_with_its_file(code: CodeType) -> Any:
    """Reduce a code object with the name of its file: the user's tracebacks say where they are.

    cloudpickle writes `<dynamic-code>`, so that its pickles do not depend on the file's place.
    """
    build, parts = cloudpickle.Pickler.dispatch_table[CodeType](code)
    named = (code.co_filename if part == "<dynamic-code>" else part for part in parts)
    return build, tuple(named)


class _Call:
    """Is, where it is unpickled, what the call of an importable function returns."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = function, args

    @override
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


class _OwnByValue(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle carries no types
    """Pickles functions, classes and modules of the user's own files by value."""

    dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: _code_with_its_file})

    def __init__(
        self,
        file: io.BytesIO,
        names: Iterable[str],
        take_buffer: Callable[[pickle.PickleBuffer], object] | None = None,
    ) -> None:
        super().__init__(file, protocol=PROTOCOL, buffer_callback=take_buffer)
        self.names = frozenset(names)
        self.registered: list[ModuleType] = []
        self.has_modules = False
        self.used: set[str] = set()
        """Every name that a function uses that was sent by value."""

    @override
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ModuleType):
            return self._reduce_module(obj) if is_own(obj) else NotImplemented
        inner = marked_function(obj)
        if inner is not None:
            return copy.copy, (inner,)  # copy of a function is the function itself
        if isinstance(obj, CACHED | functools.cached_property):
            return _reduce_cached(obj)
        if is_dispatcher(obj):
            return reduce_dispatcher(obj)
        if isinstance(obj, FunctionType | type | TypeVar):
            self._register(getattr(obj, "__module__", None))
        reduced = super().reducer_override(obj)
        if isinstance(obj, FunctionType) and isinstance(reduced, tuple):
            self.used |= all_names(obj.__code__)
            _complete(obj, reduced[2])
        return reduced

    def _reduce_module(self, module: ModuleType) -> Any:
        """Send of a module only what somebody names: the rest may be large or unpicklable."""
        self.has_modules = True
        kept = {name: value for name, value in vars(module).items() if name in self.names}
        return ModuleType, (module.__name__,), kept

    def _register(self, name: str | None) -> None:
        if is_own_module(name) and name != "__main__":
            module = sys.modules[str(name)]
            if name not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                self.registered.append(module)


def _reduce_cached(obj: Any) -> Any:
    """Reduce what caches a function's results: an empty cache of the same function.

    `functools` itself reduces the one to a name, which the node does not have, and the other to a
    dictionary with a lock in it (Python 3.11).
    """
    if isinstance(obj, functools.cached_property):
        is_plain = type(obj) is functools.cached_property
        state = {"attrname": obj.attrname}
        return (functools.cached_property, (obj.func,), state) if is_plain else NotImplemented
    if not is_own(obj):
        return NotImplemented
    decorator = _Call(functools.lru_cache, *obj.cache_parameters().values())
    return operator.call, (decorator, obj.__wrapped__)


def _complete(function: FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Mend two things in cloudpickle's state of a function.

    It overlooks globals that only a nested class body names. And annotations that name geopod's
    own types would make the node import geopod, which a user's interpreter need not have.
    """
    slots = state[1]
    for name in global_names(function.__code__):
        if name in function.__globals__:
            slots["__globals__"].setdefault(name, function.__globals__[name])
    annotations: dict[str, Any] = slots["__annotations__"] or {}
    texts = {name: inspect.formatannotation(value) for name, value in annotations.items()}
    slots["__annotations__"] = {
        name: texts[name] if "geopod." in texts[name] else value
        for name, value in annotations.items()
    }


@contextmanager
def _pickler(
    file: io.BytesIO,
    names: Iterable[str],
    take_buffer: Callable[[pickle.PickleBuffer], object] | None = None,
) -> Iterator[_OwnByValue]:
    with _registry:
        pickler = _OwnByValue(file, names, take_buffer)
        try:
            yield pickler
        finally:
            for module in pickler.registered:
                cloudpickle.unregister_pickle_by_value(module)


class _Aside(list[memoryview]):
    """Large buffers that lie beside a pickle, not in it."""

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """Keep a large buffer; True: it goes into the pickle."""
        raw = buffer.raw()
        if raw.nbytes < LARGE_BUFFER_BYTES or len(self) + 1 == MAX_SEGMENTS:
            return True
        self.append(raw)
        return False


def pickle_apart(value: object) -> list[bytes | memoryview]:
    """Return `value` as a pickle and, after it, the large buffers that it needs, not copied."""
    aside = _Aside()
    return [_pickle(value, aside), *aside]


def _pickle(value: object, aside: _Aside | None = None) -> bytes:
    """Return a plain pickle of `value` where nodes can read that, else one by value."""
    file = io.BytesIO()
    take = None if aside is None else aside.take
    try:
        _ByReference(file, PROTOCOL, buffer_callback=take).dump(value)
    except (_NeedsValueError, pickle.PicklingError, TypeError, AttributeError):
        return pickle_by_value(value, aside=aside)
    return file.getvalue()


def pickle_by_value(
    value: object, names: Iterable[str] = (), *, aside: _Aside | None = None
) -> bytes:
    """Return `value` as a pickle that needs none of the user's own modules on the node.

    `names`: what is kept of modules that `value` holds as modules, besides what the functions in
    it use: those in a dictionary or an instance are found by pickling alone. Raises what pickling
    raises.
    """
    kept = frozenset(names)
    while True:
        file = io.BytesIO()
        if aside is not None:
            aside.clear()  # what an earlier try took
        with _pickler(file, kept, None if aside is None else aside.take) as pickler:
            pickler.dump(value)
        if not pickler.has_modules or pickler.used <= kept:
            return file.getvalue()
        kept |= pickler.used


def pickled_size(value: object, names: Iterable[str] = ()) -> int:
    """Return how many bytes `value` takes as a pickle, without copying its large buffers."""
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    with _pickler(file, names, buffers.append) as pickler:
        pickler.dump(value)
    return file.getbuffer().nbytes + sum(buffer.raw().nbytes for buffer in buffers)


class _NeedsValueError(Exception):
    """An argument holds something of the user's own modules."""


class _ByReference(pickle.Pickler):
    """The plain pickler, which gives up where the node could not import what it names."""

    @override
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType | type | ModuleType | CACHED) and is_own(obj):
            raise _NeedsValueError
        return NotImplemented


def pickle_arguments(args: Sequence[Any], kwargs: dict[str, Any], *more: Any) -> bytes:
    """Return one task's `[args, kwargs, *more]` as a pickle, plain where nodes can read that.

    `more`: the task's environment variables, if it has any.
    """
    value = [list(args), kwargs, *more]
    if not kwargs and all(type(member) in PLAIN_TYPES for member in args):
        return pickle.dumps(value, PROTOCOL)
    return _pickle(value)


def find_unpicklable(value: object, names: Iterable[str] = ()) -> tuple[str, object] | None:
    """Return the innermost part of `value` that cannot be pickled, and the path that leads to it.

    The path continues a name: `['db']`, `.session`. None: `value` can be pickled.
    """
    kept = frozenset(names)
    if pickling_error(value, kept) is None:
        return None
    path, seen = "", {id(value)}
    while True:
        culprits = (
            (step, part)
            for step, part in _parts(value)
            if id(part) not in seen and pickling_error(part, kept) is not None
        )
        step, part = next(culprits, ("", None))
        if not step:
            return path, value
        path, value = path + step, part
        seen.add(id(value))


def pickling_error(value: object, names: frozenset[str]) -> Exception | None:
    """Return why `value` cannot be pickled: what pickle or a user's `__reduce__` raised."""
    try:
        pickled_size(value, names)
    except Exception as error:  # noqa: BLE001  # user code may raise anything; it is handed on
        return error
    return None


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if type(value).__module__.partition(".")[0] == "geopod":
        return  # a client, an environment, a run: what is inside tells users nothing
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif not isinstance(value, type | ModuleType | FunctionType):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())
