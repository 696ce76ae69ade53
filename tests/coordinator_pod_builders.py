"""An API server in memory and a coordinator on it: watches, statuses, preconditions, outages."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import api_builders
import msgspec
from coordinator_builders import LINK_KEY, PATIENCE_S, UID
from geopod.api.runs import RunState
from geopod.cluster.kinds import ENVIRONMENTS, LAYERS, RUNS, Kind
from geopod.cluster.problems import ConflictApiError, NotFoundApiError
from geopod.cluster.watching import Listing, WatchEvent
from geopod.coordinator.pod.office import Office
from geopod.coordinator.pod.settings import PodSettings
from geopod.coordinator.pod.tokens import TokenMint
from geopod.coordinator.pod.world import ResourceWorld
from geopod.coordinator.process import CoordinatorProcess
from geopod.coordinator.settings import CoordinatorSettings
from geopod.store.directory import DirectoryStore
from geopod.store.refusals import refusal

NAME = "ndvi"
Object = dict[str, Any]


def an_environment(**spec: Any) -> Object:
    return {
        "metadata": {"name": NAME, "uid": UID, "generation": 1},
        "spec": {"nodes": 1, "interpreter": "python3.11", **spec},
    }


def a_run(name: str, **spec: Any) -> Object:
    function = api_builders.a_function(pythonVersion="3.11")
    return {
        "metadata": {
            "name": name, "uid": f"uid-{name}", "generation": 1, "creationTimestamp": now_text(),
        },
        "spec": {"environment": NAME, "function": function, **spec},
    }  # fmt: skip  # one line less


def now_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass
class Write:
    """One status write as the server took it."""

    kind: str
    name: str
    status: Object


class FakeCluster:
    """Keeps objects, tells watchers, counts writes. `outage`: raised by the next writes."""

    def __init__(self, *objects: tuple[Kind, Object]) -> None:
        self.writes: list[Write] = []
        self.lists = 0
        self.outage: list[Exception] = []
        self.mute = False
        """Watches hear nothing."""
        self.gets: list[str] = []
        """Names of the runs that were read one by one."""
        self.reads_of_environment = 0
        self._version = 10
        self._objects: dict[tuple[str, str], Object] = {}
        self._queues: list[tuple[Kind, asyncio.Queue[WatchEvent]]] = []
        self._changed = asyncio.Event()
        for kind, manifest in objects:
            self.put(kind, manifest)

    # ---- the client's side

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object:
        if kind == RUNS:
            self.gets.append(name)
            self._changed.set()
        if kind == ENVIRONMENTS:
            self.reads_of_environment += 1
            self._changed.set()
        if (kind.plural, name) not in self._objects:
            raise NotFoundApiError(404, "NotFound", "there is none")
        return copy.deepcopy(self._objects[kind.plural, name])

    async def list(self, kind: Kind, *, field_selector: str = "") -> Listing:
        self.lists += 1
        items = [it for (plural, _), it in self._objects.items() if plural == kind.plural]
        return Listing(copy.deepcopy(items), str(self._version))

    async def watch(
        self, kind: Kind, *, field_selector: str = "", since: str = ""
    ) -> AsyncGenerator[WatchEvent]:
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()
        for (plural, _), manifest in self._objects.items():  # what changed since
            if plural == kind.plural and int(manifest["metadata"]["resourceVersion"]) > int(since):
                queue.put_nowait(WatchEvent("MODIFIED", copy.deepcopy(manifest)))
        self._queues.append((kind, queue))
        while True:
            yield await queue.get()

    async def apply(
        self,
        kind: Kind,
        manifest: Object,
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Object:
        manager = "geopod-coordinator-ndvi" if kind == LAYERS else "geopod-coordinator"
        assert (field_manager, force, subresource) == (manager, True, "status")
        if self.outage:
            raise self.outage.pop(0)
        meta = manifest["metadata"]
        stored = self._objects.get((kind.plural, meta["name"]))
        if stored is None:
            raise NotFoundApiError(404, "NotFound", "there is none")
        for word in ("uid", "resourceVersion"):
            if word in meta and meta[word] != stored["metadata"][word]:
                raise ConflictApiError(409, "Conflict", f"another {word}")
        status = msgspec.json.decode(msgspec.json.encode(manifest["status"]))
        self.writes.append(Write(kind.plural, meta["name"], status))
        return self.put(kind, {**stored, "status": {**stored.get("status", {}), **status}})

    # ---- the users' side

    def put(self, kind: Kind, manifest: Object) -> Object:
        """Create or change an object, as a user or the operator does."""
        self._version += 1
        known = (kind.plural, manifest["metadata"]["name"]) in self._objects
        whole = copy.deepcopy(manifest)
        whole["metadata"]["resourceVersion"] = str(self._version)
        self._objects[kind.plural, manifest["metadata"]["name"]] = whole
        self._tell(kind, WatchEvent("MODIFIED" if known else "ADDED", copy.deepcopy(whole)))
        return copy.deepcopy(whole)

    def change(self, kind: Kind, name: str, change: Callable[[Object], None]) -> None:
        """Change an object in place; a change of the spec raises its generation."""
        manifest = copy.deepcopy(self._objects[kind.plural, name])
        before = copy.deepcopy(manifest["spec"])
        change(manifest)
        if manifest["spec"] != before:
            manifest["metadata"]["generation"] += 1
        self.put(kind, manifest)

    def delete(self, kind: Kind, name: str, *, told: bool = True) -> None:
        gone = self._objects.pop((kind.plural, name))
        if told:
            self._tell(kind, WatchEvent("DELETED", gone))

    def begin_anew(self, kind: Kind) -> None:
        """The watch's version has expired (410): everything there is told again."""
        for (plural, _), manifest in list(self._objects.items()):
            if plural == kind.plural:
                self._tell(kind, WatchEvent("ADDED", copy.deepcopy(manifest)))
        self._tell(kind, WatchEvent("SYNCED", {}))

    def status(self, kind: Kind, name: str) -> Object:
        found: Object = self._objects[kind.plural, name].get("status", {})
        return found

    def written(self, kind: Kind, name: str) -> list[Object]:
        return [it.status for it in self.writes if (it.kind, it.name) == (kind.plural, name)]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return when a condition on what was written holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def phase(self, run: str, phase: str) -> Object:
        """Return a run's status once it says this phase."""
        await self.until(lambda: self.status(RUNS, run).get("phase") == phase)
        return self.status(RUNS, run)

    def _tell(self, kind: Kind, event: WatchEvent) -> None:
        for watched, queue in self._queues:
            if watched == kind and not self.mute:
                queue.put_nowait(event)
        self._changed.set()


class Counting:
    """A Counter that keeps what it hears."""

    def __init__(self) -> None:
        self.writes = 0
        self.states: list[RunState] = []

    def wrote(self) -> None:
        self.writes += 1

    def ended(self, state: RunState, accepted: float | None) -> None:
        del accepted
        self.states.append(state)


def pod_settings(folder: Path) -> PodSettings:
    return PodSettings(
        namespace="team",
        environment=NAME,
        environment_uid=UID,
        pod_name="ndvi-coordinator-x",
        store=str(folder / "store"),
        cache=folder / "cache",
        environment_key=bytes(32),
        link_key=LINK_KEY.hex(),
    )


def local_settings(
    world: ResourceWorld, folder: Path, *, redial_grace_s: float = 0.2
) -> CoordinatorSettings:
    """The world's settings, listening where scripted agents dial."""
    return msgspec.structs.replace(
        world.settings(),
        agent_port=None,
        agent_socket=str(folder / "a.sock"),
        redial_grace_s=redial_grace_s,
        recovery_wait_s=2.0,
    )


class FillingStore(DirectoryStore):
    """A store that may have no room, as a gateway says that."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_full = False
        self._refused = asyncio.Semaphore(0)

    async def refuse(self, count: int) -> None:
        """Return when so many more writes were refused."""
        for _ in range(count):
            await self._refused.acquire()

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        if self.is_full:
            self._refused.release()
            raise refusal("PUT", key, 507, "DiskFull: The store has no room left.", ours=True)
        await super().put(key, data, if_absent=if_absent)


@contextlib.asynccontextmanager
async def serving(
    cluster: FakeCluster, folder: Path, *, store: DirectoryStore | None = None, **changes: float
) -> AsyncIterator[tuple[CoordinatorProcess, CoordinatorSettings]]:
    """A coordinator on that cluster, and the settings with which scripted agents find it."""
    pod = pod_settings(folder)
    office = Office(cluster, pod, TokenMint(pod.environment_key, UID), Counting())
    store = DirectoryStore(Path(pod.store)) if store is None else store
    world = await ResourceWorld.begin(office, cluster, store)
    settings = local_settings(world, folder, **changes)
    process = await CoordinatorProcess.start(settings, store, world)
    try:
        yield process, settings
    finally:
        await process.close()


def a_cluster(*runs: Object, **spec: Any) -> FakeCluster:
    """A cluster with one environment."""
    return FakeCluster(
        (ENVIRONMENTS, an_environment(**spec)),
        *((RUNS, run) for run in runs),
    )
