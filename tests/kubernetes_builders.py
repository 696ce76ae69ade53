"""An API server in memory, and an operator with coordinator that write what a test tells them."""

from __future__ import annotations

import asyncio
import copy
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from geopod.api import names
from geopod.api.results import Entry, Failure, ManifestChunk, TaskRecord
from geopod.api.run_report import RunReport, status_from_state, timestamp
from geopod.api.run_resource import order_from_resource
from geopod.api.runs import RunState
from geopod.backends.kubernetes import KubernetesBackend
from geopod.client import aio
from geopod.cluster.client import ApiClient, Listing, ProxyTarget, WatchEvent
from geopod.cluster.kinds import ENVIRONMENTS, RUNS, Kind
from geopod.cluster.problems import ConflictApiError, InvalidApiError, NotFoundApiError
from geopod.coordinator.pod.removal import is_removal_due, without_results
from geopod.errors import PermissionDeniedError
from geopod.store import Store
from geopod.store.channel import Patience
from geopod.store.directory import DirectoryStore
from geopod_gateway.app import Gateway
from store_builders import SIGNING_KEY, a_token, running, some_settings

__all__ = ["SIGNING_KEY", "FakeApi", "Play", "a_condition", "connected", "ready_status"]

HASTY = Patience(
    total_s=2.0, first_wait_s=0.01, longest_wait_s=0.05, connect_s=10.0, silence_s=30.0
)
Manifest = dict[str, Any]


class FakeApi:
    """The methods of `ApiClient`, over objects in memory; counts what is asked."""

    def __init__(self, namespace: str = "geo", context: str = "prod") -> None:
        self.namespace = namespace
        self.context = context
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.calls: Counter[str] = Counter()
        """`list computeruns` -> how often."""
        self.forbidden: set[str] = set()
        """`list nodes`: what this user may not."""
        self.refusal = ""
        """What the schema says to the next create or apply."""
        self.closed = False
        self._owned: dict[tuple[str, str, str], set[str]] = {}
        self._version = 0
        self._log: list[tuple[int, str, str, Manifest]] = []
        self._news = asyncio.Condition()

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Manifest:
        self._count("get", kind)
        if (kind.plural, name) not in self.objects:
            raise NotFoundApiError(404, "NotFound", f'{kind.plural} "{name}" not found')
        return copy.deepcopy(self.objects[kind.plural, name])

    async def list(
        self, kind: Kind, *, namespace=None, label_selector="", field_selector="", cached=False
    ) -> Listing:
        self._count("list", kind)
        found = [
            copy.deepcopy(it)
            for (plural, _), it in self.objects.items()
            if plural == kind.plural and _matches(it, label_selector, field_selector)
        ]
        return Listing(found, str(self._version))

    async def watch(
        self, kind: Kind, *, namespace=None, label_selector="", field_selector="", since=""
    ) -> AsyncIterator[WatchEvent]:
        self._count("watch", kind)
        version = int(since or 0)
        if not since:
            listing = await self.list(kind, field_selector=field_selector)
            for item in listing.items:
                yield WatchEvent("ADDED", item)
            yield WatchEvent("SYNCED", {})
            version = int(listing.resource_version)
        while True:
            for at, type_, plural, manifest in tuple(self._log):
                if at <= version:
                    continue
                version = at
                if plural == kind.plural and _matches(manifest, label_selector, field_selector):
                    yield WatchEvent(type_, copy.deepcopy(manifest))
            async with self._news:
                await self._news.wait_for(lambda at=version: self._version > at)

    async def create(
        self, kind: Kind, manifest: Manifest, *, field_manager: str, strict: bool = True
    ) -> Manifest:
        self._count("create", kind)
        self._check()
        if kind.plural == "selfsubjectaccessreviews":
            asked = manifest["spec"]["resourceAttributes"]
            allowed = f"{asked['verb']} {asked['resource']}" not in self.forbidden
            return {**manifest, "status": {"allowed": allowed}}
        name = manifest["metadata"]["name"]
        if (kind.plural, name) in self.objects:
            raise ConflictApiError(409, "AlreadyExists", f"{name} already exists")
        return await self._keep("ADDED", kind.plural, self._born(kind, manifest))

    async def apply(
        self, kind: Kind, manifest: Manifest, *, field_manager: str, force=True, subresource=""
    ) -> Manifest:
        self._count("apply", kind)
        self._check()
        name = manifest["metadata"]["name"]
        known = self.objects.get((kind.plural, name))
        if known is None and subresource:
            raise NotFoundApiError(404, "NotFound", f'{kind.plural} "{name}" not found')
        if known is None:
            return await self._keep("ADDED", kind.plural, self._born(kind, manifest))
        for word in ("resourceVersion", "uid"):
            if manifest["metadata"].get(word) not in {None, known["metadata"][word]}:
                raise ConflictApiError(409, "Conflict", f"{name} has another {word}")
        changed = copy.deepcopy(known)
        if subresource == "status":
            owned = self._owned.setdefault((kind.plural, name, field_manager), set())
            changed["status"] = _applied(changed.get("status") or {}, manifest["status"], owned)
        else:
            changed["spec"] = copy.deepcopy(manifest["spec"])
            for part in ("labels", "annotations"):
                if part in manifest["metadata"]:
                    changed["metadata"][part] = {
                        **(changed["metadata"].get(part) or {}),
                        **manifest["metadata"][part],
                    }
        return await self._changed(kind.plural, known, changed)

    async def make(self, kind: Kind, manifest: Manifest, *, field_manager: str):
        is_new = (kind.plural, manifest["metadata"]["name"]) not in self.objects
        return await self.apply(kind, manifest, field_manager=field_manager), is_new

    async def patch(
        self,
        kind: Kind,
        name: str,
        patch: Manifest,
        *,
        namespace=None,
        subresource="",
        field_manager="",
        type="merge",  # noqa: A002  # Kubernetes' word
    ) -> Manifest:
        self._count("patch", kind)
        known = await self._known(kind, name)
        version = known["metadata"]["resourceVersion"]
        if patch.get("metadata", {}).get("resourceVersion", version) != version:
            raise ConflictApiError(409, "Conflict", f"{name} has another resourceVersion")
        return await self._changed(kind.plural, known, _merged(copy.deepcopy(known), patch))

    async def delete(
        self, kind, name, *, namespace=None, propagation="Background", uid=None, grace_s=None
    ) -> None:
        self._count("delete", kind)
        known = self.objects.get((kind.plural, name))
        if known is not None and uid in {None, known["metadata"]["uid"]}:
            del self.objects[kind.plural, name]
            await self._tell("DELETED", kind.plural, known)

    def proxied(self, service: str, port: int, namespace: str) -> ProxyTarget:
        return ProxyTarget(f"http://127.0.0.1:9/{namespace}/{service}:{port}", dict, ssl=True)

    async def close(self) -> None:
        self.closed = True

    async def put(self, kind: Kind, name: str, **content: Any) -> Manifest:
        """Keep an object that somebody else made."""
        manifest = {"metadata": {"name": name, **content.pop("metadata", {})}, **content}
        return await self._keep("ADDED", kind.plural, self._born(kind, manifest))

    async def say(self, kind: Kind, name: str, status: Manifest) -> None:
        """Replace an object's status, if it is still there."""
        known = self.objects.get((kind.plural, name))
        if known is None:
            return
        await self._changed(kind.plural, known, {**copy.deepcopy(known), "status": status})

    async def _known(self, kind: Kind, name: str) -> Manifest:
        if (kind.plural, name) not in self.objects:
            raise NotFoundApiError(404, "NotFound", f'{kind.plural} "{name}" not found')
        return self.objects[kind.plural, name]

    def _count(self, verb: str, kind: Kind) -> None:
        self.calls[f"{verb} {kind.plural}"] += 1
        if f"{verb} {kind.plural}" in self.forbidden:
            raise PermissionDeniedError.forbidden(
                verb=verb, resource=kind.plural, namespace=self.namespace, user="ana"
            )

    def _check(self) -> None:
        refusal, self.refusal = self.refusal, ""
        if refusal:
            raise InvalidApiError(422, "Invalid", refusal)

    def _born(self, kind: Kind, manifest: Manifest) -> Manifest:
        meta = {
            "uid": str(uuid.uuid4()),
            "creationTimestamp": timestamp(time.time()),
            "generation": 1,
            **manifest["metadata"],
        }
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **manifest, "metadata": meta}
        return copy.deepcopy(whole)

    async def _changed(self, plural: str, known: Manifest, changed: Manifest) -> Manifest:
        if changed.get("spec") != known.get("spec"):
            changed["metadata"]["generation"] = known["metadata"]["generation"] + 1
        return await self._keep("MODIFIED", plural, changed)

    async def _keep(self, type_: str, plural: str, manifest: Manifest) -> Manifest:
        self.objects[plural, manifest["metadata"]["name"]] = manifest
        await self._tell(type_, plural, manifest)
        return copy.deepcopy(manifest)

    async def _tell(self, type_: str, plural: str, manifest: Manifest) -> None:
        async with self._news:
            self._version += 1
            manifest["metadata"]["resourceVersion"] = str(self._version)
            self._log.append((self._version, type_, plural, copy.deepcopy(manifest)))
            self._news.notify_all()


def _applied(status: Manifest, applied: Manifest, owned: set[str]) -> Manifest:
    """Return a status in which other writers' conditions stay; `owned`: the types of this one."""
    own = {it["type"] for it in applied.get("conditions", ())}
    others = [it for it in status.get("conditions", ()) if it["type"] not in own | owned]
    owned.clear()
    owned |= own
    whole = _merged(copy.deepcopy(status), applied)
    if "conditions" in applied:
        whole["conditions"] = [*others, *copy.deepcopy(applied["conditions"])]
    return whole


def _merged(into: Manifest, patch: Manifest) -> Manifest:
    """Apply a JSON merge patch."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            into[key] = _merged(dict(into.get(key) or {}), value)
        else:
            into[key] = copy.deepcopy(value)
    return into


def _matches(manifest: Manifest, labels: str, fields: str) -> bool:
    found = manifest["metadata"].get("labels") or {}
    for pair in filter(None, labels.split(",")):
        key, _, value = pair.partition("=")
        if found.get(key) != value:
            return False
    for pair in filter(None, fields.split(",")):
        path, _, value = pair.partition("=")
        at: Any = manifest
        for part in path.split("."):
            at = (at or {}).get(part)
        if at != value:
            return False
    return True


def a_condition(kind: str, *, status: bool, reason: str, message: str = "", generation=1):
    return {
        "type": kind,
        "status": "True" if status else "False",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-03T10:00:00Z",
        "reason": reason,
        "message": message,
    }


def ready_status(manifest: Manifest, *, nodes: int | None = None) -> Manifest:
    """Return the status of an environment whose nodes are all ready."""
    uid, namespace = manifest["metadata"]["uid"], manifest["metadata"].get("namespace", "geo")
    count = manifest["spec"].get("nodes", 1) if nodes is None else nodes
    generation = manifest["metadata"]["generation"]
    folder = f"shared/{namespace}/"
    return {
        "conditions": [
            a_condition(kind, status=True, reason=kind, generation=generation)
            for kind in ("Accepted", "DependenciesReady", "CoordinatorReady", "NodesReady", "Ready")
        ],
        "replicas": count,
        "nodes": {"connected": count, "ready": count},
        "runtime": {"bundleKey": "abc123", "image": "registry/runtime@sha256:0"},
        "access": {
            "token": a_token(f"{uid}/", may=("get", "upload")),
            "sharedToken": a_token(folder, key_id=f"shared/{namespace}", may=("get", "upload")),
            "expiresAt": timestamp(time.time() + 600),
        },
    }


@dataclass
class Play:
    """Operator and coordinators in one: makes environments ready and plays scripts for runs."""

    api: FakeApi | ApiClient
    store: Store
    script: list[Any] = field(default_factory=lambda: [1])
    """One value or Failure per task."""
    inline: bool = True
    """Results ride along in the status."""
    ready: bool = True
    held: bool = False
    """Runs stay Running."""
    removes: bool = True
    """Results are removed when that is asked for."""

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._environments())
            group.create_task(self._runs())

    async def _environments(self) -> None:
        async for event in self.api.watch(ENVIRONMENTS):
            if event.type not in {"ADDED", "MODIFIED"} or not self.ready:
                continue
            manifest, meta = event.object, event.object["metadata"]
            known = manifest.get("status") or {}
            asleep = bool(manifest["spec"].get("suspend"))
            seen = {it.get("observedGeneration") for it in known.get("conditions", ())}
            if seen == {meta["generation"]}:
                continue
            status = ready_status(manifest)
            if asleep:
                status["conditions"][-1]["status"] = "False"
                status["conditions"].append(
                    a_condition(
                        "Suspended",
                        status=True,
                        reason="UserRequested",
                        generation=meta["generation"],
                    )
                )
                status["replicas"] = 0
            await self._tell(ENVIRONMENTS, meta["name"], status)

    async def _runs(self) -> None:
        async for event in self.api.watch(RUNS):
            if event.type not in {"ADDED", "MODIFIED"}:
                continue
            phase = (event.object.get("status") or {}).get("phase")
            if event.object["spec"].get("cancel") and phase in {None, "Running"}:
                await self._end(event.object, "Cancelled")
            elif phase is None:
                await self._play(event.object)
            elif self.removes and is_removal_due(
                event.object, event.object["status"]["environmentUID"]
            ):
                await self._remove(event.object)

    async def _remove(self, manifest: Manifest) -> None:
        metadata, uid = manifest["metadata"], manifest["status"]["environmentUID"]
        await self.store.delete(names.run_prefix(uid, metadata["uid"]))
        await self._tell(RUNS, metadata["name"], without_results(manifest, now=time.time()))

    async def _play(self, manifest: Manifest) -> None:
        if manifest["spec"].get("mode") == "Publish":
            await self._end(manifest, "Succeeded")
            return
        environment = await self.api.get(ENVIRONMENTS, manifest["spec"]["environment"])
        uid = environment["metadata"]["uid"]
        order = order_from_resource(manifest, environment_uid=uid)
        indexes = order.partitions or range(order.count or environment["spec"].get("nodes", 1))
        state = RunState(
            uid=order.uid,
            name=order.name,
            environment=uid,
            phase="Running",
            created=order.created,
            started=time.time(),
            epoch=1,
            total=len(indexes),
            running=len(indexes),
        )
        await self._say(state)
        if self.held:
            return
        pairs = [await self._record(uid, order.uid, index) for index in indexes]
        records = [record for record, _ in pairs]
        chunk = ManifestChunk(epoch=1, sequence=0, accepts=[], records=records)
        await self.store.put(names.manifest_key(uid, order.uid, 1, 0), msgspec.json.encode(chunk))
        failed = [record for record in records if record.failure is not None]
        copies = {record.index: data for record, data in pairs} if self.inline else {}
        await self._say(
            msgspec.structs.replace(
                state,
                phase="Failed" if failed else "Succeeded",
                reason="TaskFailed" if failed else "",
                message=f"{len(failed)} tasks failed." if failed else "",
                finished=time.time(),
                running=0,
                succeeded=len(records) - len(failed),
                failed=len(failed),
                failures=failed,
                inline={} if failed else copies,
                records=records if self.inline and not failed else [],
            )
        )

    async def _end(self, manifest: Manifest, phase: str) -> None:
        environment = await self.api.get(ENVIRONMENTS, manifest["spec"]["environment"])
        meta = manifest["metadata"]
        await self._say(
            RunState(
                uid=meta["uid"],
                name=meta["name"],
                environment=environment["metadata"]["uid"],
                phase=phase,
                reason="Cancelled" if phase == "Cancelled" else "",
                finished=time.time(),
                total=1,
                succeeded=int(phase == "Succeeded"),
            )
        )

    async def _record(self, uid: str, run: str, index: int) -> tuple[TaskRecord, bytes]:
        outcome = self.script[index % len(self.script)]
        record = TaskRecord(index=index, attempt=1, epoch=1, node=index, runtime_s=0.1)
        if isinstance(outcome, Failure):
            return msgspec.structs.replace(record, failure=outcome), b""
        data = json.dumps(outcome).encode()
        key = names.result_key(uid, run, f"{index}-1-1", "value")
        await self.store.put(key, data)
        entry = Entry(codec="json", sha256=sha256(data).hexdigest(), bytes=len(data), key=key)
        return msgspec.structs.replace(record, entry=entry), data

    async def _say(self, state: RunState) -> None:
        token = a_token(
            names.run_prefix(state.environment, state.uid), key_id=state.environment, may=("get",)
        )
        report = RunReport(now=time.time(), token=token, expires=time.time() + 3600, result_bytes=1)
        await self._tell(RUNS, state.name, status_from_state(state, report))

    async def _tell(self, kind: Kind, name: str, status: Manifest) -> None:
        """Apply a status; one that is deleted meanwhile needs none."""
        manifest = {"metadata": {"name": name}, "status": status}
        with suppress(NotFoundApiError):
            await self.api.apply(
                kind, manifest, field_manager=names.COORDINATOR, subresource="status"
            )


@asynccontextmanager
async def connected(folder: Path, *, play: bool = True, **script: Any):
    """Give (client, api, play) of a cluster whose parts run in the test's own loop."""
    api = FakeApi()
    storage = folder / "store"
    async with running(Gateway(some_settings(storage))) as url:
        player = Play(api, DirectoryStore(storage), **script)
        serving = asyncio.ensure_future(player.serve()) if play else None
        backend = KubernetesBackend(api, url, cache=folder / "cache", patience=HASTY)
        try:
            yield aio.Client(backend), api, player
        finally:
            await backend.close()
            if serving is not None:
                serving.cancel()
                with suppress(asyncio.CancelledError):
                    await serving
