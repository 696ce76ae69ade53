"""A child's control socket: frames in and out without a stream's buffers, hops or timers.

Reading can be finished synchronously (`drain`): what a dead child sent last counts before its
death does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from geopod.runner.frames import FrameError, FrameReader

READ_BYTES = 1 << 16
"""From 128 KiB on the buffer of a read is mapped and unmapped by the kernel: 40 µs each time."""
DRAIN_READS = 64
"""A living child could write for ever; a socket's buffer holds far less than this."""

OnFrame = Callable[[bytes, bytes], None]
OnBroken = Callable[[str], None]


class Channel:
    """Frames over a connected socket; `on_frame(header, body)`, `on_broken(why)` at most once."""

    def __init__(self, connection: socket.socket, on_frame: OnFrame, on_broken: OnBroken) -> None:
        connection.setblocking(False)  # noqa: FBT003  # socket's signature
        self._socket = connection
        self._on_frame = on_frame
        self._on_broken = on_broken
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    def send(self, frames: bytes, descriptor: int | None = None) -> None:
        """Send bytes at once, or as soon as the child reads; nothing is sent when closed.

        `descriptor` rides beside the very first bytes: a socket that was never written to takes
        some of them.
        """
        if not self._is_open:
            return
        if self._unsent:
            self._unsent += frames
            return
        try:
            if descriptor is None:
                sent = self._socket.send(frames)
            else:
                sent = socket.send_fds(self._socket, [frames], [descriptor])
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the child is gone: its EXITED is on the way
        if sent < len(frames):
            self._unsent += frames[sent:]
            self._loop.add_writer(self._socket.fileno(), self._send_rest)

    def drain(self) -> None:
        """Read everything that has arrived."""
        for _ in range(DRAIN_READS):
            if not self._is_open or not self._read():
                return

    def close(self) -> None:
        """Hang up; the child ends when it reads that."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    def _send_rest(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
            sent = 0
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> bool:
        """Take what is there; False when nothing more can come now."""
        try:
            received = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            received = b""
        if not received:
            self.close()
            return False
        try:
            for header, body in self._reader.feed(received):
                self._on_frame(header, body)
        except FrameError as forged:
            self.close()
            self._on_broken(str(forged))
            return False
        return True
