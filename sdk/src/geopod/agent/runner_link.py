"""The agent's end of the runner: keeps a standby child and one per run, trusts neither.

The child that waits gets function and tasks in one write; the next one is asked for when that
write has been answered, so that its fork never competes with the first answer.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from geopod.agent.ongoing import OngoingWork, Report, ReportProgress
from geopod.agent.runner_child import FOLDER_MODE, TAKEN, RunnerChild
from geopod.agent.runner_messages import ChildMade, Exited, Ready
from geopod.agent.template_link import TemplateLink
from geopod.agent.verdict import Limits
from geopod.agent.work import HandedOver, Outcome, TaskLog, Work

__all__ = ["HandedOver", "Outcome", "RunnerLink", "TaskLog", "Work"]

WATCH_AFTER_S = 0.005
"""Deadline and memory limit start to count this late; a shorter run never wakes the template."""
SPAWN_AFTER_S = 0.002
"""From a run's first answer to the fork of the next standby child."""
RESPAWN_AFTER_S = 0.2
"""After a standby child died: whatever kills it shall not cost a processor."""
HANG_UP_S = 1.0
"""A child that has not ended this long after its run is killed."""


class RunnerLink:
    """One node's runner: its warm template, a standby child, one child per run and partition."""

    def __init__(
        self,
        socket_path: Path,
        scratch: Path,
        *,
        memory_bytes: int | None = None,
        runner_uid: int | None = None,
    ) -> None:
        """`runner_uid`: the user that the runner runs as; None: the agent's own."""
        self.ready = False
        """The template is warm and connected."""
        self.python = ""
        """Minor version of the runner's interpreter, `3.12`; empty before the first READY."""
        self.on_state: Callable[[bool, str], None] = lambda _ready, _message: None
        """Called with (ready, message) when the runner comes and goes."""
        self._folder = scratch / "tasks"
        self._taken = scratch / TAKEN
        self._life = secrets.token_hex(4)
        """In the names of folders: what an earlier agent left may be another user's, and stay."""
        self._is_shared = runner_uid is not None
        self._memory_bytes = memory_bytes
        self._template = TemplateLink(socket_path, self, runner_uid=runner_uid)
        self._children: dict[int, RunnerChild] = {}
        self._by_run: dict[str, RunnerChild] = {}
        self._standby: RunnerChild | None = None
        self._is_spawning = False
        self._modules: list[str] = []
        self._works: dict[str, list[OngoingWork]] = {}
        self._timeouts: dict[int, Limits] = {}
        self._waiting: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        """Listen on the socket; the runner's template dials it. Returns at once."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(FOLDER_MODE)
        shutil.rmtree(self._taken, ignore_errors=True)
        self._taken.mkdir(mode=0o700)
        self._template.listen()

    async def close(self) -> None:
        """Stop listening and hang up: the template kills its children."""
        self.ready = self._is_spawning = False
        self._template.close()
        self._lose_children("its agent is closing")
        shutil.rmtree(self._folder, ignore_errors=True)

    async def preload(self, modules: Sequence[str]) -> None:
        """Have the template import these modules before it forks the next standby child."""
        added = [module for module in modules if module not in self._modules]
        if added:
            self._modules.extend(added)
            self._template.send({"t": "PRELOAD", "modules": added})

    async def run(self, work: Work, report: Report, progress: ReportProgress) -> None:
        """Run all tasks of `work`; `report` gets every task's outcome exactly once.

        Tasks of one run that see the same partition share a child, also over several calls (which
        may overlap: the later call's tasks follow the earlier one's). Another partition's wait for
        a child of their own. Waits for the runner to come back if it is gone.
        """
        ongoing = OngoingWork(work, progress)
        self._works.setdefault(work.run, []).append(ongoing)
        try:
            while ongoing.pending:
                child = await self._child_for(ongoing)
                if child is not None:
                    child.assign(ongoing)
                    self._watch_soon(child, work)
                await ongoing.deliver(report)
                self._spawn_soon()
            await ongoing.deliver(report)
        finally:
            self._forget(ongoing)

    async def end_run(self, run: str) -> None:
        """Let the run's child go; no more tasks of it will come."""
        self._part(run)

    async def cancel(self, run: str, indexes: list[int] | None, *, grace_s: float = 30.0) -> None:
        """Cancel tasks of a run (None: all): SIGTERM, `grace_s`, SIGKILL; each is reported.

        What finishes before the signal takes effect keeps its result.
        """
        child = self._by_run.get(run)
        for ongoing in self._works.get(run, []):
            ongoing.request_cancel(indexes)
            if child is None or child.staged != ongoing.work.staged:
                ongoing.settle_cancelled()
        if child is not None:
            child.is_cancelled = True
            self._template.send(
                {"t": "KILL", "id": child.number, "grace": grace_s, "indexes": indexes}
            )
        self._wake_waiting()

    def current_log(self, run: str) -> TaskLog | None:
        """Return what the run's child has printed since its last reported task."""
        child = self._by_run.get(run)
        return child.current_log() if child is not None else None

    # ---- what the template says

    def on_ready(self, ready: Ready) -> None:
        """Tell the template where to work; it forks the first standby child by itself."""
        self.python = ready.python
        self._is_spawning = True
        setup = {"t": "SETUP", "scratch": str(self._folder), "modules": self._modules}
        self._template.send(setup | ({"shared": True} if self._is_shared else {}))

    def on_child(self, made: ChildMade, descriptors: list[int]) -> None:
        """Take a standby child; one that waits already lacks later preloads and is let go."""
        self._is_spawning = False
        folder = self._folder / f"{self._life}-{made.id}-{made.pid}"
        try:
            child = RunnerChild(made.id, descriptors, folder, end=self._kill)
        except OSError as refused:
            self._say(f"the runner's child cannot be used: {refused}")
            return
        if self._standby is not None:
            self._standby.hang_up()
        self._children[made.id] = self._standby = child
        if not self.ready:
            self.ready = True
            self._say("")
        self._wake_waiting()

    def on_exited(self, exited: Exited) -> None:
        """Let the dead child's tasks go on elsewhere; only the running one is charged."""
        child = self._children.pop(exited.id, None)
        if child is None:
            return
        child.die(exited, self._timeouts.pop(exited.id, Limits(timeout_s=0.0)))
        self._drop(child)
        if child is self._standby:
            self._standby = None
            asyncio.get_running_loop().call_later(RESPAWN_AFTER_S, self._spawn)

    def on_gone(self, why: str) -> None:
        """The template is gone, its children with it; another one will dial."""
        self.ready = self._is_spawning = False
        self._lose_children(why)
        self._say(f"the runner is gone: {why}")

    def _say(self, message: str) -> None:
        self.on_state(self.ready, message)

    # ---- children

    async def _child_for(self, ongoing: OngoingWork) -> RunnerChild | None:
        """Return the child of the run and its partition, else the standby one as soon as there is.

        None: all tasks were cancelled meanwhile.
        """
        run = ongoing.work.run
        while ongoing.pending:
            known = self._by_run.get(run)
            if known is not None and known.staged == ongoing.work.staged:
                return known
            if known is not None and self._is_busy(known):
                await self._change()
                continue
            self._part(run)
            if self._standby is not None:
                child, self._standby = self._standby, None
                self._by_run[run] = child
                return child
            self._spawn()
            await self._change()
        return None

    async def _change(self) -> None:
        """Return when a child came, went or has nothing more to do."""
        change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        await change

    def _part(self, run: str) -> None:
        child = self._by_run.pop(run, None)
        if child is not None:
            child.hang_up()
            asyncio.get_running_loop().call_later(HANG_UP_S, self._kill, child)

    def _is_busy(self, child: RunnerChild) -> bool:
        """Say whether calls are going on that share a child of a run."""
        works = self._works.get(child.run or "", [])
        return any(ongoing.work.staged == child.staged for ongoing in works)

    def _wake_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    def _spawn(self) -> None:
        if self._standby is None and not self._is_spawning and self._template.is_connected:
            self._is_spawning = True
            self._template.send({"t": "SPAWN"})

    def _spawn_soon(self) -> None:
        if self._standby is None and not self._is_spawning:
            asyncio.get_running_loop().call_later(SPAWN_AFTER_S, self._spawn)

    def _watch_soon(self, child: RunnerChild, work: Work) -> None:
        limits = Limits(
            timeout_s=work.timeout_s,
            memory_bytes=self._memory_bytes,
            partition_bytes=work.partition_bytes,
        )
        if self._timeouts.get(child.number) != limits:
            self._timeouts[child.number] = limits
            asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._watch, child, limits)

    def _watch(self, child: RunnerChild, limits: Limits) -> None:
        if self._is_there(child):
            self._template.send(
                {
                    "t": "WATCH",
                    "id": child.number,
                    "timeout": limits.timeout_s,
                    "memory": limits.memory_bytes,
                }
            )

    def _kill(self, child: RunnerChild) -> None:
        if self._is_there(child):
            self._template.send({"t": "KILL", "id": child.number, "grace": 0, "indexes": None})

    def _is_there(self, child: RunnerChild) -> bool:
        """Say whether a child lives: the next template counts from 1 again, as the last one did."""
        return self._children.get(child.number) is child

    def _lose_children(self, why: str) -> None:
        children, self._children, self._standby = self._children, {}, None
        for child in children.values():
            child.die(None, Limits(timeout_s=0.0), why=why)
            self._drop(child)
        self._timeouts.clear()
        self._wake_waiting()

    def _drop(self, child: RunnerChild) -> None:
        if child.run is not None and self._by_run.get(child.run) is child:
            del self._by_run[child.run]
        child.discard()

    def _forget(self, ongoing: OngoingWork) -> None:
        run = ongoing.work.run
        works = self._works.get(run, [])
        works.remove(ongoing)
        if not works:
            del self._works[run]
        child = self._by_run.get(run)
        if child is None:
            return
        child.release(ongoing)
        if ongoing.pending and child.staged == ongoing.work.staged:
            self._kill(child)
        self._wake_waiting()
