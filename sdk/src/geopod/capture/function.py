"""The captured function: which form it travels in, and a cache that notices changes."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from geopod.api.bundles import Captured, FunctionBundle, FunctionFormat, digest
from geopod.capture import bytecode
from geopod.capture.limits import MAX_BUNDLE_BYTES, ROLES, Inclusion, Request, Send, check_object
from geopod.capture.names import (
    is_own,
    marked_function,
    place_of,
    plain_name,
    shape_name,
    type_name,
)
from geopod.capture.reach import (
    Reach,
    content_of,
    glance,
    is_same_content,
    plain_names,
    reach,
)
from geopod.errors import (
    FunctionTooLargeError,
    PythonVersionMismatchError,
    UnpicklableFunctionError,
)
from geopod.errors.wording import size_text

OWN_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class _Cached:
    content: tuple[Any, ...]
    bundle: FunctionBundle
    names: tuple[str, ...] | None
    """Of a function that a glance tells everything of."""
    seen: tuple[Any, ...]

    def is_plainly_same(self, f: FunctionType) -> bool:
        """Say whether a glance shows that the function is what it was; False: look closely."""
        return self.names is not None and is_same_content(self.seen, glance(f, self.names))


_cache: weakref.WeakKeyDictionary[Any, dict[Request, _Cached]] = weakref.WeakKeyDictionary()
_cache_lock = threading.Lock()


def capture_function(
    f: Callable[..., Any],
    *,
    node_python: str,
    client_python: str = OWN_MINOR,
    send: Send = "auto",
    environment: str = "",
    include: Inclusion | None = None,
) -> FunctionBundle:
    """Return what is sent of `f` to nodes of minor `node_python`, `3.12`.

    Same minor: a pickle by value. Another minor: source, if `f` stands alone. `environment` is a
    name for errors. `include`: files that travel along, and the function's own as they are.
    A second capture of an unchanged function returns the first one's bundle.
    Raises PythonVersionMismatchError (E101), UnpicklableFunctionError (E102), BoundGlobalError
    (E103), FunctionTooLargeError (E104), SourceUnavailableError (E105).
    Source of the rules: the project's SDK design, §3.
    """
    request = Request(node_python, client_python, send, environment)
    while (inner := marked_function(f)) is not None:
        f = inner
    if include:
        return _bundle(f, request, include)
    if not isinstance(f, FunctionType):
        return _capture(f, request)
    with _cache_lock:
        known = _cache.get(f, {}).get(request)
    if known is not None and known.is_plainly_same(f):
        return known.bundle
    content = content_of(f)
    if content is None:
        return _capture(f, request)
    if known is not None and is_same_content(known.content, content):
        return known.bundle
    names = plain_names(f)
    seen = () if names is None else glance(f, names)  # before: what changes meanwhile is noticed
    bundle = _capture(f, request)
    with _cache_lock:
        _cache.setdefault(f, {})[request] = _Cached(content, bundle, names, seen)
    return bundle


def _bundle(f: Callable[..., Any], request: Request, include: Inclusion) -> FunctionBundle:
    """Return files as they are now: they may change between two runs."""
    from geopod.capture.bundle import write_bundle  # most clients never need it

    name = plain_name(f)
    payload, captured = write_bundle(f, name, include)
    return FunctionBundle(
        format="bundle",
        name=name,
        python=request.client_python,
        payload=payload,
        sha256=digest(payload),
        captured=captured,
    )


def _capture(f: Callable[..., Any], request: Request) -> FunctionBundle:
    name = plain_name(f)
    form: FunctionFormat
    if _may_send_bytecode(f, name, request):
        form, (payload, captured) = "cloudpickle", _pickle(f, name)
    else:
        from geopod.capture.source import write_source  # most clients never need it

        form, (payload, captured) = "source", write_source(f, name, request)
    if len(payload) > MAX_BUNDLE_BYTES:
        largest = sorted(captured, key=lambda item: -item.bytes)[:3]
        raise FunctionTooLargeError.bundle(
            function=name,
            size=len(payload),
            limit=MAX_BUNDLE_BYTES,
            largest=[f"{item.name} {size_text(item.bytes)}" for item in largest],
        )
    return FunctionBundle(
        format=form,
        name=name,
        python=request.client_python,
        cloudpickle=bytecode.CLOUDPICKLE_VERSION if form == "cloudpickle" else "",
        payload=payload,
        sha256=digest(payload),
        captured=captured,
    )


def _may_send_bytecode(f: Callable[..., Any], name: str, request: Request) -> bool:
    if request.node_python == request.client_python:
        return request.send != "source"
    if request.send == "pickle":
        raise PythonVersionMismatchError.no_source(
            function=name,
            client=request.client_python,
            environment=request.environment,
            runs=request.node_python,
            why=f"send='pickle' sends {shape_name(f)} as bytecode, which never crosses minors",
        )
    return False


def _pickle(f: Callable[..., Any], name: str) -> tuple[bytes, tuple[Captured, ...]]:
    found = reach(f)
    captured = tuple(_measured(f, name, found))
    try:
        payload = bytecode.pickle_by_value(f, found.names)
    except Exception as error:
        raise _unpicklable(f, name, found, error) from error
    return payload, captured


def _measured(f: Callable[..., Any], name: str, found: Reach) -> Iterator[Captured]:
    """Yield what travels, with sizes; refuse what cannot travel or is too large."""
    seen: set[tuple[str, int]] = set()
    for item in found.items:
        is_itself = isinstance(f, FunctionType) and (marked_function(item.value) or item.value) is f
        if is_itself or (item.name, id(item.value)) in seen:
            continue
        seen.add((item.name, id(item.value)))
        if isinstance(item.value, ModuleType):
            yield Captured(name=item.name, kind="module", type=item.value.__name__)
            continue
        try:
            size = _size(item.value, found)
        except Exception as error:
            raise _unpicklable(f, name, found, error) from error
        check_object(name, item, size)
        yield Captured(name=item.name, kind=item.role, type=type_name(item.value), bytes=size)


def _size(value: Any, found: Reach) -> int:
    if isinstance(value, FunctionType) and is_own(value):
        value = value.__code__  # what it reaches has rows of its own
    return bytecode.pickled_size(value, found.names)


def _unpicklable(
    f: Callable[..., Any], name: str, found: Reach, error: Exception
) -> UnpicklableFunctionError:
    """Return the error that names what is to blame, its type and the line that uses it."""
    culprits = list(_culprits(found))
    if not culprits:
        return UnpicklableFunctionError(
            f"Cannot send {name!r} ({shape_name(f)}): {error}.",
            fixes=(f"geopod.function(send='source')({name}).capture()",),
        )
    if len(culprits) == 1:
        role, part, kind, where = culprits[0]
        return UnpicklableFunctionError.holds(
            function=name, role=role, name=part, type_name=kind, where=where
        )
    facts = (
        f"{role} {part!r} is a {kind}{f' ({where})' if where else ''}"
        for role, part, kind, where in culprits
    )
    return UnpicklableFunctionError(
        f"Cannot send {name!r}: {', '.join(facts)}. Everything else can be sent.",
        fixes=(f"open them inside {name}(), or pass what opens them",),
        details={"names": [part for _, part, _, _ in culprits]},
    )


def _culprits(found: Reach) -> Iterator[tuple[str, str, str, str | None]]:
    """Yield (role, name, type, place) of every object that cannot be pickled, once each."""
    seen: set[int] = set()
    for item in found.items:
        result = bytecode.find_unpicklable(item.value, found.names)
        if result is None or id(result[1]) in seen:
            continue
        path, part = result
        seen.add(id(part))
        if isinstance(part, FunctionType | type | ModuleType) and is_own(part):
            continue  # the reason is something it reaches, which is an item of its own
        where = place_of(item.owner, item.name) if item.owner else None
        yield ROLES[item.role], item.name + path, type_name(part), where
