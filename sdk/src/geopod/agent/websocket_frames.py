"""What a client of one server says and hears of RFC 6455: the handshake, and plain frames.

Pure: bytes in, bytes out. Source: https://www.rfc-editor.org/rfc/rfc6455
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from enum import IntEnum

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of every WebSocket, §1.3."""
HEAD_END = b"\r\n\r\n"
MAX_HEAD_BYTES = 16 << 10
FINAL, MASKED = 0x80, 0x80
LENGTH_16, LENGTH_64 = 126, 127
"""A length of seven bits that is none: the true one follows in 16 or in 64 bits."""


class Opcode(IntEnum):
    """What a frame is, §5.2."""

    CONTINUED = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Handshake:
    """One opening handshake, the client's side."""

    def __init__(self, *, host: str, path: str, protocol: str) -> None:
        self._protocol = protocol
        key = base64.b64encode(os.urandom(16))
        self._accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        self.request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        ).encode("ascii")

    def check(self, head: bytes) -> None:
        """Check the server's answer, without the empty line at its end; raises ValueError."""
        status, *lines = head.split(b"\r\n")
        if status.split()[1:2] != [b"101"]:
            raise ValueError(f"The answer is {status[:80].decode('latin-1')!r}, no WebSocket.")
        pairs = (line.partition(b":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get(b"sec-websocket-accept") != self._accept:
            raise ValueError("The answer is to another WebSocket's key.")
        if headers.get(b"sec-websocket-protocol") != self._protocol.encode():
            raise ValueError(f"The other side does not speak {self._protocol}.")


def frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return one whole frame, masked as a client's must be."""
    size = len(payload)
    if size < LENGTH_16:
        length = bytes((MASKED | size,))
    elif size < 1 << 16:
        length = struct.pack("!BH", MASKED | LENGTH_16, size)
    else:
        length = struct.pack("!BQ", MASKED | LENGTH_64, size)
    mask = os.urandom(4)
    covering = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(covering, "big")
    return bytes((FINAL | opcode,)) + length + mask + masked.to_bytes(size, "big")


class FrameReader:
    """Cuts what a server sends into messages of at most `limit` bytes and control frames."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._parts: list[bytes] = []
        self._opcode = Opcode.CONTINUED
        """Of the message whose frames come one by one; CONTINUED: there is none."""

    def feed(self, data: bytes) -> list[tuple[Opcode, bytes]]:
        """Take more of the stream and return what is whole; raises ValueError: it is none."""
        stream = self._rest + data if self._rest else data
        found: list[tuple[Opcode, bytes]] = []
        at = 0
        while (bounds := self._bounds(stream, at)) is not None:
            first, (start, end) = stream[at], bounds
            opcode, payload = Opcode(first & 0x0F), stream[start:end]
            if opcode >= Opcode.CLOSE:
                found.append((opcode, payload))
            else:
                self._add(opcode, payload)
                if first & FINAL:
                    found.append(self._whole())
            at = end
        self._rest = stream[at:]
        return found

    def _bounds(self, stream: bytes, at: int) -> tuple[int, int] | None:
        """Return where the payload of the frame at `at` begins and ends; None: not all is here."""
        if len(stream) < at + 2:
            return None
        size, start = stream[at + 1], at + 2
        if size & MASKED or stream[at] & 0x70:
            raise ValueError("A server's frame is masked, or of an extension nobody asked for.")
        if size >= LENGTH_16:
            form = "!H" if size == LENGTH_16 else "!Q"
            start += struct.calcsize(form)
            if len(stream) < start:
                return None
            (size,) = struct.unpack_from(form, stream, at + 2)
        if size > self._limit:
            raise ValueError(f"A frame of {size} bytes; the limit is {self._limit}.")
        return (start, start + size) if len(stream) >= start + size else None

    def _add(self, opcode: Opcode, payload: bytes) -> None:
        """Add a frame to the message that it begins or continues."""
        if (opcode is Opcode.CONTINUED) is not bool(self._opcode):
            raise ValueError("A frame continues no message, or interrupts one.")
        self._opcode = opcode or self._opcode
        self._parts.append(payload)
        if sum(map(len, self._parts)) > self._limit:
            raise ValueError(f"A message of more than {self._limit} bytes.")

    def _whole(self) -> tuple[Opcode, bytes]:
        """Return the message whose last frame is here."""
        message = self._opcode, b"".join(self._parts)
        self._parts, self._opcode = [], Opcode.CONTINUED
        return message
