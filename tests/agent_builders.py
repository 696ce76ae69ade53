"""Builders for tests of the agent: a node in this process, over a runner that plays a script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from coordinator_builders import LINK_KEY, UID
from geopod.agent.node import Node
from geopod.agent.settings import AgentSettings
from geopod.agent.verdict import cancelled
from geopod.agent.work import HandedOver, Outcome, TaskLog, Work
from geopod.coordinator.settings import CoordinatorSettings
from geopod.store.directory import DirectoryStore

Play = Callable[[Work, int], Awaitable[Outcome]]
"""What a task comes to: the work it is part of, and its position there."""


def agent_settings(
    coordinator: CoordinatorSettings, node: int = 0, **changes: Any
) -> AgentSettings:
    """Valid settings of a node of this coordinator's environment."""
    folder = Path(coordinator.store).parent
    fields = {
        "environment_uid": UID,
        "node": node,
        "link_key": LINK_KEY.hex(),
        "coordinator": f"unix:{coordinator.agent_socket}",
        "store": coordinator.store,
        "scratch": str(folder / "scratch"),
        "sockets": str(folder / "s"),
    }
    return AgentSettings(**{**fields, **changes})


def returned(data: bytes, kind: Any = "json", *, log: TaskLog | None = None) -> Play:
    """Every task returns these bytes."""

    async def play(work: Work, position: int) -> Outcome:
        index, attempt = work.tasks[position]
        value = HandedOver(kind=kind, data=data, size=len(data), meta={})
        return Outcome(index=index, attempt=attempt, value=value, log=log)

    return play


class ScriptedRunner:
    """A runner (`agent.runner_link.RunnerLink`) without processes."""

    def __init__(self, play: Play) -> None:
        self.ready = True
        self.python = "3.11"
        self.on_state: Callable[[bool, str], None] = lambda _ready, _message: None
        self.play = play
        self.works: list[Work] = []
        self.cancelled: list[tuple[str, list[int] | None]] = []
        self.ended: list[str] = []
        self.has_ended = asyncio.Event()
        self.modules: list[str] = []
        self.log: TaskLog | None = None
        self.began = asyncio.Event()
        self._running: dict[tuple[str, int], asyncio.Task[Outcome]] = {}

    async def start(self) -> None:
        self.on_state(True, "")  # noqa: FBT003  # RunnerLink's callback

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()

    async def preload(self, modules: list[str]) -> None:
        self.modules += modules

    async def run(self, work: Work, report: Any, progress: Any) -> None:
        del progress
        self.works.append(work)
        for position, (index, attempt) in enumerate(work.tasks):
            task = asyncio.ensure_future(self.play(work, position))
            self._running[work.run, index] = task
            self.began.set()
            try:
                outcome = await task
            except asyncio.CancelledError:
                if not any(run == work.run for run, _ in self.cancelled):
                    raise
                outcome = Outcome(index=index, attempt=attempt, failure=cancelled())
            finally:
                del self._running[work.run, index]
            await report([outcome])

    async def end_run(self, run: str) -> None:
        self.ended.append(run)
        self.has_ended.set()

    async def cancel(self, run: str, indexes: list[int] | None, *, grace_s: float = 30.0) -> None:
        del grace_s
        self.cancelled.append((run, indexes))
        for (other, index), task in list(self._running.items()):
            if other == run and (indexes is None or index in indexes):
                task.cancel()

    def current_log(self, run: str) -> TaskLog | None:
        del run
        return self.log


@contextlib.asynccontextmanager
async def a_node(
    settings: AgentSettings, runner: ScriptedRunner, *, store: DirectoryStore | None = None
) -> AsyncIterator[Node]:
    """A node that serves in this process until the block ends, as after SIGTERM."""
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    node = Node(settings, store or DirectoryStore(Path(settings.store)), runner)
    serving = asyncio.ensure_future(node.serve())
    try:
        yield node
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await node.close()
