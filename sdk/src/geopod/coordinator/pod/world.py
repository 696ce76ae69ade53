"""The outside of a coordinator in a pod: it follows resources and keeps their statuses.

Three watches (the environment, the Layers, its runs) bring orders in; every state goes out as a
status. What each change means is decided here, what happens to a run in `geopod.dispatch`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from geopod.api.environment_resource import CoordinatorReport
from geopod.api.layer_sources import catalogue_spec
from geopod.api.run_report import seconds
from geopod.api.runs import EnvironmentState
from geopod.cluster.kinds import ENVIRONMENTS, LAYERS, RUNS, Kind
from geopod.cluster.watching import Listing, WatchEvent
from geopod.coordinator.epochs import Fenced
from geopod.coordinator.outside import Desk
from geopod.coordinator.plans import PlanFailed, StoredPlan
from geopod.coordinator.pod.environment_writer import EnvironmentWriter
from geopod.coordinator.pod.epochs import claim_epoch, epoch_in, known_nodes
from geopod.coordinator.pod.office import Api, Object, Office
from geopod.coordinator.pod.rollout import Rollout
from geopod.coordinator.pod.run_desk import RunDesk
from geopod.coordinator.pod.spec import coordinator_settings, refresh_text
from geopod.coordinator.recovery import UnfinishedRun
from geopod.coordinator.settings import CoordinatorSettings
from geopod.store import Store

SETTLE_S = 5.0
"""How long the end of the process waits for statuses that are being written."""
REPLAN_S = (30.0, 600.0)
"""First and longest pause before layers that could not be read are read again."""

log = logging.getLogger(__name__)


class Cluster(Api, Protocol):
    """The part of `geopod.cluster.client.ApiClient` that a coordinator uses."""

    async def list(self, kind: Kind, *, field_selector: str = "") -> Listing:
        """Return all objects of the namespace."""

    def watch(
        self, kind: Kind, *, field_selector: str = "", since: str = ""
    ) -> AsyncGenerator[WatchEvent]:
        """Yield changes for ever."""


class ResourceWorld:
    """What a coordinator sees of the cluster. An Outside."""

    def __init__(self, office: Office, cluster: Cluster, store: Store, manifest: Object) -> None:
        """Take the environment as it was read; `begin` reads it."""
        self._office = office
        self._cluster = cluster
        self._store = store
        self._manifest = manifest
        self._layers: dict[str, Object] = {}
        self._layers_version = ""
        self._planned_generation: int = manifest["metadata"].get("generation", 1)
        self._started = time.time()
        self._replan_s = REPLAN_S[0]
        self._replanning: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._environment = EnvironmentWriter(office, self._describe)
        self.runs = RunDesk(office, cluster, store, self._environment.cover)
        self._rollout = Rollout()
        self._desk: Desk
        self.ready = asyncio.Event()
        """Set while orders are taken."""

    @classmethod
    async def begin(cls, office: Office, cluster: Cluster, store: Store) -> ResourceWorld:
        """Read the environment and the catalogue; raises Fenced for another one of its name."""
        manifest = await cluster.get(ENVIRONMENTS, office.pod.environment)
        if manifest["metadata"]["uid"] != office.pod.environment_uid:
            raise Fenced
        world = cls(office, cluster, store, manifest)
        listing = await cluster.list(LAYERS)
        world._layers = {it["metadata"]["name"]: catalogue_spec(it) for it in listing.items}
        world._layers_version = listing.resource_version
        return world

    def settings(self) -> CoordinatorSettings:
        """Return what the environment and the catalogue of now ask for."""
        return coordinator_settings(self._manifest, self._layers, self._office.pod)

    # ---- Outside

    async def take_epoch(self) -> int:
        """Return an epoch above all others, told in the status first."""
        return await claim_epoch(self._office, self._cluster, self._store, self._manifest)

    async def unfinished(self, desk: Desk) -> list[UnfinishedRun]:
        """Return the runs that an earlier coordinator has begun and not ended."""
        self._desk = desk
        used = seconds((self._manifest.get("status") or {}).get("lastActivityTime"))
        if used is not None:
            desk.coordinator.remember_activity(used)
        desk.coordinator.expect_nodes(known_nodes(self._manifest))
        return await self.runs.unfinished(desk, self._manifest["spec"])

    async def open(self) -> None:
        """Follow the resources from what was read on."""
        self._desk.coordinator.environment.watch(self._environment)
        await self.runs.open(self._layers)
        name = self._office.pod.environment
        self._tasks = [
            self._spawn(self._follow_environment(f"metadata.name={name}")),
            self._spawn(self._follow_layers()),
            self._spawn(self._follow_runs(f"spec.environment={name}")),
        ]
        self.ready.set()

    async def close(self) -> None:
        """Take no more orders; returns when the statuses that are being written are there."""
        self.ready.clear()
        for task in self._tasks:
            task.cancel()
        await self._office.settle(SETTLE_S)
        self._environment.is_gone = True  # whoever serves next tells the rest

    # ---- watches

    async def _follow_environment(self, selector: str) -> None:
        version = self._manifest["metadata"]["resourceVersion"]
        watch = self._cluster.watch(ENVIRONMENTS, field_selector=selector, since=version)
        async with aclosing(watch) as changes:
            async for event in changes:
                if event.type in {"ADDED", "MODIFIED"}:
                    self._take_environment(event.object)
                elif event.type == "DELETED":
                    log.info("The environment is deleted.")
                    self._environment.is_gone = True

    async def _follow_layers(self) -> None:
        watch = self._cluster.watch(LAYERS, since=self._layers_version)
        async with aclosing(watch) as changes:
            async for event in changes:
                if event.type == "SYNCED":
                    continue
                name = event.object["metadata"]["name"]
                if event.type == "DELETED":
                    self._layers.pop(name, None)
                else:
                    self._layers[name] = catalogue_spec(event.object)
                self._heal_plan()

    async def _follow_runs(self, selector: str) -> None:
        watch = self._cluster.watch(RUNS, field_selector=selector, since=self.runs.version)
        async with aclosing(watch) as changes:
            async for event in changes:
                await self.runs.take(event)

    # ---- the environment

    def _take_environment(self, manifest: Object) -> None:
        """Follow a change of the spec, of an annotation, or of the other half of the status."""
        coordinator = self._desk.coordinator
        if manifest["metadata"]["uid"] != self._office.pod.environment_uid:
            self._environment.is_gone = True
            return
        if epoch_in(manifest) > coordinator.epoch:
            coordinator.fail(Fenced())
            return
        before, self._manifest = self._manifest, manifest
        self._environment.observe(manifest)
        self.runs.spec = manifest["spec"]
        if manifest["metadata"].get("generation") != before["metadata"].get("generation"):
            self._follow_spec(before["spec"])
        if refresh_text(manifest) != refresh_text(before):
            self._desk.configure(self.settings(), anew=True)
        self._planned_generation = manifest["metadata"].get("generation", 1)
        awake = self._rollout.follow(coordinator, manifest)
        if awake:
            coordinator.nodes.redial(awake, "the drain is over")
        self._environment.changed()

    def _follow_spec(self, before: Object) -> None:
        settings, spec = self.settings(), self._manifest["spec"]
        planned = ("nodes", "layers", "files", "partitioning")
        if any(spec.get(name) != before.get(name) for name in planned):
            self._desk.configure(settings, anew=False)
            return
        kept = self._desk.coordinator.settings
        self._desk.coordinator.adjust(settings.limits_over(kept))

    def _heal_plan(self) -> None:
        """Plan again when there is no plan and the catalogue says something else by now."""
        coordinator = self._desk.coordinator
        if not isinstance(coordinator.plan, PlanFailed):
            return
        settings = self.settings()
        known = coordinator.settings
        if (settings.planning, settings.unplannable) != (known.planning, known.unplannable):
            self._desk.configure(settings, anew=False)

    def _replan_later(self) -> None:
        """Read layers again that could not be reached: their store may come back."""
        self._replanning = asyncio.get_running_loop().call_later(self._replan_s, self._replan)
        self._replan_s = min(2 * self._replan_s, REPLAN_S[1])

    def _replan(self) -> None:
        self._replanning = None
        if isinstance(self._desk.coordinator.plan, PlanFailed):
            self._desk.configure(self.settings(), anew=False)

    def _describe(self) -> tuple[EnvironmentState, CoordinatorReport]:
        """Return what the status says now."""
        coordinator = self._desk.coordinator
        plan = coordinator.plan
        if isinstance(plan, StoredPlan):
            self._replan_s = REPLAN_S[0]
        elif isinstance(plan, PlanFailed) and self._replanning is None and _may_pass(plan):
            self._replan_later()
        state = coordinator.read_environment()
        report = CoordinatorReport(
            now=time.time(),
            generation=self._planned_generation,
            before=self._manifest.get("status") or {},
            pod=self._office.pod.pod_name,
            started=self._started,
            outdated=self._rollout.outdated(coordinator),
            drained=self._rollout.drained(coordinator),
            plan=plan.plan if isinstance(plan, StoredPlan) else None,
            layers=self._manifest["spec"].get("layers", ()),
        )
        return state, report

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a watch; one that ends by an error ends the process: it would be blind."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._judge)
        return task

    def _judge(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._desk.coordinator.fail(error)


def _may_pass(plan: PlanFailed) -> bool:
    """Whether the same layers may be readable later without anybody doing anything."""
    return bool(plan.details.get("reason", "LayerUnreachable") == "LayerUnreachable")
