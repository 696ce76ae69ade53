"""The coordinator process: starts, plans, keeps the time, and ends in good order."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine
from typing import Any

from geopod.coordinator.clients import LocalClients
from geopod.coordinator.epochs import Fenced, is_newest
from geopod.coordinator.manifest import read_plan
from geopod.coordinator.outside import Outside
from geopod.coordinator.plans import Planner, StoredPlan, plan_without_layers
from geopod.coordinator.recovery import UnfinishedRun
from geopod.coordinator.service import Coordinator
from geopod.coordinator.settings import CoordinatorSettings
from geopod.coordinator.sockets import listen_tcp
from geopod.dispatch import events
from geopod.process.watchdog import Watchdog
from geopod.store import Store

TICK_S = 1.0
CHECK_TICKS = 5
"""Heartbeats, and a look for a newer coordinator, every so many ticks."""

log = logging.getLogger(__name__)


class CoordinatorProcess:
    """One coordinator from its start to its end. A Desk."""

    def __init__(self, coordinator: Coordinator, store: Store, outside: Outside) -> None:
        self.coordinator = coordinator
        self._store = store
        self._outside = outside
        self._uid = coordinator.settings.environment_uid
        self._planner = Planner(store, self._uid)
        self._planning: asyncio.Task[None] | None = None
        self._clock: asyncio.Task[None] | None = None
        self._watchdog = Watchdog()

    @classmethod
    async def start(
        cls,
        settings: CoordinatorSettings,
        store: Store,
        outside: Outside | None = None,
        *,
        listening: socket.socket | None = None,
    ) -> CoordinatorProcess:
        """Take a new epoch, read back what is unfinished, and serve; planning runs meanwhile.

        `outside` None: clients of the control socket that the settings name. `listening` None:
        agents dial where the settings say.
        """
        outside = LocalClients(settings, store) if outside is None else outside
        epoch = await outside.take_epoch()
        coordinator = Coordinator(settings, store, epoch=epoch)
        process = cls(coordinator, store, outside)
        process._plan(anew=False)
        for run in await outside.unfinished(process):
            await coordinator.resume(run, await process._bound_plan(run))
        if listening is None and settings.agent_port is not None:
            listening = listen_tcp(settings.agent_host, settings.agent_port)
        await coordinator.nodes.start(path=settings.agent_socket, listening=listening)
        await outside.open()
        process._watchdog.start()
        process._clock = process._spawn(process._keep_time())
        coordinator.environment.publish()
        log.info("Coordinator of %s serves at epoch %d.", settings.name, epoch)
        return process

    async def serve(self) -> None:
        """Serve until the process must end; raises Fenced, or what went wrong."""
        await asyncio.shield(self.coordinator.ended)

    async def close(self) -> None:
        """Write what waits, say goodbye to all; unfinished runs stay unfinished."""
        for task in (self._clock, self._planning):
            if task is not None:
                task.cancel()
        await self._outside.close()
        if not self.coordinator.ended.done():  # a replaced coordinator writes nothing more
            await self.coordinator.runs.flush()
        await self.coordinator.nodes.close("the coordinator ends")
        self.coordinator.environment.publish()
        self._watchdog.stop()

    # ---- plans

    def configure(self, settings: CoordinatorSettings, *, anew: bool) -> None:
        """Serve these settings from now on and plan for them; `anew`: read the headers again."""
        self.coordinator.reconfigure(settings)
        self._plan(anew=anew)

    def _plan(self, *, anew: bool) -> None:
        """Begin to plan the layers; what was being planned is given up."""
        if self._planning is not None:
            self._planning.cancel()
        settings = self.coordinator.settings
        if not settings.nodes:
            return  # runs wait for nodes, and for a plan of as many
        if settings.unplannable is not None:
            self.coordinator.planned(settings.unplannable)
            return
        if not settings.planning:
            self.coordinator.planned(plan_without_layers(settings.nodes))
            return
        self._planning = self._spawn(self._make_plan(settings, anew=anew))

    async def _make_plan(self, settings: CoordinatorSettings, *, anew: bool) -> None:
        plan = await self._planner.make(
            settings.planning, nodes=settings.nodes, anew=anew, refreshed=settings.refreshed
        )
        self.coordinator.planned(plan)

    async def _bound_plan(self, run: UnfinishedRun) -> StoredPlan | None:
        """Return the plan whose partitions a recovered run has already used.

        What is in the manifest counts although its coordinator had no time to store a state.
        """
        told = "" if run.state is None else run.state.plan_sha256
        name = told or await read_plan(self._store, run.chunks)
        return await self._planner.read(name) if name else None

    # ---- time

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task whose failure ends the process."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._judge)
        return task

    def _judge(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.coordinator.fail(error)

    async def _keep_time(self) -> None:
        """Let deadlines be judged, heartbeats go out, and a newer coordinator be noticed."""
        coordinator, loop = self.coordinator, asyncio.get_running_loop()
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            self._watchdog.tick()
            coordinator.apply(events.Tick())
            if ticks % CHECK_TICKS == 0:
                lost_after_s = coordinator.settings.lost_after_s
                coordinator.nodes.check(now=loop.time(), lost_after_s=lost_after_s)
                coordinator.nodes_changed()  # time alone makes a node that is awaited a lost one
                if not await is_newest(self._store, self._uid, coordinator.epoch):
                    coordinator.fail(Fenced())
