"""What is counted while a coordinator works; without anybody who reads it, nothing is."""

from __future__ import annotations

from typing import Protocol

from geopod.dispatch import events


class Meter(Protocol):
    """Who counts: metrics of a pod, or nobody."""

    def happened(self, event: events.Event) -> None:
        """The machine is about to take an event."""

    def sent(self, payload_bytes: int) -> None:
        """A function went to a node."""


class NoMeter:
    """Counts nothing. A Meter."""

    def happened(self, event: events.Event) -> None:
        """Count nothing."""

    def sent(self, payload_bytes: int) -> None:
        """Count nothing."""
