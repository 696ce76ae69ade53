"""The coordinator process: starts, serves clients, keeps the time, and ends in good order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, assert_never

import msgspec

from geopod.api import control, messages
from geopod.api.runs import RunOrder
from geopod.coordinator.control import Client, ControlServer
from geopod.coordinator.epochs import Fenced, is_newest, take_epoch
from geopod.coordinator.plans import Planner, StoredPlan, plan_without_layers
from geopod.coordinator.recovery import UnfinishedRun, read_order, read_unfinished
from geopod.coordinator.service import Coordinator
from geopod.coordinator.settings import CoordinatorSettings, read_settings
from geopod.coordinator.watchdog import Watchdog
from geopod.dispatch import events
from geopod.store import KeyMissingError, Store

TICK_S = 1.0
CHECK_TICKS = 5
"""Heartbeats, and a look for a newer coordinator, every so many ticks."""

log = logging.getLogger(__name__)


class CoordinatorProcess:
    """One coordinator from its start to its end."""

    def __init__(
        self, coordinator: Coordinator, store: Store, *, settings_path: Path | None
    ) -> None:
        self._coordinator = coordinator
        self._store = store
        self._settings_path = settings_path
        self._uid = coordinator.settings.environment_uid
        self._control = ControlServer(self)
        self._planner = Planner(store, self._uid)
        self._planning: asyncio.Task[None] | None = None
        self._clock: asyncio.Task[None] | None = None
        self._watchdog = Watchdog()

    @classmethod
    async def start(
        cls, settings: CoordinatorSettings, store: Store, *, settings_path: Path | None = None
    ) -> CoordinatorProcess:
        """Take a new epoch, read back what is unfinished, and listen; planning runs meanwhile.

        `settings_path`: where CONFIGURE reads the spec again; None: only its `nodes` count.
        """
        epoch = await take_epoch(store, settings.environment_uid)
        coordinator = Coordinator(settings, store, epoch=epoch)
        process = cls(coordinator, store, settings_path=settings_path)
        process._plan(anew=False)
        for run in await read_unfinished(store, settings.environment_uid):
            await coordinator.resume(run, await process._bound_plan(run))
        await coordinator.nodes.start(
            socket=settings.agent_socket, host=settings.agent_host, port=settings.agent_port
        )
        if settings.control_socket:
            await process._control.start(settings.control_socket)
        process._watchdog.start()
        process._clock = process._spawn(process._keep_time())
        coordinator.environment.publish()
        log.info("Coordinator of %s serves at epoch %d.", settings.name, epoch)
        return process

    async def serve(self) -> None:
        """Serve until the process must end; raises Fenced, or what went wrong."""
        await asyncio.shield(self._coordinator.ended)

    async def close(self) -> None:
        """Write what waits, say goodbye to all; unfinished runs stay unfinished."""
        for task in (self._clock, self._planning):
            if task is not None:
                task.cancel()
        await self._control.close()
        if not self._coordinator.ended.done():  # a replaced coordinator writes nothing more
            await self._coordinator.runs.flush()
        await self._coordinator.nodes.close("the coordinator ends")
        self._coordinator.environment.publish()
        self._watchdog.stop()

    # ---- ClientListener

    async def requested(self, client: Client, message: control.FromClient) -> None:
        """A client asks for something."""
        match message:
            case control.Submit(order=order, watch=watch):
                await self._submit(client, order, watch=watch)
            case control.WatchRun(run=run):
                await self._watch(client, run)
            case control.WatchEnvironment():
                self._coordinator.environment.watch(client)
            case control.CancelRun(run=run, indexes=indexes):
                chosen = None if indexes is None else tuple(indexes)
                self._coordinator.apply(events.RunCancelled(run, chosen))
            case control.Configure():
                self._configure(message)
            case messages.Bye():
                pass  # the server closes the connection
            case _:
                assert_never(message)

    def left(self, client: Client) -> None:
        """A client is gone."""
        self._coordinator.runs.forget(client)
        self._coordinator.environment.forget(client)

    async def _submit(self, client: Client, order: RunOrder, *, watch: bool) -> None:
        """Take a run, or show the one that was taken under this uid before."""
        if order.environment != self._uid:
            text = f"This coordinator serves {self._uid}, the run is for {order.environment}."
            client.send(control.Problem(about=order.uid, reason="NotMember", message=text))
            return
        runs = self._coordinator.runs
        known = order.uid in runs
        finished = None if known else await runs.find_finished(order.uid)
        if finished is not None:
            client.send(control.RunUpdate(state=finished))
            return
        if not known:
            await self._coordinator.submit(order)
        if watch:
            runs.watch(order.uid, client, at_once=known)

    async def _watch(self, client: Client, run: str) -> None:
        """Show a run: open, finished, or stored by its client but never taken until now."""
        runs = self._coordinator.runs
        finished = None if run in runs else await runs.find_finished(run)
        if finished is not None:
            client.send(control.RunUpdate(state=finished))
            return
        try:
            if run not in runs:
                await self._coordinator.submit(await read_order(self._store, self._uid, run))
        except KeyMissingError:
            text = f"No run {run} in environment {self._uid}."
            client.send(control.Problem(about=run, reason="RunNotFound", message=text))
            return
        runs.watch(run, client, at_once=True)

    def _configure(self, message: control.Configure) -> None:
        """Read the spec again and plan what it asks for."""
        settings = self._coordinator.settings
        if self._settings_path is not None:
            settings = read_settings(self._settings_path)
        if message.nodes is not None:
            settings = msgspec.structs.replace(settings, nodes=message.nodes)
        self._coordinator.reconfigure(settings)
        self._plan(anew=message.refresh)

    # ---- plans

    def _plan(self, *, anew: bool) -> None:
        """Begin to plan the layers; what was being planned is given up."""
        if self._planning is not None:
            self._planning.cancel()
        settings = self._coordinator.settings
        if not settings.nodes:
            return  # runs wait for nodes, and for a plan of as many
        if not settings.planning:
            self._coordinator.planned(plan_without_layers(settings.nodes))
            return
        self._planning = self._spawn(self._make_plan(settings, anew=anew))

    async def _make_plan(self, settings: CoordinatorSettings, *, anew: bool) -> None:
        plan = await self._planner.make(settings.planning, nodes=settings.nodes, anew=anew)
        self._coordinator.planned(plan)

    async def _bound_plan(self, run: UnfinishedRun) -> StoredPlan | None:
        """Return the plan whose partitions a recovered run has already used."""
        if run.state is None or not run.state.plan_sha256:
            return None
        return await self._planner.read(run.state.plan_sha256)

    # ---- time

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task whose failure ends the process."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._judge)
        return task

    def _judge(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._coordinator.fail(error)

    async def _keep_time(self) -> None:
        """Let deadlines be judged, heartbeats go out, and a newer coordinator be noticed."""
        coordinator, loop = self._coordinator, asyncio.get_running_loop()
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            self._watchdog.tick()
            coordinator.apply(events.Tick())
            if ticks % CHECK_TICKS == 0:
                lost_after_s = coordinator.settings.lost_after_s
                await coordinator.nodes.check(now=loop.time(), lost_after_s=lost_after_s)
                if not await is_newest(self._store, self._uid, coordinator.epoch):
                    coordinator.fail(Fenced())
