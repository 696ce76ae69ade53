"""The WebSocket that a pod's agent dials: subprotocol `geopod.v1`, no compression."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import aiohttp

from geopod.api.messages import MAX_MESSAGE_BYTES

SUBPROTOCOL = "geopod.v1"
DIAL_WITHIN_S = 3.0
"""A Service may send the first packets to a pod that is gone: another try reaches the next one.
The kernel alone tries the same address for 30 s and more."""
ANSWER_WITHIN_S = 10.0
"""Of the whole handshake."""


class WireListener(Protocol):
    """Who is told what comes over the WebSocket."""

    def opened(self, wire: WebSocketWire) -> None:
        """The connection is there."""

    def heard(self, message: bytes) -> None:
        """One message has come; ValueError: it is none, and the connection is closed."""

    def closed(self) -> None:
        """The connection is gone."""


class WebSocketWire:
    """The WebSocket to the coordinator. A Wire."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._outbox: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()
        """Nothing waits to be sent, or nothing can be sent any more."""
        self._is_closing = False

    def send(self, message: bytes) -> None:
        """Send a message after all earlier ones; returns at once."""
        if not self._is_closing:
            self._outbox.append(message)
            self._sent.clear()
            self._wake.set()

    def close(self) -> None:
        """Hang up once everything is sent."""
        self._is_closing = True
        self._wake.set()

    async def flush(self) -> None:
        """Return when everything that was sent is on its way, or the connection is gone."""
        if self._outbox:
            await self._sent.wait()

    async def deliver(self) -> None:
        """Send what `send` took, in order, until the wire is closed or breaks."""
        try:
            while self._outbox or not self._is_closing:
                while self._outbox:
                    await self._socket.send_bytes(self._outbox[0])
                    self._outbox.popleft()
                self._sent.set()
                await self._wake.wait()
                self._wake.clear()
        except ConnectionError:
            pass  # the reader hears of it
        finally:
            self._outbox.clear()
            self._sent.set()
        await self._socket.close()


async def converse(url: str, listener: WireListener) -> None:
    """Dial once and hand over what comes until the connection ends; raises OSError."""
    patience = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S, sock_connect=DIAL_WITHIN_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=patience) as session,
            session.ws_connect(
                url, protocols=(SUBPROTOCOL,), max_msg_size=MAX_MESSAGE_BYTES
            ) as socket,
        ):
            await _listen(socket, listener)
    except aiohttp.ClientError as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


async def _listen(socket: aiohttp.ClientWebSocketResponse, listener: WireListener) -> None:
    wire = WebSocketWire(socket)
    delivery = asyncio.get_running_loop().create_task(wire.deliver())
    listener.opened(wire)
    try:
        async for frame in socket:
            if frame.type is not aiohttp.WSMsgType.BINARY:
                break
            listener.heard(frame.data)
    finally:
        wire.close()
        listener.closed()
        delivery.cancel()
