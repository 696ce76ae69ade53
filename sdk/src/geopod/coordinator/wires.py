"""What carries messages between coordinator and agents: frames on this machine's Unix socket.

The WebSocket of a pod's port is in `coordinator.websocket`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from geopod.api.messages import MAX_MESSAGE_BYTES
from geopod.coordinator.sockets import listen_unix
from geopod.process.frames import FrameServer

HELLO_WITHIN_S = 10.0
"""Who has not said by then who it is, is sent away."""


class Wire(Protocol):
    """One connection, whatever carries it."""

    @property
    def unsent(self) -> int:
        """Bytes that wait because the other side does not read."""

    def send(self, message: bytes) -> None:
        """Send a message after all earlier ones; returns at once. A closed wire sends nothing."""

    def close(self) -> None:
        """Hang up once everything is sent; returns at once."""


class WireListener(Protocol):
    """Who is told what comes over a wire."""

    def opened(self, wire: Wire) -> None:
        """The connection is there."""

    def heard(self, message: bytes) -> None:
        """One message has come; ValueError: it is none, and the wire is closed."""

    def closed(self) -> None:
        """The connection is gone."""


class WireServer(Protocol):
    """Accepts connections."""

    @property
    def address(self) -> str:
        """Where it listens, for people."""

    async def close(self) -> None:
        """Stop listening; returns when what was sent is on its way."""


class SocketServer:
    """Accepts agents on a Unix socket of this user."""

    def __init__(self, path: Path, visit: Callable[[], WireListener]) -> None:
        """Listen; `visit` makes the listener of each connection."""
        self.address = f"unix:{path}"
        self._server = FrameServer(listen_unix(path), visit, limit=MAX_MESSAGE_BYTES)

    async def close(self) -> None:
        """Stop listening; what was sent is in the sockets already, or nobody reads it."""
        self._server.close()
        await asyncio.sleep(0)  # the ends of connections are told in the loop's next round
