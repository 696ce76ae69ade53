"""A node's agent: dials, stages its partition, hands tasks to the runner, commits, reports.

It never imports or opens what users send. A result is in the store before it is reported, and a
report is kept until the coordinator has it in the manifest.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, assert_never

from geopod.agent.commit import Committer
from geopod.agent.dial import CoordinatorLink
from geopod.agent.errands import Errands
from geopod.agent.leases import Leases
from geopod.agent.runner_link import RunnerLink
from geopod.agent.settings import AgentSettings
from geopod.agent.signs import NoSigns, Signs
from geopod.agent.staging import Staging
from geopod.api import messages
from geopod.api.messages import FromCoordinator, Hello, Welcome
from geopod.api.results import Failure
from geopod.process import eager
from geopod.process.running import run_process, until_told
from geopod.store import Store
from geopod.store.directory import DirectoryStore

GOODBYE_S = 5.0
"""How long the last words may take to be on their way: well below a pod's grace of 30 s."""
LOG_EVERY_S = 5.0
"""How often the output of running tasks is stored."""

UMASK = 0o007
"""Agent and runner may be two users of one group; nobody else reads what they share."""
LeaseMessage = (
    messages.Assign | messages.Committed | messages.Cancel | messages.EndRun | messages.Drain
)

log = logging.getLogger(__name__)


class Node:
    """One node, geopod's side."""

    def __init__(
        self,
        settings: AgentSettings,
        store: Store,
        runner: RunnerLink,
        *,
        shared: Store | None = None,
        signs: Signs | None = None,
    ) -> None:
        """`shared`: the store of what the namespace shares, where that is another one."""
        self._signs: Signs = NoSigns() if signs is None else signs
        self._own_parts: set[tuple[str, int]] = set()
        """(plan sha256, partition) that the coordinator wants here."""
        self._settings = settings
        self._instance = settings.instance or secrets.token_hex(8)
        self._runner = runner
        self._epoch = 0
        self._leases = Leases()
        self._link = CoordinatorLink(
            settings.coordinator, bytes.fromhex(settings.link_key), listener=self
        )
        self._staging = Staging(
            store,
            environment_uid=settings.environment_uid,
            scratch=settings.scratch_dir,
            shared=shared,
        )
        committer = Committer(
            store,
            environment_uid=settings.environment_uid,
            node=settings.node,
            workdir=settings.scratch_dir,
        )
        self._errands = Errands(
            store,
            settings=settings,
            runner=runner,
            staging=self._staging,
            committer=committer,
            leases=self._leases,
            send=self._link.send,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        """Serve until cancelled; raises what went wrong in here, which is a defect."""
        self._runner.on_state = self._runner_changed
        await self._runner.start()
        self.spawn(self._link.keep())
        self.spawn(self._keep_logs())
        await self._failed

    async def store_running_logs(self) -> None:
        """Store what running tasks have printed so far, for those who follow it."""
        await self._errands.store_running_logs()

    async def close(self) -> None:
        """Hand back what has no result yet, say goodbye, let the runner's children go."""
        self._runner_changed(
            ready=False, message="the node closes"
        )  # first: no new work comes for what goes back
        self._signs.ready(ready=False)
        self._errands.give_up()
        self._link.send(messages.Bye(reason="the node closes"))
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._link.flush()
        for task in list(self._tasks):
            task.cancel()
        await self._runner.close()

    # ---- LinkListener

    def hello(self) -> Hello:
        """Return who we are and what we hold."""
        return Hello(
            mac="",
            instance=self._instance,
            index=self._settings.node,
            python=self._runner.python,
            template_hash=self._settings.template_hash,
            memory_bytes=self._settings.memory_bytes or 0,
            leases=self._leases.describe(),
            staged=self._staging.ready(),
        )

    def welcomed(self, welcome: Welcome) -> bool:
        """Serve this coordinator, unless a newer one has welcomed us before."""
        if welcome.epoch < self._epoch:
            log.warning("Epoch %d is older than %d: not served.", welcome.epoch, self._epoch)
            return False
        self._epoch = welcome.epoch
        self._runner_changed(ready=self._runner.ready, message="")
        for report in self._leases.unacknowledged():
            self._link.send(report)
        self._own_parts = {(welcome.plan_sha256, part) for part in welcome.partitions}
        for partition in welcome.partitions:
            self.spawn(self._stage(welcome.plan_sha256, partition))
        self._show()
        return True

    def parted(self) -> None:
        """The coordinator is gone: not ready until one welcomes us again."""
        self._show()

    def received(self, message: FromCoordinator) -> None:
        """Do what the coordinator says."""
        match message:
            case messages.Ping(time=time):
                self._link.send(messages.Pong(time=time, busy=len(self._leases)))
            case messages.Stage(plan_sha256=plan_sha256, partition=partition):
                self._own_parts = {(plan_sha256, partition)}
                self.spawn(self._stage(plan_sha256, partition))
                self._show()
            case messages.Bye(reason=reason):
                log.info("The coordinator said goodbye: %s.", reason)
            case messages.Challenge() | messages.Welcome() | messages.Refused():
                log.warning("A %s in the middle of a conversation.", type(message).__name__)
            case _:
                self._serve_lease(message)

    def _serve_lease(self, message: LeaseMessage) -> None:
        """Do what the coordinator says about work."""
        match message:
            case messages.Assign():
                held = None if message.epoch < self._epoch else self._errands.take(message)
                if held is not None:
                    self.spawn(self._errands.run(held))
            case messages.Committed(lease=lease, indexes=indexes):
                self._leases.acknowledge(lease, indexes)
            case messages.Cancel(lease=lease, indexes=indexes, grace_s=grace_s):
                self.spawn(self._errands.cancel(lease, indexes, grace_s=grace_s))
            case messages.EndRun(run=run):
                self.spawn(self._errands.end_run(run))
            case messages.Drain():
                self._errands.drain()
            case _:
                assert_never(message)

    async def _stage(self, plan_sha256: str, partition: int) -> None:
        """Stage a partition and say so; the runner meanwhile imports what its layers need."""
        await self._runner.preload(await self._staging.modules(plan_sha256))
        part = await self._staging.bring(plan_sha256, partition)
        staged = partial(messages.Staged, plan_sha256=plan_sha256, partition=partition)
        if isinstance(part, Failure):
            self._link.send(staged(failure=part))
            return
        self._link.send(staged(bytes=part.bytes, seconds=part.seconds, empty=part.empty))
        self._show()

    def _runner_changed(self, ready: bool, message: str) -> None:  # noqa: FBT001  # RunnerLink's callback
        """The runner is warm, or gone."""
        state = messages.RunnerState(ready=ready, python=self._runner.python, message=message)
        self._link.send(state)
        if ready:
            self._signs.started()
        self._show()

    def _show(self) -> None:
        """Show whether this node may work."""
        is_staged = self._own_parts <= {("", 0), *self._staging.ready()}
        self._signs.ready(ready=self._link.connected and self._runner.ready and is_staged)

    async def _keep_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_EVERY_S)
            await self.store_running_logs()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin work at once; its failure ends the process: the next one starts clean."""
        try:
            task = eager.start(work)
        except Exception as error:  # noqa: BLE001  # raised by `serve`
            self._fail(error)
            return
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._judge)

    def _judge(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)


async def serve(settings: AgentSettings) -> int:
    """Serve as one node of this machine until SIGTERM; returns the exit code."""
    store = DirectoryStore(Path(settings.store), fsync=settings.fsync)
    return await attend(Node(settings, store, make_runner(settings)))


def make_runner(settings: AgentSettings) -> RunnerLink:
    """Return the agent's end of the node's runner, with the folders that it needs."""
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    settings.runner_socket.parent.mkdir(parents=True, exist_ok=True)
    return RunnerLink(
        settings.runner_socket,
        settings.scratch_dir,
        memory_bytes=settings.memory_bytes,
        runner_uid=settings.runner_uid,
    )


async def attend(node: Node) -> int:
    """Let a node serve until SIGTERM; returns the exit code."""
    try:
        if await until_told(node.serve()):
            log.info("The node closes.")
    finally:
        await node.close()
    return 0


def main(settings: AgentSettings) -> None:
    """Run one node's agent in this process: after `exec`, or in a fork of a warmed process."""
    os.umask(UMASK)
    run_process(serve(settings))
