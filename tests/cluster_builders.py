"""A small API server for the operator's shell: lists, watches, server-side apply, counts, faults.

It keeps what matters to a client: versions that grow, field managers, owner references, field
selectors of watches (leaving one is DELETED), bookmarks when told to, chunks, 410 Gone.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections import Counter
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer
from cluster_request_builders import (
    Seen,
    answer,
    content,
    discovery,
    event_of,
    line,
    matches,
    parse,
    refusal,
    schemas,
    verb_of,
)
from geopod.cluster import kinds

COUNTED_GENERATION = ("spec", "data", "rules")


class FakeCluster:
    """The server; `faults` answers instead of it: Seen -> Response, or None to go on."""

    def __init__(self):
        self.objects = {}
        self.seen = []
        self.faults = lambda seen: None
        self.version = 1000
        self.history_from = 0
        self.is_silent = False
        self.statuses = None
        self._history = []
        self._changed = asyncio.Event()
        self._uids = 0
        self._managed = {}
        self._cut = asyncio.Event()

    # ---- what tests do

    def count(self, verb, kind=None):
        return sum(seen.verb == verb and kind in (None, seen.kind) for seen in self.seen)

    def counts(self):
        return Counter((seen.verb, seen.kind) for seen in self.seen)

    def writes(self):
        return sum(seen.verb in ("create", "patch", "delete") for seen in self.seen)

    def put(self, kind, manifest):
        """Write an object as a user would."""
        namespace = manifest["metadata"].get("namespace", "geo") if kind.namespaced else ""
        return self._store(kind, namespace, manifest["metadata"]["name"], manifest)

    def get(self, kind, name, namespace="geo"):
        return self.objects.get((kind.plural, namespace if kind.namespaced else "", name))

    def all(self, kind):
        return [found for (plural, *_), found in self.objects.items() if plural == kind.plural]

    def set_status(self, kind, name, status, *, manager="test"):
        found = self.get(kind, name)
        return self._merge_status(kind, found, status, manager)

    def remove(self, kind, name, namespace="geo"):
        """Delete an object and what it owns."""
        found = self.objects.pop((kind.plural, namespace if kind.namespaced else "", name), None)
        if found is None:
            return
        self._tell(kind, "DELETED", found)
        uid = found["metadata"]["uid"]
        for (plural, space, owned), child in list(self.objects.items()):
            owners = child["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == uid for owner in owners):
                self.remove(next(k for k in kinds.ALL if k.plural == plural), owned, space)

    def copy(self):
        """Another server with the same objects."""
        other = FakeCluster()
        other.objects = copy.deepcopy(self.objects)
        other.version, other._uids = self.version, self._uids
        other._managed = copy.deepcopy(self._managed)
        return other

    def bookmark(self):
        """Send a bookmark on every open watch."""
        self._history.append((self.version, None, "BOOKMARK", None, None))
        self._wake()

    def cut_watches(self):
        """Close every open watch."""
        self._cut.set()
        self._cut = asyncio.Event()
        self._wake()

    def forget_history(self):
        """Let every version before now be too old."""
        self.history_from = self.version + 1

    async def until(self, is_so):
        """Wait until something about requests or objects is so."""
        while not is_so():
            changed = self._changed
            await changed.wait()

    # ---- the server

    @asynccontextmanager
    async def running(self, port=None):
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        server = TestServer(app, port=port)
        await server.start_server()
        try:
            yield server.make_url("/")
        finally:
            self.cut_watches()
            await server.close()

    async def _answer(self, request):
        parts = request.path.strip("/").split("/")
        if parts[0] == "openapi" and self.statuses is not None:
            return web.json_response(schemas(self.statuses))
        if parts[0] in ("version", "openapi"):
            return web.json_response({"kind": "Status", "details": {"kind": parts[0]}}, status=404)
        if parts in (["api"], ["api", "v1"]) or (parts[0] == "apis" and len(parts) in (1, 3)):
            return web.json_response(discovery(*parts))
        kind, namespace, name, subresource = parse(parts)
        verb = verb_of(request, name)
        seen = Seen(
            *(verb, kind.kind, namespace, name, subresource),
            headers=dict(request.headers),
            query=dict(request.query),
        )
        self.seen.append(seen)
        self._wake()
        fault = self.faults(seen)
        if fault is not None:
            return fault
        body = json.loads(await request.read() or b"null")
        return await getattr(self, f"_{verb}")(request, seen, kind, body)

    async def _get(self, request, seen, kind, body):
        found = self.get(kind, seen.name, seen.namespace)
        return refusal(404, "NotFound", kind, seen.name) if found is None else answer(found)

    async def _list(self, request, seen, kind, body):
        items = [found for found in self.all(kind) if matches(found, seen)]
        items.sort(key=lambda found: found["metadata"]["name"])
        start = int(request.query.get("continue", 0))
        stop = start + int(request.query.get("limit", 0) or len(items) or 1)
        meta = {"resourceVersion": str(self.version)}
        if stop < len(items):
            meta["continue"] = str(stop)
        bare = [{k: v for k, v in it.items() if k not in ("kind", "apiVersion")} for it in items]
        return answer({"kind": f"{kind.kind}List", "metadata": meta, "items": bare[start:stop]})

    async def _watch(self, request, seen, kind, body):
        version = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if version < self.history_from:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            await response.write(line("ERROR", gone))
            return response
        cut, position = self._cut, 0
        while not cut.is_set():
            changed = self._changed
            for at, plural, type_, before, found in self._history[position:]:
                if not self.is_silent and (at > version or type_ == "BOOKMARK"):
                    told = event_of(kind, seen, (at, plural, type_, before, found))
                    if told:
                        await response.write(told)
            position = len(self._history)
            await changed.wait()
        return response

    async def _create(self, request, seen, kind, body):
        name = body["metadata"]["name"]
        if self.get(kind, name, seen.namespace):
            return refusal(409, "AlreadyExists", kind, name)
        return answer(self._store(kind, seen.namespace, name, body), status=201)

    async def _patch(self, request, seen, kind, body):
        found = self.get(kind, seen.name, seen.namespace)
        uid = body["metadata"].get("uid") if isinstance(body, dict) and "metadata" in body else None
        version = body["metadata"].get("resourceVersion") if "metadata" in body else None
        if found and version not in (None, found["metadata"]["resourceVersion"]):
            return refusal(409, "Conflict", kind, seen.name, "it was changed")
        if found and uid and found["metadata"]["uid"] != uid and seen.subresource != "status":
            return refusal(409, "Conflict", kind, seen.name, "uid mismatch")
        if seen.subresource == "status":
            if found is None:
                return refusal(404, "NotFound", kind, seen.name)
            manager = request.query.get("fieldManager", "")
            return answer(self._merge_status(kind, found, body["status"], manager))
        if "apply" not in request.headers["Content-Type"]:
            if found is None:
                return refusal(404, "NotFound", kind, seen.name)
            metadata = {**found["metadata"], **body.get("metadata", {})}
            body = {**found, **body, "metadata": metadata}
        stored = self._store(kind, seen.namespace, seen.name, body)
        return answer(stored, status=201 if found is None else 200)

    async def _delete(self, request, seen, kind, body):
        found = self.get(kind, seen.name, seen.namespace)
        if found is None:
            return refusal(404, "NotFound", kind, seen.name)
        uid = ((body or {}).get("preconditions") or {}).get("uid")
        if uid and uid != found["metadata"]["uid"]:
            return refusal(409, "Conflict", kind, seen.name)
        self.remove(kind, seen.name, seen.namespace)
        return answer({"kind": "Status", "status": "Success"})

    def _store(self, kind, namespace, name, manifest):
        key = (kind.plural, namespace, name)
        before = self.objects.get(key)
        meta = {k: v for k, v in manifest["metadata"].items() if k != "resourceVersion"}
        if before is None:
            self._uids += 1
            kept = {"uid": f"uid-{self._uids}", "creationTimestamp": "2026-03-01T11:59:00Z"}
            kept["generation"] = 1
        else:
            kept = {k: before["metadata"][k] for k in ("uid", "creationTimestamp", "generation")}
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **manifest}
        if namespace:
            meta["namespace"] = namespace
        whole["metadata"] = {**meta, **kept, "name": name}
        if before is not None:
            whole |= {part: before[part] for part in ("status",) if part in before}
            if content(before) == content(whole):
                return before
            if any(before.get(part) != whole.get(part) for part in COUNTED_GENERATION):
                whole["metadata"]["generation"] += 1
        return self._commit(kind, key, before, whole)

    def _merge_status(self, kind, found, status, manager):
        owned = self._managed.setdefault(found["metadata"]["uid"], {})
        owned[manager] = status
        merged, conditions = {}, {}
        for part in owned.values():
            merged |= {k: v for k, v in part.items() if k != "conditions"}
            conditions |= {each["type"]: each for each in part.get("conditions", ())}
        if conditions:
            merged["conditions"] = list(conditions.values())
        if merged == found.get("status"):
            return found
        meta = found["metadata"]
        whole = {**found, "metadata": {**meta}, "status": merged}
        return self._commit(
            kind, (kind.plural, meta.get("namespace", ""), meta["name"]), found, whole
        )

    def _commit(self, kind, key, before, whole):
        self.version += 1
        whole["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = whole
        self._tell(kind, "MODIFIED" if before else "ADDED", whole, before)
        return whole

    def _tell(self, kind, type_, found, before=None):
        if type_ == "DELETED":
            self.version += 1
            meta = {**found["metadata"], "resourceVersion": str(self.version)}
            found = {**found, "metadata": meta}
        self._history.append((self.version, kind.plural, type_, before, found))
        self._wake()

    def _wake(self):
        self._changed.set()
        self._changed = asyncio.Event()
