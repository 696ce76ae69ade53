"""WebSocket server that agents dial: who may join, who is still there, what is sent to whom.

Wire format: `geopod.api.messages`, path /v1, subprotocol `geopod.v1`, no compression. Bulk data
never passes here. It decides nothing about runs: every message goes to its `NodeListener`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec
from aiohttp import WSMsgType, web

from geopod.api.messages import (
    HEARTBEAT_S,
    MAX_MESSAGE_BYTES,
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
)
from geopod.coordinator.sockets import listen_unix

PATH = "/v1"
SUBPROTOCOL = "geopod.v1"
HELLO_WITHIN_S = 10.0
GOODBYE_WITHIN_S = 1.0
"""How long the end of the process waits for an agent to answer its close frame."""
SUSPECT_AFTER_S = 3 * HEARTBEAT_S
SEND_BUFFER_BYTES = 4 << 20
"""More than this unsent: the node is slow and gets no more work until it has read."""

log = logging.getLogger(__name__)


class NodeLink:
    """One agent that has proved to be a member, and what is on its way to it."""

    def __init__(self, socket: web.WebSocketResponse, hello: Hello, *, now: float) -> None:
        self.hello = hello
        self.index = hello.index
        self.heard = now
        """When the last message came, in the event loop's seconds."""
        self.suspect = False
        self._socket = socket
        self._outbox: deque[bytes] = deque()
        self._unsent = 0
        self._wake = asyncio.Event()

    @property
    def is_slow(self) -> bool:
        """Whether so much is unsent that no more work should go there."""
        return self._unsent > SEND_BUFFER_BYTES

    def send(self, message: FromCoordinator) -> None:
        """Send a message after all earlier ones; returns at once."""
        data = encode(message)
        self._outbox.append(data)
        self._unsent += len(data)
        self._wake.set()

    async def deliver(self) -> None:
        """Send what `send` took, in order, until cancelled or the connection breaks."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                data = self._outbox.popleft()
                await self._socket.send_bytes(data)
                self._unsent -= len(data)

    async def close(self, reason: str) -> None:
        """Say goodbye and close the connection."""
        if not self._socket.closed:
            await self._socket.send_bytes(encode(Bye(reason=reason)))
            await self._socket.close()


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


class NodeServer:
    """Accepts agents and keeps one link per node index."""

    def __init__(self, listener: NodeListener, *, link_key: bytes, nodes: int) -> None:
        self.nodes = nodes
        """Indexes below this are members."""
        self.links: dict[int, NodeLink] = {}
        self._listener = listener
        self._link_key = link_key
        self._runner: web.ServerRunner | None = None

    async def start(self, *, socket: str = "", host: str = "", port: int | None = None) -> None:
        """Listen on a Unix socket, a TCP port, or both."""
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=1.0)
        await self._runner.setup()
        if socket:
            await web.SockSite(self._runner, listen_unix(Path(socket))).start()
        if port is not None:
            await web.TCPSite(self._runner, host, port).start()
        log.info("Agents may dial %s.", self._runner.addresses)

    async def close(self, reason: str) -> None:
        """Say goodbye to every agent and stop listening."""
        await asyncio.gather(
            *(link.close(reason) for link in list(self.links.values())), return_exceptions=True
        )
        if self._runner is not None:
            await self._runner.cleanup()

    def send(self, node: int, message: FromCoordinator) -> bool:
        """Send a message to a node; False: it is not connected."""
        link = self.links.get(node)
        if link is not None:
            link.send(message)
        return link is not None

    async def redial(self, indexes: Iterable[int], reason: str) -> None:
        """Hang up on these agents: they dial again and say what they hold."""
        for index in indexes:
            link = self.links.get(index)
            if link is not None:
                await link.close(reason)

    async def check(self, *, now: float, lost_after_s: float) -> None:
        """Ask every agent whether it is there; drop those that have been silent too long."""
        for link in list(self.links.values()):
            silence = now - link.heard
            if silence > lost_after_s:
                log.warning("Node %d has been silent for %.0f s: lost.", link.index, silence)
                self._drop(link)
                await link.close("silent")
                continue
            if link.suspect != (silence > SUSPECT_AFTER_S or link.is_slow):
                link.suspect = not link.suspect
                self._listener.suspected(link)
            link.send(Ping(time=now))

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
        try:
            hello = await self._meet(socket)
            if hello is not None:
                await self._converse(socket, hello)
        except (msgspec.DecodeError, ConnectionError, TimeoutError) as error:
            log.warning("A connection of an agent ended: %s", error or type(error).__name__)
        finally:
            await socket.close()
        return socket

    async def _meet(self, socket: web.WebSocketResponse) -> Hello | None:
        """Challenge whoever dialled; None: it was refused, and told why."""
        nonce = secrets.token_bytes(32)
        await socket.send_bytes(encode(Challenge(nonce=nonce)))
        frame = await socket.receive(timeout=HELLO_WITHIN_S)
        if frame.type is not WSMsgType.BINARY:
            return None
        hello = decode_from_agent(frame.data)
        refused = self._refuse(hello, nonce)
        if refused is None and isinstance(hello, Hello):
            return hello
        if refused is not None:
            log.warning("An agent was refused (%s): %s", refused.reason, refused.message)
            await socket.send_bytes(encode(refused))
        return None

    def _refuse(self, hello: FromAgent, nonce: bytes) -> Refused | None:
        """Return why an agent may not join, or None."""
        if not isinstance(hello, Hello):
            return Refused(reason="Protocol", message="The first message must be HELLO.")
        mac = hello_mac(self._link_key, nonce, hello.instance, hello.index)
        if not hmac.compare_digest(mac, hello.mac):
            return Refused(reason="BadMac", message="The agent does not hold the link key.")
        if hello.protocol != PROTOCOL:
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

    async def _converse(self, socket: web.WebSocketResponse, hello: Hello) -> None:
        """Carry messages both ways until the connection ends."""
        loop = asyncio.get_running_loop()
        link = NodeLink(socket, hello, now=loop.time())
        twin = self.links.get(link.index)
        if twin is not None:
            self._drop(twin)
            await twin.close("another connection of this node took over")
        self.links[link.index] = link
        self._listener.joined(link)
        delivery = loop.create_task(link.deliver())
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.BINARY:
                    break
                link.heard = loop.time()
                message = decode_from_agent(frame.data)
                if not isinstance(message, Hello):
                    self._listener.received(link, message)
        finally:
            delivery.cancel()
            self._drop(link)

    def _drop(self, link: NodeLink) -> None:
        """Forget a link, once; the listener hears of it."""
        if self.links.get(link.index) is link:
            del self.links[link.index]
            self._listener.parted(link)
