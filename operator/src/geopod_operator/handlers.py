"""kopf at the edge: a watch event goes into the stores and its key into the queue. Nothing else.

`on.event` handlers only: they cost no PATCH, no finalizer and no annotation. They return None: a
returned value would land in the status. kopf queues every object of a list at once: it reads them
without what nobody keeps.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import kopf
from typing_extensions import override

from geopod_operator.cluster import (
    OURS_SELECTOR,
    OWN,
    RUNS,
    RUNS_SELECTOR,
    RUNTIMES,
    WATCHED_CHILDREN,
    Kind,
)
from geopod_operator.probes import WatchStamps, watch_of
from geopod_operator.stores import ENVIRONMENT, Raw, Stores, WorkKey, kept

CHANGES = frozenset({"ADDED", "MODIFIED", "DELETED"})
WAITED_S = 0.05
"""Somebody waits for an environment on its way to Ready, and several events bring it there."""


class Add(Protocol):
    """Puts a key into the queue."""

    def __call__(self, key: WorkKey, *, after_s: float | None = None) -> None:
        """Let it be worked on after so many seconds; None: as the queue is used to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """Where watch events go."""

    stores: Stores
    add: Add
    saw: Callable[[Raw], None]
    gone: Callable[[Raw], None]

    def take(self, kind: Kind, type_: str | None, found: Raw) -> None:
        """Take one event; type None: part of a list, news only if it differs."""
        found = {**found, "apiVersion": kind.api_version, "kind": kind.kind}
        if type_ == "DELETED":
            concerned = self.stores.concerned(found)
            self.stores.drop(found)
            self.gone(found)
        elif self.stores.put(found):
            concerned = self.stores.concerned(found)
            self.saw(found)
        else:
            return
        for key in concerned:
            self.add(key, after_s=self._after_s(found, key))

    def _after_s(self, found: Raw, key: WorkKey) -> float | None:
        """Return how soon a key is looked at; None: as the queue is used to."""
        if _stands_alone(found):
            return 0.0
        kind, namespace, name = key
        is_waited = kind == ENVIRONMENT and self.stores.is_on_its_way((namespace, name))
        return WAITED_S if is_waited else None


def _stands_alone(found: Raw) -> bool:
    """Whether it is a new environment that waits for nothing: Layers may come a moment later."""
    spec = found.get("spec") or {}
    is_new = found["kind"] == ENVIRONMENT and not found.get("status")
    return is_new and not spec.get("layers") and not spec.get("files")


def watched_kinds(*, watches_runtimes: bool) -> tuple[Kind, ...]:
    """Return every kind that is watched."""
    kinds = (*OWN, *WATCHED_CHILDREN)
    return tuple(kind for kind in kinds if watches_runtimes or kind is not RUNTIMES)


def register(
    inbox: Inbox,
    watched: Iterable[Kind],
    *,
    login: Callable[[], kopf.AiohttpSession],
    ended: Callable[[], None],
) -> kopf.OperatorRegistry:
    """Return the registry of all handlers; `ended` is told when kopf stops."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def sign_in(**_: Any) -> kopf.AiohttpSession:
        return login()

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:
        ended()

    for kind in watched:
        _register(registry, inbox, kind)
    return registry


def _register(registry: kopf.OperatorRegistry, inbox: Inbox, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)
    async def noticed(event: Any, **_: Any) -> None:
        inbox.take(kind, event["type"], dict(event["object"]))


def kopf_response(stamps: WatchStamps) -> type[aiohttp.ClientResponse]:
    """Return the class of what kopf reads: its watches leave stamps, its objects are `kept`."""

    class Response(aiohttp.ClientResponse):
        @override
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            if self.url.query.get("watch") == "true" and self.ok:
                watch = watch_of(self.url.path)
                stamps.opened(watch)
                self.content = _Events(self.content, lambda: stamps.told(watch))  # type: ignore[assignment]  # stands in for it
            return self

        @override
        async def json(self, **options: Any) -> Any:
            answer = await super().json(**options)
            return _kept_list(answer) if isinstance(answer, dict) and "items" in answer else answer

    return Response


class _Events:
    """A watch's content: calls `told` for whatever arrives, and gives whole lines."""

    def __init__(self, content: aiohttp.StreamReader, told: Callable[[], None]) -> None:
        self._content = content
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._content.iter_chunked(size):
            self._told()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield _kept_event(line) + b"\n"
        yield rest


def _kept_event(line: bytes) -> bytes:
    event = json.loads(line)
    if event["type"] in CHANGES:
        event["object"] = kept(event["object"])
    return json.dumps(event).encode()


def _kept_list(answer: dict[str, Any]) -> dict[str, Any]:
    kind = answer["kind"].removesuffix("List")
    return {**answer, "items": [kept({"kind": kind, **item}) for item in answer["items"] or ()]}


def kopf_settings(*, streams_lists: bool) -> kopf.OperatorSettings:
    """Return kopf's settings: bounded lists, selectors on the server, no traffic of its own."""
    settings = kopf.OperatorSettings()
    for kind in WATCHED_CHILDREN:  # `labels=` of a handler would filter on the client
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = OURS_SELECTOR
    settings.watching.field_selectors[RUNS.group, RUNS.version, RUNS.plural] = RUNS_SELECTOR
    settings.watching.chunk_size = 100  # decoded whole, and then queued
    settings.watching.initial_streaming = streams_lists
    settings.networking.request_timeout = 30  # the default is five minutes
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.scanning.disabled = True  # no listing of namespaces and CRDs
    settings.peering.standalone = True  # equal priorities freeze both operators
    settings.posting.enabled = False  # Events are typed, not log lines
    settings.posting.loggers = False
    settings.posting.worker_limit = 4
    settings.posting.reporting_component = "geopod"
    settings.queueing.worker_limit = 64
    settings.execution.max_workers = 2  # handlers are coroutines
    settings.persistence.finalizer = "geopod.dev/kopf"  # though never added
    settings.process.ultimate_exiting_timeout = 20  # below the pod's grace period of 30
    return settings
