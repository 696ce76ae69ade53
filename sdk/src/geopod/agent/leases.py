"""What the agent owes the coordinator: tasks it was given, and reports not acknowledged yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from geopod.api.messages import Assign, Done, Failed, HeldLease


@dataclass(slots=True)
class Held:
    """One lease from its ASSIGN to the COMMITTED of its last task."""

    assign: Assign
    waiting: dict[int, int]
    """Attempt by index of the tasks without a report."""
    reported: dict[int, Done | Failed] = field(default_factory=dict)
    """By index, the report that carries the task; several tasks share one."""
    begun: bool = False
    """Its tasks were handed to the runner."""
    cancelled: set[int] = field(default_factory=set)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to report or to be acknowledged."""
        return not self.waiting and not self.reported


class Leases:
    """All leases of one agent, in the order in which they came."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, assign: Assign) -> Held | None:
        """Take a lease; None: we hold it already."""
        if assign.lease in self._held:
            return None
        held = self._held[assign.lease] = Held(assign, dict(assign.tasks))
        return held

    def get(self, lease: str) -> Held | None:
        """Return a lease that is still held."""
        return self._held.get(lease)

    def report(self, held: Held, message: Done | Failed) -> None:
        """Note that tasks were reported; the message is kept until it is acknowledged."""
        records = message.records if isinstance(message, Done) else [message.record]
        for record in records:
            held.waiting.pop(record.index, None)
            held.reported[record.index] = message

    def acknowledge(self, lease: str, indexes: Iterable[int]) -> None:
        """Forget reports that the coordinator has committed or does not want."""
        held = self._held.get(lease)
        if held is None:
            return
        for index in indexes:
            held.reported.pop(index, None)
        if held.is_settled:
            del self._held[lease]

    def hand_back(self, held: Held) -> list[int]:
        """Give up the tasks without a report; returns their indexes."""
        indexes = list(held.waiting)
        held.waiting.clear()
        if held.is_settled:
            del self._held[held.assign.lease]
        return indexes

    def describe(self) -> list[HeldLease]:
        """Return what HELLO says: tasks without a report, or without acknowledgement."""
        return [
            HeldLease(
                lease=held.assign.lease,
                run=held.assign.run,
                epoch=held.assign.epoch,
                plan_sha256=held.assign.plan_sha256,
                tasks=[task for task in held.assign.tasks if _is_owed(held, task[0])],
            )
            for held in self._held.values()
        ]

    def unacknowledged(self) -> list[Done | Failed]:
        """Return the reports to be sent again after a new connection, each once."""
        reports: dict[int, Done | Failed] = {}
        for held in self._held.values():
            reports.update({id(message): message for message in held.reported.values()})
        return list(reports.values())

    def all(self) -> list[Held]:
        """Return all leases."""
        return list(self._held.values())


def _is_owed(held: Held, index: int) -> bool:
    return index in held.waiting or index in held.reported
