"""What a node shows of itself to whoever keeps it: started, ready.

In a pod two files, on one machine nothing. The probes of a pod run `test -f`: no port, no request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Signs(Protocol):
    """Where a node shows how it is."""

    def started(self) -> None:
        """The runner's template is warm for the first time."""

    def ready(self, *, ready: bool) -> None:
        """Whether the node is welcome at the coordinator, has its partition, and may work."""


class NoSigns:
    """Shows nothing: nobody asks on one machine. A Signs."""

    def started(self) -> None:
        """Show nothing."""

    def ready(self, *, ready: bool) -> None:
        """Show nothing."""


class FileSigns:
    """Two files that are there or not. A Signs; a new one removes both first."""

    def __init__(self, started: Path, ready: Path) -> None:
        self._started = started
        self._ready = ready
        for path in (ready, started):
            path.unlink(missing_ok=True)

    def started(self) -> None:
        """Let the startup probe pass."""
        self._started.touch()

    def ready(self, *, ready: bool) -> None:
        """Let the readiness probe pass, or fail."""
        if ready:
            self._ready.touch()
        else:
            self._ready.unlink(missing_ok=True)
