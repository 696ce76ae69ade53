"""Unix socket for local clients: submit and cancel runs, watch runs and the environment.

Wire format: `geopod.api.control`, in frames. It decides nothing: every request goes to its
`ClientListener`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from pathlib import Path
from typing import Protocol

from geopod.api.control import FromClient, ToClient, decode_from_client
from geopod.api.messages import MAX_MESSAGE_BYTES, Bye, encode
from geopod.coordinator.sockets import listen_unix
from geopod.process import eager
from geopod.process.frames import FrameServer, FrameWire

UNREAD_BYTES = 16 << 20
"""A client that leaves this much unread is cut off; it may connect and ask again."""

log = logging.getLogger(__name__)


class ClientListener(Protocol):
    """Who serves the clients: the coordinator, or a double in tests."""

    async def requested(self, client: Client, message: FromClient) -> None:
        """A client asks for something; its next request waits until this returns."""

    def left(self, client: Client) -> None:
        """A client is gone: it watches nothing any more."""


class Client:
    """One connected client. A FrameListener."""

    def __init__(self, server: ControlServer, listener: ClientListener) -> None:
        self._server = server
        self._listener = listener
        self._wire: FrameWire
        self._requests: deque[FromClient] = deque()
        self._is_serving = False

    def send(self, message: ToClient) -> None:
        """Send a message; returns at once. A client that is gone gets nothing."""
        self._wire.send(encode(message))
        if self._wire.unsent > UNREAD_BYTES:
            log.warning("A client left %d bytes unread and is cut off.", UNREAD_BYTES)
            self._wire.abort()

    def close(self) -> None:
        """Say goodbye and close the connection once everything is sent."""
        self.send(Bye(reason="the coordinator ends"))
        self._wire.close()

    def opened(self, wire: FrameWire) -> None:
        """The client is there."""
        self._wire = wire
        self._server.clients.add(self)

    def heard(self, message: bytes) -> None:
        """Serve one request after the other. Raises `msgspec.DecodeError`."""
        request = decode_from_client(message)
        if isinstance(request, Bye):
            self._wire.close()
            return
        self._requests.append(request)
        if not self._is_serving:
            self._is_serving = True
            self._server.spawn(self)

    def closed(self) -> None:
        """The client is gone."""
        self._server.clients.discard(self)
        self._listener.left(self)

    async def serve(self) -> None:
        """Serve what was asked for, in that order."""
        try:
            while self._requests and self._wire.is_open:
                await self._listener.requested(self, self._requests.popleft())
        except Exception:
            # A full disk, say: whoever waits for an answer asks again over another connection.
            log.exception("A request of a client failed; its connection is closed.")
            self._wire.abort()
        finally:
            self._is_serving = False


class ControlServer:
    """Accepts clients of this machine and this user."""

    def __init__(self, listener: ClientListener) -> None:
        self.clients: set[Client] = set()
        self._listener = listener
        self._server: FrameServer | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def start(self, path: str) -> None:
        """Listen at `path`."""
        self._server = FrameServer(listen_unix(Path(path)), self._welcome, limit=MAX_MESSAGE_BYTES)

    def close(self) -> None:
        """Say goodbye to every client and stop listening."""
        for client in list(self.clients):
            client.close()
        if self._server is not None:
            self._server.close()

    def spawn(self, client: Client) -> None:
        """Serve a client; most requests are served before this returns."""
        task = eager.start(client.serve())
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    def _welcome(self) -> Client:
        return Client(self, self._listener)
