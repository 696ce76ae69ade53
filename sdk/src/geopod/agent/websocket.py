"""The WebSocket that a pod's agent dials: subprotocol `geopod.v1`, no compression.

`websockets` knows the protocol, without I/O; what it says is written, and what comes is told, in
the same turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Protocol, cast

from typing_extensions import override
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from geopod.api.messages import MAX_MESSAGE_BYTES

SUBPROTOCOL = Subprotocol("geopod.v1")
DIAL_WITHIN_S = 3.0
"""A Service may send the first packets to a pod that is gone: another try reaches the next one.
The kernel alone tries the same address for 30 s and more."""
ANSWER_WITHIN_S = 10.0
"""Of the whole handshake."""
LINGER_S = 1.0
"""How long the other side may take to answer our close frame."""


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

    def __init__(self, url: WebSocketURI, listener: WireListener) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        """The server has taken us; raises what it said instead."""
        self.ended: asyncio.Future[None] = loop.create_future()
        """The open connection is gone; raises what went wrong with it on this side."""
        self._protocol = ClientProtocol(url, subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE_BYTES)
        self._parts: list[bytes] = []
        """Of a message whose last frame is still to come."""
        self._listener = listener
        self._is_open = False
        self._is_closing = False
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._transport: asyncio.Transport | None = None

    # ---- Wire

    def send(self, message: bytes) -> None:
        """Send a message after all earlier ones; a closed wire sends nothing."""
        if self._protocol.state is State.OPEN and not self._is_closing:
            self._protocol.send_binary(message)
            self._write()

    def close(self) -> None:
        """Hang up once everything is sent and the other side has read it, or a second later."""
        if self._transport is None or self._is_closing:
            return
        self._is_closing = True
        if self._protocol.state is not State.OPEN:
            self._transport.abort()
            return
        self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        self._write()
        self._abort_later(self._transport)

    async def flush(self) -> None:
        """Return when everything that was sent is on its way, or the connection is gone."""
        await self._emptied.wait()

    # ---- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of a stream, says asyncio
        self._transport.set_write_buffer_limits(high=0)  # tell of every byte that waits
        self._protocol.send_request(self._protocol.connect())
        self._write()

    @override
    def data_received(self, data: bytes) -> None:
        try:
            self._protocol.receive_data(data)
            self._write()  # answers to pings and goodbyes
            for event in self._protocol.events_received():
                self._take(event)
            refusal = self._protocol.handshake_exc or self._protocol.parser_exc
            if refusal is not None:
                raise refusal  # noqa: TRY301  # both sources of trouble end in one place
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

    def _take(self, event: object) -> None:
        """Take the server's answer, or a frame; raises ValueError where it is none of ours."""
        if isinstance(event, Response):
            if self._protocol.handshake_exc is None:
                self._enter()
        elif isinstance(event, Frame):
            self._hear(event)

    def _enter(self) -> None:
        if self._protocol.subprotocol != SUBPROTOCOL:
            raise ValueError(f"The other side does not speak {SUBPROTOCOL}.")
        self._is_open = True
        self._listener.opened(self)
        if not self.opened.done():
            self.opened.set_result(None)

    def _hear(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.BINARY | Opcode.CONT:
                self._parts.append(bytes(frame.data))
                if not frame.fin:
                    return
                message, self._parts = b"".join(self._parts), []
                if not self._is_closing:
                    self._listener.heard(message)
            case Opcode.TEXT:
                raise ValueError("A text where messages are bytes.")
            case Opcode.CLOSE if self._transport is not None:
                self._is_closing = True
                self._transport.close()  # once the answer is written, or a second later
                self._abort_later(self._transport)
            case _:
                pass

    def _write(self) -> None:
        """Write what the protocol says; where it says no more, hang up."""
        if self._transport is None:
            return
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()

    def _abort_later(self, transport: asyncio.Transport) -> None:
        """Do not wait for ever for somebody who reads no more."""
        asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

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
    try:
        await _converse(parse_uri(url), listener)
    except WebSocketException as error:
        raise ValueError(str(error)) from error


async def _converse(url: WebSocketURI, listener: WireListener) -> None:
    async with asyncio.timeout(ANSWER_WITHIN_S) as patience:
        with contextlib.closing(await _connect(url, listener)) as wire:
            patience.reschedule(None)
            await wire.ended


async def _connect(url: WebSocketURI, listener: WireListener) -> WebSocketWire:
    """Return the wire to the first address that takes us; raises the OSError of the last one."""
    secured: dict[str, Any] = {}
    if url.secure:
        secured = {"ssl": ssl.create_default_context(), "server_hostname": url.host}
    found = await asyncio.get_running_loop().getaddrinfo(
        url.host, url.port, type=socket.SOCK_STREAM
    )
    refusal: OSError = ConnectionError(f"{url.host} has no address")
    for *_, address in found:
        wire = WebSocketWire(url, listener)  # each knows one handshake
        try:
            await _dial(wire, address, secured)
        except OSError as error:
            refusal = error
        else:
            return wire
    raise refusal


async def _dial(wire: WebSocketWire, address: tuple[Any, ...], secured: dict[str, Any]) -> None:
    """Open a wire to an address, and hang up where that fails."""
    host, port = str(address[0]), int(address[1])
    try:
        async with asyncio.timeout(DIAL_WITHIN_S):
            await asyncio.get_running_loop().create_connection(lambda: wire, host, port, **secured)
        await wire.opened
    except BaseException:
        wire.close()
        raise
