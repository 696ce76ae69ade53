"""The agent's end of the WebSocket: dials until somebody answers, and dials again.

Wire format: `geopod.api.messages`. What the messages mean is the node's affair.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from typing import Protocol

import aiohttp
import msgspec

from geopod.api.messages import (
    HEARTBEAT_S,
    MAX_MESSAGE_BYTES,
    Challenge,
    FromAgent,
    FromCoordinator,
    Hello,
    Refused,
    Welcome,
    decode_from_coordinator,
    encode,
    hello_mac,
)

SUBPROTOCOL = "geopod.v1"
SHORTEST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
"""A thousand agents whose coordinator restarts dial again within about two seconds."""
ANSWER_WITHIN_S = 10.0
SILENCE_S = 6 * HEARTBEAT_S
"""The coordinator asks every HEARTBEAT_S; this long without a word, the connection is dead."""

log = logging.getLogger(__name__)


class LinkListener(Protocol):
    """Who speaks over the link: the node, or a double in tests."""

    def hello(self) -> Hello:
        """Return what to say of oneself; the link fills in the proof."""

    def welcomed(self, welcome: Welcome) -> bool:
        """The coordinator took us; False: it is an older one than we have seen, leave it."""

    def received(self, message: FromCoordinator) -> None:
        """The coordinator has said something."""

    def parted(self) -> None:
        """The connection to a coordinator that took us is gone."""


class CoordinatorLink:
    """The connection to the coordinator, whichever one answers at the moment."""

    def __init__(self, address: str, link_key: bytes, listener: LinkListener) -> None:
        self.connected = False
        self._address = address
        self._link_key = link_key
        self._listener = listener
        self._outbox: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()
        """Nothing waits to be sent."""
        self._heard = 0.0
        self._loop = asyncio.get_running_loop()

    def send(self, message: FromAgent) -> None:
        """Send a message; without a connection it is dropped: HELLO says what matters."""
        if self.connected:
            self._outbox.append(encode(message))
            self._sent.clear()
            self._wake.set()

    async def flush(self) -> None:
        """Return when everything that was sent is on its way, or the connection is gone."""
        if self.connected and self._outbox:
            await self._sent.wait()

    async def keep(self) -> None:
        """Stay connected until cancelled."""
        pause = SHORTEST_PAUSE_S
        while True:
            try:
                met = await self._connect()
            except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
                log.info("No coordinator at %s: %s", self._address, error or type(error).__name__)
                met = False
            pause = SHORTEST_PAUSE_S if met else min(2 * pause, LONGEST_PAUSE_S)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads the dials

    async def _connect(self) -> bool:
        """Dial once and converse until the connection ends; False: we were not taken."""
        connector, url = _route(self._address)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.ws_connect(
                url, protocols=(SUBPROTOCOL,), max_msg_size=MAX_MESSAGE_BYTES
            ) as socket,
        ):
            challenge = await _receive(socket)
            if not isinstance(challenge, Challenge):
                return False
            await socket.send_bytes(encode(self._prove(challenge.nonce)))
            answer = await _receive(socket)
            if isinstance(answer, Refused):
                log.warning("The coordinator refused us (%s): %s", answer.reason, answer.message)
            if not isinstance(answer, Welcome):
                return False
            return await self._converse(socket, answer)

    def _prove(self, nonce: bytes) -> Hello:
        """Return our HELLO with the proof that this challenge asks for."""
        hello = self._listener.hello()
        mac = hello_mac(self._link_key, nonce, hello.instance, hello.index)
        return msgspec.structs.replace(hello, mac=mac)

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse, welcome: Welcome) -> bool:
        """Carry messages both ways until the connection ends."""
        self._outbox.clear()
        self.connected = True
        tasks: list[asyncio.Task[None]] = []
        try:
            if not self._listener.welcomed(welcome):
                return False
            tasks += [
                self._loop.create_task(self._deliver(socket)),
                self._loop.create_task(self._notice_silence(socket)),
            ]
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.BINARY:
                    break
                self._heard = self._loop.time()
                self._listener.received(decode_from_coordinator(frame.data))
        finally:
            self.connected = False
            self._sent.set()
            for task in tasks:
                task.cancel()
            self._listener.parted()
        return True

    async def _deliver(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send what `send` took, in order."""
        while True:
            while self._outbox:
                await socket.send_bytes(self._outbox[0])
                self._outbox.popleft()
            self._sent.set()
            self._wake.clear()
            await self._wake.wait()

    async def _notice_silence(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Close a connection over which nothing comes any more."""
        self._heard = self._loop.time()
        silence = 0.0
        while silence < SILENCE_S:
            await asyncio.sleep(SILENCE_S - silence)  # a deadline that moves
            silence = self._loop.time() - self._heard
        log.warning("The coordinator has been silent for %.0f s.", SILENCE_S)
        await socket.close()


async def _receive(socket: aiohttp.ClientWebSocketResponse) -> FromCoordinator:
    """Read one message of the handshake."""
    frame = await socket.receive(timeout=ANSWER_WITHIN_S)
    if frame.type is not aiohttp.WSMsgType.BINARY:
        raise ConnectionResetError(f"it closed the connection (code {socket.close_code})")
    message: FromCoordinator = decode_from_coordinator(frame.data)
    return message


def _route(address: str) -> tuple[aiohttp.BaseConnector, str]:
    """Return how to reach `unix:/path` or `ws://host:port/v1`."""
    scheme, _, path = address.partition(":")
    if scheme == "unix":
        return aiohttp.UnixConnector(path), "http://coordinator/v1"
    return aiohttp.TCPConnector(), address
