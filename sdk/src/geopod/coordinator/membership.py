"""Who the nodes are and what they say: agents' messages in, events for the machine out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol, assert_never

from geopod.api import messages
from geopod.api.messages import FromAgent, FromCoordinator
from geopod.coordinator.members import Member
from geopod.coordinator.nodes import NodeLink
from geopod.dispatch import events


class Machine(Protocol):
    """Who takes the events: the coordinator, or a double in tests."""

    def apply(self, event: events.Event) -> None:
        """Take one event."""

    def send(self, node: int, message: FromCoordinator) -> bool:
        """Send a message to a node, if it is connected."""

    def nodes_changed(self) -> None:
        """A node came, went, or got further."""


class Membership:
    """All nodes of one environment: the server's NodeListener."""

    def __init__(
        self,
        machine: Machine,
        *,
        environment_uid: str,
        epoch: int,
        python: str,
        redial_grace_s: float,
    ) -> None:
        self.members: dict[int, Member] = {}
        self._machine = machine
        self._environment_uid = environment_uid
        self._epoch = epoch
        self._python = python
        self._redial_grace_s = redial_grace_s
        self._plan_sha256: str | None = None
        self._expected: frozenset[int] = frozenset()
        self._overdue_at = 0.0

    @property
    def known(self) -> frozenset[int]:
        """Nodes that were there and did not say goodbye: those not there any more are lost."""
        overdue = asyncio.get_running_loop().time() >= self._overdue_at
        here = (index for index, member in self.members.items() if not member.has_left)
        left = (index for index, member in self.members.items() if member.has_left)
        return frozenset(here) | (self._expected.difference(left) if overdue else frozenset())

    def expect(self, indexes: Iterable[int]) -> None:
        """Count on nodes that served an earlier coordinator: soon, those not there are lost."""
        self._expected = frozenset(indexes)
        self._overdue_at = asyncio.get_running_loop().time() + self._redial_grace_s

    def stage(self, plan_sha256: str | None) -> None:
        """Have every node stage its partition of a plan; None: no node may work for now."""
        self._plan_sha256 = plan_sha256
        for member in list(self.members.values()):
            member.failure = None
            if plan_sha256 and not member.has_staged(plan_sha256):
                stage = messages.Stage(plan_sha256=plan_sha256, partition=member.index)
                self._machine.send(member.index, stage)
            self._review(member)

    def drain_from(self, nodes: int) -> None:
        """Have the nodes from this index on take no more work."""
        self.drain([index for index in self.members if index >= nodes])

    def drain(self, indexes: Iterable[int]) -> None:
        """Have these nodes take no more work."""
        for node in indexes:
            self._machine.send(node, messages.Drain())
            self._machine.apply(events.NodeDrained(node))

    # ---- NodeListener

    def joined(self, link: NodeLink) -> None:
        """A member has dialled: welcome it, then let the machine know what it holds."""
        old = self.members.get(link.index)
        if old is not None and old.grace is not None:
            old.grace.cancel()
        member = self.members[link.index] = Member.from_link(link, python=self._python)
        link.send(
            messages.Welcome(
                epoch=self._epoch,
                environment_uid=self._environment_uid,
                plan_sha256=self._plan_sha256 or "",
                partitions=[link.index] if self._plan_sha256 else [],
            )
        )
        hello = link.hello
        joined = events.NodeJoined(
            hello.index,
            hello.instance,
            slots=hello.slots,
            python=member.python,
            leases=tuple(hello.leases),
        )
        self._machine.apply(joined)
        self._machine.nodes_changed()

    def received(self, link: NodeLink, message: FromAgent) -> None:
        """A member has said something: about a lease, or about itself."""
        node, member = link.index, self.members[link.index]
        match message:
            case messages.Done(lease=lease, epoch=epoch, records=records):
                self._machine.apply(events.TasksDone(node, lease, epoch, records))
            case messages.Failed(lease=lease, epoch=epoch, record=record):
                self._machine.apply(events.TaskFailed(node, lease, epoch, record))
            case messages.Started(lease=lease, epoch=epoch):
                self._machine.apply(events.TaskStarted(node, lease, epoch))
            case messages.Progress(lease=lease, epoch=epoch, index=index):
                words = (message.fraction, message.text)
                self._machine.apply(events.TaskProgressed(node, lease, epoch, index, *words))
            case messages.HandedBack(lease=lease, epoch=epoch, indexes=indexes, reason=reason):
                self._machine.apply(events.HandedBack(node, lease, epoch, indexes, reason))
            case messages.Staged():
                member.note_staged(message)
                self._review(member)
            case messages.RunnerState():
                member.note_runner(message)
                self._review(member)
            case messages.Bye(reason=reason):
                member.has_left = True
                self._lose(member, reason or "it said goodbye")
            case messages.Hello() | messages.Pong():
                pass  # HELLO was answered by the server; any message shows that the node lives
            case _:
                assert_never(message)

    def suspected(self, link: NodeLink) -> None:
        """A member is silent, or speaks again."""
        member = self.members[link.index]
        member.suspect = link.suspect
        self._review(member)

    def parted(self, link: NodeLink) -> None:
        """A member's connection is closed: it has a moment to dial again."""
        member = self.members[link.index]
        if not member.connected:
            return
        member.connected = False
        self._review(member)
        reason = "its connection closed and it did not dial again"
        loop = asyncio.get_running_loop()
        member.grace = loop.call_later(self._redial_grace_s, self._lose, member, reason)

    def _lose(self, member: Member, reason: str) -> None:
        """A node is gone for good: its leases are revoked."""
        if member.grace is not None:
            member.grace.cancel()
        member.connected = member.ready = False
        self._machine.apply(events.NodeLost(member.index, reason))
        self._machine.nodes_changed()

    def _review(self, member: Member) -> None:
        """Let the machine know whether a node may work, if that has changed."""
        may_work = self._plan_sha256 is not None and member.may_work(self._plan_sha256)
        if may_work != member.ready:
            member.ready = may_work
            event = events.NodeReady if may_work else events.NodeUnready
            self._machine.apply(event(member.index))
        self._machine.nodes_changed()
