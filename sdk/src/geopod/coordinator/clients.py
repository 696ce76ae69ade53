"""The outside of a coordinator on one machine: clients of its control socket."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

import msgspec

from geopod.api import control, messages
from geopod.coordinator.control import Client, ControlServer
from geopod.coordinator.epochs import take_epoch
from geopod.coordinator.outside import Desk
from geopod.coordinator.recovery import UnfinishedRun, read_order, read_unfinished
from geopod.coordinator.settings import CoordinatorSettings, read_settings
from geopod.dispatch import events
from geopod.store import KeyMissingError, Store


class LocalClients:
    """Serves the clients of this machine. An Outside, and the control socket's listener."""

    def __init__(
        self, settings: CoordinatorSettings, store: Store, *, settings_path: Path | None = None
    ) -> None:
        """`settings_path`: where CONFIGURE reads the spec again; None: only its `nodes` count."""
        self._socket = settings.control_socket
        self._uid = settings.environment_uid
        self._store = store
        self._settings_path = settings_path
        self._control = ControlServer(self)
        self._desk: Desk

    async def take_epoch(self) -> int:
        """Return an epoch higher than any coordinator before had."""
        return await take_epoch(self._store, self._uid)

    async def unfinished(self, desk: Desk) -> list[UnfinishedRun]:
        """Return the runs that an earlier coordinator has begun and not ended."""
        self._desk = desk
        return await read_unfinished(self._store, self._uid)

    async def open(self) -> None:
        """Listen, if there is a socket to listen on."""
        if self._socket:
            self._control.start(self._socket)

    async def close(self) -> None:
        """Say goodbye to every client and stop listening."""
        self._control.close()

    # ---- ClientListener

    async def requested(self, client: Client, message: control.FromClient) -> None:
        """A client asks for something."""
        coordinator = self._desk.coordinator
        match message:
            case control.Submit():
                await self._submit(client, message)
            case control.WatchRun(run=run):
                await self._watch(client, run)
            case control.WatchEnvironment():
                coordinator.environment.watch(client)
            case control.CancelRun(run=run, indexes=indexes):
                chosen = None if indexes is None else tuple(indexes)
                coordinator.apply(events.RunCancelled(run, chosen))
            case control.Configure():
                self._configure(message)
            case messages.Bye():
                pass  # the server closes the connection
            case _:
                assert_never(message)

    def left(self, client: Client) -> None:
        """A client is gone."""
        self._desk.coordinator.runs.forget(client)
        self._desk.coordinator.environment.forget(client)

    async def _submit(self, client: Client, message: control.Submit) -> None:
        """Take a run, or show the one that was taken under this uid before."""
        order = message.order
        if order.environment != self._uid:
            text = f"This coordinator serves {self._uid}, the run is for {order.environment}."
            client.send(control.Problem(about=order.uid, reason="NotMember", message=text))
            return
        runs = self._desk.coordinator.runs
        known = order.uid in runs
        if message.is_new and not known:
            self._desk.coordinator.admit(order, client if message.watch else None)
            return
        finished = None if known else await runs.find_finished(order.uid)
        if finished is not None:
            client.send(control.RunUpdate(state=finished))
            return
        watcher = client if message.watch else None
        if not known:
            await self._desk.coordinator.submit(order, watcher)
        elif watcher is not None:
            runs.watch(order.uid, watcher, at_once=True)

    async def _watch(self, client: Client, run: str) -> None:
        """Show a run: open, finished, or stored by its client but never taken until now."""
        runs = self._desk.coordinator.runs
        finished = None if run in runs else await runs.find_finished(run)
        if finished is not None:
            client.send(control.RunUpdate(state=finished))
            return
        try:
            if run not in runs:
                order = await read_order(self._store, self._uid, run)
                await self._desk.coordinator.submit(order, client)
        except KeyMissingError:
            text = f"No run {run} in environment {self._uid}."
            client.send(control.Problem(about=run, reason="RunNotFound", message=text))
            return
        if run in runs:
            runs.watch(run, client, at_once=True)

    def _configure(self, message: control.Configure) -> None:
        """Read the spec again, and plan what it asks for; other limits leave the plan alone."""
        coordinator = self._desk.coordinator
        settings = coordinator.settings
        if message.hold:
            coordinator.apply(events.NodesResized(settings.nodes))
            return
        if self._settings_path is not None:
            settings = read_settings(self._settings_path)
        if message.nodes is None and not message.refresh:
            coordinator.adjust(settings.limits_over(coordinator.settings))
            return
        if message.nodes is not None:
            settings = msgspec.structs.replace(settings, nodes=message.nodes)
        self._desk.configure(settings, anew=message.refresh)
