"""A watch that goes on: list, then changes, over drops, restarts and expired versions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from geopod.cluster.problems import ExpiredApiError, Request, problem
from geopod.cluster.transport import LOST, Call, Transport, decode, passes_by_itself
from geopod.errors import GeopodError

EventType = Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]
LIST_CHUNK = 500
SERVED_S = 290
"""The server ends a watch after about this long, which spreads watches over its instances."""
SILENT_S = 150.0
"""Bookmarks come every minute: a watch without a byte for this long is dead and is begun anew."""
BACKOFF_S, BACKOFF_MAX_S = 0.2, 30.0
LIST_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list answered; `resource_version` is where a watch may start."""

    items: list[dict[str, Any]]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change; `SYNCED` follows each list: what was not told since the one before is gone."""

    type: EventType
    object: dict[str, Any]
    """Of SYNCED: empty."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects."""

    request: Request
    label_selector: str = ""
    field_selector: str = ""

    def query(self, **more: str) -> dict[str, str]:
        """Return the selectors as a query."""
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: value for name, value in {**selectors, **more}.items() if value}


async def list_all(transport: Transport, chosen: Selection, *, cached: bool = False) -> Listing:
    """Return all objects of a selection; chunks that expired on the way are read anew."""
    for restart in range(LIST_RESTARTS):
        try:
            return await _list_once(transport, chosen, cached=cached)
        except ExpiredApiError:
            if restart == LIST_RESTARTS - 1:
                raise
    raise AssertionError(chosen.request.kind.plural)  # the last one returned or raised


async def _list_once(transport: Transport, chosen: Selection, *, cached: bool) -> Listing:
    request = replace(chosen.request, verb="list")
    items: list[dict[str, Any]] = []
    more = {"resourceVersion": "0"} if cached else {}
    while True:
        query = chosen.query(limit=str(LIST_CHUNK), **more)
        body = await transport.read(Call(request=request, method="GET", query=query))
        page = decode(body, type=_Page)
        kind = {"apiVersion": request.kind.api_version, "kind": request.kind.kind}
        items.extend({**kind, **_readable(item)} for item in page.items or ())
        meta = page.metadata or {}
        if not meta.get("continue"):
            return Listing(items, meta.get("resourceVersion", ""))
        more = {"continue": meta["continue"]}


class _Page(msgspec.Struct):
    """A chunk of a list: each item is decoded when the one before it is taken."""

    items: list[msgspec.Raw] | None = None
    metadata: dict[str, Any] | None = None


def _readable(item: msgspec.Raw) -> dict[str, Any]:
    """Return an item without what only the server reads, half of its size: lists may be long."""
    found: dict[str, Any] = decode(item)
    found["metadata"].pop("managedFields", None)
    return found


async def watch_all(
    transport: Transport, chosen: Selection, *, since: str = ""
) -> AsyncGenerator[WatchEvent]:
    """Yield every object, SYNCED, then changes; `since`: a version to go on from, nothing listed.

    Raises what does not pass by itself, and whatever the first list meets.
    """
    version, was_listed, failures = since, bool(since), 0
    while True:
        try:
            if not version:
                listing = await list_all(transport, chosen)
                for item in listing.items:
                    yield WatchEvent("ADDED", item)
                yield WatchEvent("SYNCED", {})
                version, was_listed = listing.resource_version, True
            async with aclosing(_changes(transport, chosen, version)) as changes:
                async for type_, changed in changes:
                    version, failures = changed["metadata"]["resourceVersion"], 0
                    if type_ != "BOOKMARK":
                        yield WatchEvent(type_, changed)
        except ExpiredApiError:
            version = ""
        except (GeopodError, *LOST) as error:
            if not was_listed or not passes_by_itself(error):
                raise
            failures += 1
            await asyncio.sleep(_backoff_s(failures))


async def _changes(
    transport: Transport, chosen: Selection, version: str
) -> AsyncGenerator[tuple[Any, dict[str, Any]]]:
    """Yield (type, object) until the server ends this watch."""
    query = chosen.query(
        watch="true",
        allowWatchBookmarks="true",
        resourceVersion=version,
        timeoutSeconds=str(SERVED_S),
    )
    call = Call(request=replace(chosen.request, verb="watch"), method="GET", query=query)
    async with transport.opened(call, read_s=SILENT_S, total_s=None) as answer:
        rest = b""
        async for piece in answer.content.iter_any():
            *lines, rest = (rest + piece).split(b"\n") if b"\n" in piece else (rest + piece,)
            for line in lines:
                event = decode(line)
                if event["type"] == "ERROR":
                    told = event["object"]
                    raise problem(call.request, int(told.get("code") or 500), told, wait_s=1.0)
                yield event["type"], event["object"]


def _backoff_s(failures: int) -> float:
    longest = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(failures, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311  # spreads callers, guards nothing
