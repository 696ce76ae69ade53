"""Server that agents dial: who may join, who is still there, what is sent to whom.

Wire format: `geopod.api.messages`, as frames on a Unix socket, as a WebSocket on a port (path /v1,
subprotocol `geopod.v1`). Bulk data never passes here. It decides nothing about runs: every message
goes to its `NodeListener`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import socket
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Protocol

from geopod.api.messages import (
    HEARTBEAT_S,
    PROTOCOL,
    Bye,
    Challenge,
    FromAgent,
    FromCoordinator,
    Hello,
    Ping,
    Refused,
    decode_from_agent,
    encode,
    hello_mac,
    is_served,
)
from geopod.coordinator.wires import HELLO_WITHIN_S, SocketServer, Wire, WireServer

SUSPECT_AFTER_S = 3 * HEARTBEAT_S
SEND_BUFFER_BYTES = 4 << 20
"""More than this unsent: the node is slow and gets no more work until it has read."""

ANSWER_FIRST_S = 0.001
"""What nodes have to hear of an end, they hear a moment after whoever waits for it."""

log = logging.getLogger(__name__)


class NodeLink:
    """One agent that has proved to be a member, and the wire to it."""

    def __init__(self, wire: Wire, hello: Hello, *, now: float) -> None:
        self.hello = hello
        self.index = hello.index
        self.heard = now
        """When the last message came, in the event loop's seconds."""
        self.suspect = False
        self._wire = wire

    @property
    def is_slow(self) -> bool:
        """Whether so much is unsent that no more work should go there."""
        return self._wire.unsent > SEND_BUFFER_BYTES

    def send(self, message: FromCoordinator) -> None:
        """Send a message after all earlier ones; returns at once."""
        self._wire.send(encode(message))

    def close(self, reason: str) -> None:
        """Say goodbye and close the connection once everything is sent."""
        self._wire.send(encode(Bye(reason=reason)))
        self._wire.close()


class NodeListener(Protocol):
    """Who hears of the nodes: the coordinator, or a double in tests."""

    def joined(self, link: NodeLink) -> None:
        """A member has dialled; its link takes messages from now on."""

    def received(self, link: NodeLink, message: FromAgent) -> None:
        """A member has said something other than HELLO or PONG."""

    def suspected(self, link: NodeLink) -> None:
        """A member is silent or does not read, or is well again (`link.suspect` says which)."""

    def parted(self, link: NodeLink) -> None:
        """A member's connection is closed; it may dial again."""


class Visit:
    """One connection of an agent, from the challenge to its end. A WireListener."""

    def __init__(self, server: NodeServer) -> None:
        self._server = server
        self._nonce = secrets.token_bytes(32)
        self._wire: Wire
        self._link: NodeLink | None = None
        self._loop = asyncio.get_running_loop()

    def opened(self, wire: Wire) -> None:
        """Challenge whoever dialled."""
        self._wire = wire
        wire.send(encode(Challenge(nonce=self._nonce)))
        self._loop.call_later(HELLO_WITHIN_S, self._send_away)

    def heard(self, message: bytes) -> None:
        """Take a member's message; before that, its HELLO. Raises `msgspec.DecodeError`."""
        said = decode_from_agent(message)
        link = self._link
        if link is None:
            self._meet(said)
            return
        if self._server.links.get(link.index) is not link:
            return  # replaced by a newer connection of its node
        link.heard = self._loop.time()
        if not isinstance(said, Hello):
            self._server.listener.received(link, said)

    def closed(self) -> None:
        """The connection is gone."""
        if self._link is not None:
            self._server.drop(self._link)

    def _send_away(self) -> None:
        if self._link is None:
            self._wire.close()

    def _meet(self, hello: FromAgent) -> None:
        """Let a member in; anybody else is told why not."""
        refused = self._server.refuse(hello, self._nonce)
        if refused is None and isinstance(hello, Hello):
            self._link = NodeLink(self._wire, hello, now=self._loop.time())
            self._server.admit(self._link)
        elif refused is not None:
            log.warning("An agent was refused (%s): %s", refused.reason, refused.message)
            self._wire.send(encode(refused))
            self._wire.close()


class NodeServer:
    """Accepts agents and keeps one link per node index."""

    def __init__(self, listener: NodeListener, *, link_key: bytes, nodes: int) -> None:
        self.nodes = nodes
        """Indexes below this are members."""
        self.links: dict[int, NodeLink] = {}
        self.listener = listener
        self._link_key = link_key
        self._servers: list[WireServer] = []
        self._due: list[tuple[int, FromCoordinator]] = []

    async def start(self, *, path: str = "", listening: socket.socket | None = None) -> None:
        """Serve a Unix socket, a TCP port that listens already, or both."""
        if path:
            self._servers.append(SocketServer(Path(path), self._visit))
        if listening is not None:
            from geopod.coordinator.websocket import serve_websockets  # aiohttp: 60 ms, 10 MB

            self._servers.append(await serve_websockets(listening, self._visit))
        log.info("Agents may dial %s.", " and ".join(server.address for server in self._servers))

    async def close(self, reason: str) -> None:
        """Say goodbye to every agent and stop listening."""
        self._send_due()
        for link in list(self.links.values()):
            link.close(reason)
        ends: list[Awaitable[None]] = [server.close() for server in self._servers]
        await asyncio.gather(*ends)

    def send(self, node: int, message: FromCoordinator) -> bool:
        """Send a message to a node; False: it is not connected."""
        link = self.links.get(node)
        if link is not None:
            link.send(message)
        return link is not None

    def send_soon(self, node: int, message: FromCoordinator) -> None:
        """Send a message that may wait until a client has been told of an end."""
        if not self._due:
            asyncio.get_running_loop().call_later(ANSWER_FIRST_S, self._send_due)
        self._due.append((node, message))

    def _send_due(self) -> None:
        due, self._due = self._due, []
        for node, message in due:
            self.send(node, message)

    def redial(self, indexes: Iterable[int], reason: str) -> None:
        """Hang up on these agents: they dial again and say what they hold."""
        for index in indexes:
            link = self.links.get(index)
            if link is not None:
                link.close(reason)

    def check(self, *, now: float, lost_after_s: float) -> None:
        """Ask every agent whether it is there; drop those that have been silent too long."""
        for link in list(self.links.values()):
            silence = now - link.heard
            if silence > lost_after_s:
                log.warning("Node %d has been silent for %.0f s: lost.", link.index, silence)
                self.drop(link)
                link.close("silent")
                continue
            if link.suspect != (silence > SUSPECT_AFTER_S or link.is_slow):
                link.suspect = not link.suspect
                self.listener.suspected(link)
            link.send(Ping(time=now))

    def refuse(self, hello: FromAgent, nonce: bytes) -> Refused | None:
        """Return why an agent may not join, or None."""
        if not isinstance(hello, Hello):
            return Refused(reason="Protocol", message="The first message must be HELLO.")
        mac = hello_mac(self._link_key, nonce, hello.instance, hello.index)
        if not hmac.compare_digest(mac, hello.mac):
            return Refused(reason="BadMac", message="The agent does not hold the link key.")
        if not is_served(hello.protocol):
            text = f"This coordinator speaks protocol {PROTOCOL}, the agent {hello.protocol}."
            return Refused(reason="Protocol", message=text)
        if not 0 <= hello.index < self.nodes:
            text = f"Node {hello.index} is none of the {self.nodes} nodes."
            return Refused(reason="NotMember", message=text)
        twin = self.links.get(hello.index)
        if twin is not None and twin.hello.instance != hello.instance and not twin.suspect:
            text = f"Node {hello.index} is connected as instance {twin.hello.instance}."
            return Refused(reason="Duplicate", message=text)
        return None

    def admit(self, link: NodeLink) -> None:
        """Take a member in; its earlier connection is closed."""
        twin = self.links.get(link.index)
        if twin is not None:
            self.drop(twin)
            twin.close("another connection of this node took over")
        self.links[link.index] = link
        self.listener.joined(link)

    def drop(self, link: NodeLink) -> None:
        """Forget a link, once; the listener hears of it."""
        if self.links.get(link.index) is link:
            del self.links[link.index]
            self.listener.parted(link)

    def _visit(self) -> Visit:
        return Visit(self)
