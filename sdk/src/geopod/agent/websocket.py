"""The WebSocket that a pod's agent dials: subprotocol `geopod.v1`, no compression.

A client of its own: a library for it costs a node a third of its start, and 10 MB.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, Protocol, cast
from urllib.parse import SplitResult, urlsplit

from typing_extensions import override

from geopod.agent.websocket_frames import (
    HEAD_END,
    MAX_HEAD_BYTES,
    FrameReader,
    Handshake,
    Opcode,
    frame,
)
from geopod.api.messages import MAX_MESSAGE_BYTES

SUBPROTOCOL = "geopod.v1"
PORTS = {"ws": 80, "wss": 443}
DIAL_WITHIN_S = 3.0
"""A Service may send the first packets to a pod that is gone: another try reaches the next one.
The kernel alone tries the same address for 30 s and more."""
ANSWER_WITHIN_S = 10.0
"""Of the whole handshake."""
LINGER_S = 1.0
"""How long the other side may take to answer our close frame."""
NORMAL_CLOSURE = (1000).to_bytes(2, "big")


class WireListener(Protocol):
    """Who is told what comes over the WebSocket."""

    def opened(self, wire: WebSocketWire) -> None:
        """The connection is there."""

    def heard(self, message: bytes) -> None:
        """One message has come; ValueError: it is none, and the connection is closed."""

    def closed(self) -> None:
        """The connection is gone."""


class WebSocketWire(asyncio.Protocol):
    """The WebSocket to the coordinator. A Wire; what comes is told in the turn that reads it."""

    def __init__(self, handshake: Handshake, listener: WireListener) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        """The server has taken us; raises what it said instead."""
        self.ended: asyncio.Future[None] = loop.create_future()
        """The open connection is gone; raises what went wrong with it on this side."""
        self._handshake = handshake
        self._is_open = False
        self._head = b""
        self._reader = FrameReader(MAX_MESSAGE_BYTES)
        self._listener = listener
        self._is_closing = False
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._transport: asyncio.Transport | None = None

    # ---- Wire

    def send(self, message: bytes) -> None:
        """Send a message after all earlier ones; a closed wire sends nothing."""
        self._write(frame(Opcode.BINARY, message))

    def close(self) -> None:
        """Hang up once everything is sent and the other side has read it, or a second later."""
        if self._transport is None or self._is_closing:
            return
        if not self._is_open:
            self._transport.abort()
        self._write(frame(Opcode.CLOSE, NORMAL_CLOSURE))
        self._is_closing = True
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    async def flush(self) -> None:
        """Return when everything that was sent is on its way, or the connection is gone."""
        await self._emptied.wait()

    # ---- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of a stream, says asyncio
        self._transport.set_write_buffer_limits(high=0)  # tell of every byte that waits
        self._write(self._handshake.request)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            if not self._is_open:
                data = self._shake_hands(data)
            for opcode, payload in self._reader.feed(data):
                self._hear(opcode, payload)
        except Exception as error:  # noqa: BLE001  # `converse` raises it
            self._give_up(error)

    @override
    def pause_writing(self) -> None:
        self._emptied.clear()

    @override
    def resume_writing(self) -> None:
        self._emptied.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        self._emptied.set()
        if self._is_open:
            self._listener.closed()
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the other side hung up"))
        if not self.ended.done():
            self.ended.set_result(None)

    def _shake_hands(self, data: bytes) -> bytes:
        """Take the server's answer and return what came behind it; raises ValueError."""
        self._head += data
        head, end, rest = self._head.partition(HEAD_END)
        if len(head) > MAX_HEAD_BYTES:
            raise ValueError("The answer has no end.")
        if not end:
            return b""
        self._handshake.check(head)
        self._is_open = True
        self._listener.opened(self)
        if not self.opened.done():
            self.opened.set_result(None)
        return rest

    def _hear(self, opcode: Opcode, payload: bytes) -> None:
        match opcode:
            case Opcode.BINARY if not self._is_closing:
                self._listener.heard(payload)
            case Opcode.PING:
                self._write(frame(Opcode.PONG, payload))
            case Opcode.CLOSE if self._transport is not None:
                self.close()  # the answer, unless this is one
                self._transport.close()
            case Opcode.TEXT:
                raise ValueError("A text where messages are bytes.")
            case _:
                pass

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._is_closing:
            self._transport.write(data)

    def _give_up(self, error: Exception) -> None:
        """Let whoever waits for this connection hear what went wrong, and hang up."""
        waited = self.ended if self._is_open else self.opened
        if not waited.done():
            waited.set_exception(error)
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()


async def converse(url: str, listener: WireListener) -> None:
    """Dial once and hand over what comes until the connection ends.

    Raises OSError, TimeoutError, or ValueError where nobody answers as a coordinator does.
    """
    parts = urlsplit(url)
    handshake = Handshake(host=parts.netloc, path=parts.path or "/", protocol=SUBPROTOCOL)
    wire = WebSocketWire(handshake, listener)
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await _connect(parts, wire)
            await wire.opened
        await wire.ended
    finally:
        wire.close()


async def _connect(url: SplitResult, wire: WebSocketWire) -> None:
    """Connect to the first address that takes us; raises the OSError of the last one."""
    loop, name = asyncio.get_running_loop(), url.hostname or ""
    secured: dict[str, Any] = {}
    if url.scheme == "wss":
        secured = {"ssl": ssl.create_default_context(), "server_hostname": name}
    found = await loop.getaddrinfo(name, url.port or PORTS[url.scheme], type=socket.SOCK_STREAM)
    refusal: OSError = ConnectionError(f"{name} has no address")
    for *_, address in found:
        try:
            async with asyncio.timeout(DIAL_WITHIN_S):
                host, port = str(address[0]), int(address[1])
                await loop.create_connection(lambda: wire, host, port, **secured)
        except OSError as error:
            refusal = error
        else:
            return
    raise refusal
