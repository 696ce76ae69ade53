"""Frames on an environment's Unix sockets: a little-endian u32 length, then one message."""

from __future__ import annotations

import struct

from geopod.api.messages import MAX_MESSAGE_BYTES

_LENGTH = struct.Struct("<I")


def frame(message: bytes) -> bytes:
    """Return a message with its length before it."""
    return _LENGTH.pack(len(message)) + message


class FrameReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take more of the stream and return the messages that are whole.

        Raises ValueError when a length is over the protocol's limit: the stream is not ours.
        """
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        position = 0
        while len(buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, position)
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"A frame of {length} bytes; the limit is {MAX_MESSAGE_BYTES}.")
            end = position + _LENGTH.size + length
            if len(buffer) < end:
                break
            messages.append(bytes(buffer[position + _LENGTH.size : end]))
            position = end
        del buffer[:position]
        return messages
