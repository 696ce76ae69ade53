"""The WebSocket that agents of other pods dial: path /v1, subprotocol `geopod.v1`."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable

from aiohttp import WSMsgType, web

from geopod.api.messages import MAX_MESSAGE_BYTES
from geopod.coordinator.sockets import BACKLOG
from geopod.coordinator.wires import WireListener, WireServer

PATH = "/v1"
SUBPROTOCOL = "geopod.v1"
GOODBYE_WITHIN_S = 1.0
"""How long the end of the process waits for an agent to answer its close frame."""

log = logging.getLogger(__name__)


class WebSocketWire:
    """One agent's WebSocket. A Wire."""

    def __init__(self, socket: web.WebSocketResponse, request: web.BaseRequest) -> None:
        self.unsent = 0
        """Bytes that wait because the agent does not read."""
        self._socket = socket
        self._request = request
        self._outbox: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False

    def send(self, message: bytes) -> None:
        """Send a message after all earlier ones; returns at once."""
        if not self._is_closing:
            self._outbox.append(message)
            self.unsent += len(message)
            self._wake.set()

    def close(self) -> None:
        """Hang up once everything is sent, or soon if nobody reads it."""
        self._is_closing = True
        self._wake.set()
        asyncio.get_running_loop().call_later(2 * GOODBYE_WITHIN_S, self._cut)

    def _cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    async def deliver(self) -> None:
        """Send what `send` took, in order, until the wire is closed or breaks."""
        try:
            while self._outbox or not self._is_closing:
                await self._wake.wait()
                self._wake.clear()
                while self._outbox:
                    message = self._outbox.popleft()
                    await self._socket.send_bytes(message)
                    self.unsent -= len(message)
        except ConnectionError as error:
            log.info("An agent's connection broke: %s", str(error) or type(error).__name__)
        await self._socket.close()


class WebSocketServer:
    """Accepts agents on a TCP port."""

    def __init__(self, listening: socket.socket, visit: Callable[[], WireListener]) -> None:
        self.address = "port {1}".format(*listening.getsockname())
        self._listening = listening
        self._visit = visit
        self._runner: web.ServerRunner | None = None
        self._deliveries: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Serve those who dial, and those who have dialled already."""
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listening, backlog=BACKLOG).start()

    async def close(self) -> None:
        """Stop listening; returns when what was sent is on its way."""
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=2 * GOODBYE_WITHIN_S)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one connection from its first byte to its last."""
        if request.path != PATH:
            return web.Response(status=404, text=f"Agents dial {PATH}.")
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            timeout=GOODBYE_WITHIN_S,
        )
        await socket.prepare(request)
        wire, visit = WebSocketWire(socket, request), self._visit()
        delivery = asyncio.get_running_loop().create_task(wire.deliver())
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)
        visit.opened(wire)
        try:
            await _converse(socket, visit)
        except (ValueError, ConnectionError, TimeoutError) as error:
            log.warning("A connection of an agent ended: %s", str(error) or type(error).__name__)
        finally:
            visit.closed()
            wire.close()
            await delivery
        return socket


async def _converse(socket: web.WebSocketResponse, visit: WireListener) -> None:
    """Hand over what comes until the connection ends."""
    async for frame in socket:
        if frame.type is not WSMsgType.BINARY:
            return
        visit.heard(frame.data)


async def serve_websockets(
    listening: socket.socket, visit: Callable[[], WireListener]
) -> WireServer:
    """Serve a TCP port; `visit` makes the listener of each connection."""
    server = WebSocketServer(listening, visit)
    await server.start()
    return server
