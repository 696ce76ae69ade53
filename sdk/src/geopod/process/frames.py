"""Frames on the Unix sockets of one machine: a little-endian u32 length, then one message."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable
from typing import Protocol

LENGTH = struct.Struct("<I")
READ_BYTES = 1 << 16
"""From 128 KiB on the buffer of a read is mapped and unmapped by the kernel: 40 µs each time."""
ACCEPTED_AT_ONCE = 64
"""So that a crowd that dials does not keep the loop from those it serves."""
LINGER_S = 1.0
OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

log = logging.getLogger(__name__)


def frame(message: bytes) -> bytes:
    """Return a message with its length before it."""
    return LENGTH.pack(len(message)) + message


class FrameReader:
    """Cuts a stream of bytes into messages of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take more of the stream and return the messages that are whole.

        Raises ValueError when a length is over the limit: the stream is not ours.
        """
        stream = self._rest + data if self._rest else data
        messages: list[bytes] = []
        at, size = 0, len(stream)
        while size - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(stream, at)
            if length > self._limit:
                raise ValueError(f"A frame of {length} bytes; the limit is {self._limit}.")
            start = at + LENGTH.size
            if size - start < length:
                break
            at = start + length
            messages.append(stream[start:at])
        self._rest = stream[at:]
        return messages


class FrameListener(Protocol):
    """Who is told what comes over a wire."""

    def opened(self, wire: FrameWire) -> None:
        """The connection is there."""

    def heard(self, message: bytes) -> None:
        """One message has come; ValueError: it is none, and the wire is closed."""

    def closed(self) -> None:
        """The connection is gone, told once."""


class FrameWire:
    """A connection that carries frames: what comes is told at once, what is sent leaves at once.

    No stream, transport, queue or task between socket and listener. Each would let the loop turn
    once more before a message goes on its way: a tenth of a millisecond where a whole call may
    take two.
    """

    def __init__(self, connection: socket.socket, listener: FrameListener, *, limit: int) -> None:
        """Take over a connected socket and tell `listener` that it is open."""
        connection.setblocking(False)  # noqa: FBT003  # the standard library's signature
        self.is_open = True
        """Neither side has hung up."""
        self._socket = connection
        self._listener = listener
        self._reader = FrameReader(limit)
        self._unsent = bytearray()
        self._emptied: asyncio.Future[None] | None = None
        self._is_gone = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)
        listener.opened(self)

    @property
    def unsent(self) -> int:
        """Bytes that wait because the other side does not read."""
        return len(self._unsent)

    def send(self, message: bytes) -> None:
        """Send a message after all earlier ones; a closed wire sends nothing."""
        if not self.is_open:
            return
        data = LENGTH.pack(len(message)) + message
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the other side is gone: `_read` is told so next
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._socket.fileno(), self._send_rest)

    async def flush(self) -> None:
        """Return when everything that was sent is on its way, or the connection is gone."""
        if self._unsent:
            self._emptied = self._loop.create_future()
            await self._emptied

    def close(self) -> None:
        """Hang up once everything is sent, or after a second in which nobody reads it."""
        if self.is_open and self._unsent:
            self.is_open = False
            self._loop.call_later(LINGER_S, self.abort)
        elif self.is_open:
            self.abort()

    def abort(self) -> None:
        """Hang up at once."""
        if self._is_gone:
            return
        self.is_open, self._is_gone = False, True
        self._unsent.clear()
        self._flushed()
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._loop.call_soon(self._listener.closed)

    def _send_rest(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._socket.fileno())
            self._flushed()
            if not self.is_open:
                self.abort()

    def _flushed(self) -> None:
        if self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.abort()
            return
        try:
            for message in self._reader.feed(data):
                if self.is_open:
                    self._listener.heard(message)
        except ValueError as error:
            log.warning("A connection brought what is no message and is closed: %s", error)
            self.close()
        except Exception:
            # Whoever waits for an answer must not wait on a connection that has lost a message.
            log.exception("A message could not be served; its connection is closed.")
            self.abort()


class FrameServer:
    """Makes a wire of every connection to a listening socket."""

    def __init__(
        self, listening: socket.socket, welcome: Callable[[], FrameListener], *, limit: int
    ) -> None:
        """`welcome` makes the listener of each connection."""
        self._socket = listening
        self._welcome = welcome
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Take no more connections; those that are open stay."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _pause(self) -> None:
        """Look again in a second: the socket stays readable, and the loop would never rest."""
        self._loop.remove_reader(self._socket.fileno())
        self._loop.call_later(LINGER_S, self._go_on)

    def _go_on(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:  # nobody waits any more
                return
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    self._pause()
                return
            FrameWire(connection, self._welcome(), limit=self._limit)


def dial_frames(path: str, listener: FrameListener, *, limit: int) -> FrameWire:
    """Return a wire to whoever listens at a Unix socket; raises OSError when nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return FrameWire(connection, listener, limit=limit)
