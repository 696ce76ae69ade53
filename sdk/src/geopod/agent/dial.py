"""The agent's end of the link to its coordinator: dials until somebody answers, and dials again.

Wire format: `geopod.api.messages`. What the messages mean is the node's affair.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Protocol

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
from geopod.process.frames import dial_frames

SHORTEST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
"""A thousand agents whose coordinator restarts dial again within about two seconds."""
PAUSE_GROWTH = 1.3
"""Agents start beside their coordinator, and are late by a third of its own start at most."""
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


class Wire(Protocol):
    """One connection, whatever carries it."""

    def send(self, message: bytes) -> None:
        """Send a message after all earlier ones; returns at once."""

    def close(self) -> None:
        """Hang up once everything is sent; returns at once."""

    async def flush(self) -> None:
        """Return when everything that was sent is on its way, or the connection is gone."""


class Conversation:
    """One connection from the challenge to its end. Told of every message, in order."""

    def __init__(self, link: CoordinatorLink, listener: LinkListener) -> None:
        self.is_welcome = False
        self._link = link
        self._listener = listener
        self._is_challenged = False
        self._wire: Wire
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._silence: asyncio.TimerHandle
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def opened(self, wire: Wire) -> None:
        """The connection is there: the coordinator speaks first."""
        self._wire = wire
        self._silence = self._loop.call_later(ANSWER_WITHIN_S, self._judge_silence)

    def heard(self, message: bytes) -> None:
        """Take one message; raises `msgspec.DecodeError`."""
        self._heard = self._loop.time()
        said: FromCoordinator = decode_from_coordinator(message)
        if self.is_welcome:
            self._listener.received(said)
        elif isinstance(said, Challenge) and not self._is_challenged:
            self._is_challenged = True
            self._wire.send(encode(self._link.prove(said.nonce)))
        elif isinstance(said, Welcome) and self._is_challenged:
            self._enter(said)
        else:
            if isinstance(said, Refused):
                log.warning("The coordinator refused us (%s): %s", said.reason, said.message)
            self._wire.close()

    def closed(self) -> None:
        """The connection is gone."""
        self._silence.cancel()
        if self.is_welcome and self._link.wire is self._wire:
            self._link.wire = None
            self._listener.parted()
        if not self.ended.done():
            self.ended.set_result(None)

    def _enter(self, welcome: Welcome) -> None:
        """Converse from now on, unless the listener knows a newer coordinator."""
        self._link.wire = self._wire
        self.is_welcome = True
        if not self._listener.welcomed(welcome):
            self._wire.close()

    def _judge_silence(self) -> None:
        """Close a connection over which nothing comes any more; look again when it may be so."""
        allowed = SILENCE_S if self.is_welcome else ANSWER_WITHIN_S
        silence = self._loop.time() - self._heard
        if silence >= allowed:
            log.warning("The coordinator has been silent for %.0f s.", allowed)
            self._wire.close()
            return
        self._silence = self._loop.call_later(allowed - silence, self._judge_silence)


class CoordinatorLink:
    """The connection to the coordinator, whichever one answers at the moment."""

    def __init__(self, address: str, link_key: bytes, listener: LinkListener) -> None:
        self.wire: Wire | None = None
        """To the coordinator that took us."""
        self._address = address
        self._link_key = link_key
        self._listener = listener

    @property
    def connected(self) -> bool:
        """A coordinator has taken us."""
        return self.wire is not None

    def send(self, message: FromAgent) -> None:
        """Send a message; without a connection it is dropped: HELLO says what matters."""
        if self.wire is not None:
            self.wire.send(encode(message))

    async def flush(self) -> None:
        """Return when everything that was sent is on its way, or the connection is gone."""
        if self.wire is not None:
            await self.wire.flush()

    def prove(self, nonce: bytes) -> Hello:
        """Return our HELLO with the proof that this challenge asks for."""
        hello = self._listener.hello()
        mac = hello_mac(self._link_key, nonce, hello.instance, hello.index)
        return msgspec.structs.replace(hello, mac=mac)

    async def keep(self) -> None:
        """Stay connected until cancelled."""
        pause = SHORTEST_PAUSE_S
        while True:
            conversation = Conversation(self, self._listener)
            try:
                await _converse(self._address, conversation)
            except (OSError, TimeoutError, ValueError) as error:
                log.info(
                    "No coordinator at %s: %s", self._address, str(error) or type(error).__name__
                )
            met = conversation.is_welcome
            pause = SHORTEST_PAUSE_S if met else min(PAUSE_GROWTH * pause, LONGEST_PAUSE_S)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads the dials


async def _converse(address: str, conversation: Conversation) -> None:
    """Dial `unix:/path` or `ws://host:port/v1` once, and converse until the connection ends.

    Raises OSError, TimeoutError, or ValueError where no coordinator listens.
    """
    scheme, _, path = address.partition(":")
    if scheme != "unix":
        from geopod.agent.websocket import converse  # what only a pod needs

        await converse(address, conversation)
        return
    wire = dial_frames(path, conversation, limit=MAX_MESSAGE_BYTES)
    try:
        await conversation.ended
    finally:
        wire.close()
