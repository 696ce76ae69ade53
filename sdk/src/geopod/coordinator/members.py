"""What the coordinator knows of each node beyond its leases: staged parts, a warm runner."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from geopod.api.messages import RunnerState, Staged
from geopod.api.results import Failure
from geopod.coordinator.nodes import NodeLink


@dataclass(slots=True)
class Member:
    """One node index: the agent that serves it and how far it has got."""

    index: int
    instance: str
    python: str = ""
    template_hash: str = ""
    """Of the pod template that it was made from; empty: it is no pod."""
    connected: bool = True
    has_left: bool = False
    """It said goodbye: whoever comes in its place starts."""
    suspect: bool = False
    runner_ready: bool = False
    runner_message: str = ""
    staged: set[tuple[str, int]] = field(default_factory=set)
    """(plan sha256, partition) on its scratch."""
    empty: set[tuple[str, int]] = field(default_factory=set)
    failure: Failure | None = None
    """Why it could not stage its partition."""
    functions: set[str] = field(default_factory=set)
    """Runs whose function it was sent."""
    ready: bool = False
    """What dispatch was last told."""
    grace: asyncio.TimerHandle | None = None
    """Runs while the node may still dial again."""

    @classmethod
    def from_link(cls, link: NodeLink, *, python: str) -> Member:
        """Return the member that has just dialled."""
        hello = link.hello
        return cls(
            index=hello.index,
            instance=hello.instance,
            python=hello.python or python,
            template_hash=hello.template_hash,
            staged=set(hello.staged),
        )

    def has_staged(self, plan_sha256: str) -> bool:
        """Whether the node's own partition of this plan is on its scratch."""
        return not plan_sha256 or (plan_sha256, self.index) in self.staged

    def may_work(self, plan_sha256: str) -> bool:
        """Whether dispatch may give it work: there, warm, staged."""
        return (
            self.connected
            and not self.suspect
            and self.runner_ready
            and self.has_staged(plan_sha256)
        )

    def note_staged(self, message: Staged) -> None:
        """Take what the node says of a partition."""
        part = (message.plan_sha256, message.partition)
        self.failure = message.failure
        if message.failure is None:
            self.staged.add(part)
        if message.empty:
            self.empty.add(part)

    def note_runner(self, message: RunnerState) -> None:
        """Take what the node says of its runner."""
        self.runner_ready = message.ready
        self.runner_message = message.message
        self.python = message.python or self.python
