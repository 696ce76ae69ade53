"""The socket that the runner's template dials: one template at a time, descriptors with CHILD.

A second connection is refused while a template is connected: user code could dial too.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from geopod.agent.runner_messages import (
    NOT_DECODABLE,
    ChildMade,
    Exited,
    Ready,
    decode_from_template,
    encode_header,
)
from geopod.runner.frames import FrameError, FrameReader, pack

READ_BYTES = 1 << 16
DESCRIPTORS_OF_CHILD = 3
"""Control socket, stdout, stderr."""
MAX_DESCRIPTORS = 4 * DESCRIPTORS_OF_CHILD
PEER = struct.Struct("3i")
"""pid, uid and gid of SO_PEERCRED: unix(7)."""
UMASK = 0o007
"""Agent and runner are two users of one group; the socket is for that group alone."""


class TemplateEvents(Protocol):
    """What the link tells its owner."""

    def on_ready(self, ready: Ready) -> None:
        """A template is connected and warm."""

    def on_child(self, made: ChildMade, descriptors: list[int]) -> None:
        """A standby child; the descriptors are the owner's from now on."""

    def on_exited(self, exited: Exited) -> None:
        """A child is gone."""

    def on_gone(self, why: str) -> None:
        """The template is gone, and its children with it."""


class TemplateLink:
    """Listens; speaks with the one template that is connected."""

    def __init__(
        self, socket_path: Path, events: TemplateEvents, *, runner_uid: int | None = None
    ) -> None:
        """`runner_uid`: the user that the template runs as; None: this process's own."""
        self._path = socket_path
        self._runner_uid = os.geteuid() if runner_uid is None else runner_uid
        self._events = events
        self._listener: socket.socket | None = None
        self._template: socket.socket | None = None
        self._reader = FrameReader()
        self._descriptors: deque[int] = deque()

    @property
    def is_connected(self) -> bool:
        """A template is there (perhaps not ready yet)."""
        return self._template is not None

    def listen(self) -> None:
        """Make the socket and wait for a template."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)  # noqa: FBT003  # socket's signature
        before = os.umask(UMASK)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        listener.listen(4)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)

    def send(self, message: Mapping[str, object]) -> None:
        """Send a message, if a template is there; a template that does not read is hung up on."""
        if self._template is None:
            return
        frame = pack(encode_header(message))
        try:
            sent = self._template.send(frame)
        except OSError as broken:
            self._lose(f"it cannot be reached ({broken.strerror})")
            return
        if sent < len(frame):
            self._lose("it does not read what it is sent")

    def close(self) -> None:
        """Hang up and stop listening; the template ends its children when it reads that."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        self._hang_up()

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if self._template is not None or _peer_uid(connection) != self._runner_uid:
            connection.close()
            return
        connection.setblocking(False)  # noqa: FBT003  # socket's signature
        self._template, self._reader = connection, FrameReader()
        asyncio.get_running_loop().add_reader(connection.fileno(), self._read)

    def _read(self) -> None:
        if self._template is None:
            return
        try:
            received, descriptors, _, _ = socket.recv_fds(
                self._template, READ_BYTES, MAX_DESCRIPTORS
            )
        except BlockingIOError:
            return
        except ConnectionResetError:  # it died before it read all that it was sent
            received, descriptors = b"", []
        except OSError as broken:
            self._lose(f"its socket broke ({broken.strerror})")
            return
        self._descriptors.extend(descriptors)
        if not received:
            self._lose("its process ended")
            return
        try:
            for header, _ in self._reader.feed(received):
                self._take(header)
        except (FrameError, *NOT_DECODABLE) as forged:
            self._lose(f"it sent what no template sends ({forged})")
        if len(self._descriptors) > MAX_DESCRIPTORS:
            self._lose(f"it sent {len(self._descriptors)} descriptors without a child")

    def _take(self, header: bytes) -> None:
        message = decode_from_template(header)
        match message:
            case Ready():
                self._events.on_ready(message)
            case Exited():
                self._events.on_exited(message)
            case ChildMade():
                if len(self._descriptors) < DESCRIPTORS_OF_CHILD:
                    raise FrameError("it announced a child without its descriptors")
                taken = [self._descriptors.popleft() for _ in range(DESCRIPTORS_OF_CHILD)]
                self._events.on_child(message, taken)

    def _lose(self, why: str) -> None:
        if self._hang_up():
            self._events.on_gone(why)

    def _hang_up(self) -> bool:
        template, self._template = self._template, None
        if template is None:
            return False
        asyncio.get_running_loop().remove_reader(template.fileno())
        template.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        return True


def _peer_uid(connection: socket.socket) -> int:
    """Return the user at the other end of a Unix socket, as the kernel knows it."""
    if sys.platform == "darwin":
        return os.geteuid()  # a laptop: the folder's mode lets nobody else come this far
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    _, uid, _ = PEER.unpack(credentials)
    return int(uid)
