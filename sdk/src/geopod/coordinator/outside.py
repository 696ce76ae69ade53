"""Who orders runs and hears of them: a Unix socket on one machine, resources on a cluster.

The coordinator is the same in both places; an `Outside` brings orders in and states out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from geopod.api.control import EnvironmentUpdate, RunUpdate

if TYPE_CHECKING:
    from geopod.coordinator.recovery import UnfinishedRun
    from geopod.coordinator.service import Coordinator
    from geopod.coordinator.settings import CoordinatorSettings


class Watcher(Protocol):
    """Who is told how a run or the environment is: a client, or the writer of a status."""

    def send(self, message: RunUpdate | EnvironmentUpdate) -> None:
        """Tell it; returns at once."""


class Desk(Protocol):
    """What the coordinator's process offers to the outside."""

    @property
    def coordinator(self) -> Coordinator:
        """The coordinator: its runs, its nodes, its state."""

    def configure(self, settings: CoordinatorSettings, *, anew: bool) -> None:
        """Serve these settings from now on and plan for them; `anew`: read the headers again."""


class Outside(Protocol):
    """Where orders come from, and where states go."""

    async def take_epoch(self) -> int:
        """Return an epoch higher than any coordinator before had."""

    async def unfinished(self, desk: Desk) -> list[UnfinishedRun]:
        """Meet the coordinator; return the runs that an earlier one has begun and not ended."""

    async def open(self) -> None:
        """Begin to take orders and to tell states; returns when both go on."""

    async def close(self) -> None:
        """Take no more orders; returns when what waits to be told is told."""
