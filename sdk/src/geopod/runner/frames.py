"""Frames on the runner's Unix sockets: `<u32 header length><u32 body length><header><body>`.

Little endian; the header is a JSON object with a tag `t`, the body raw bytes; at most 1 MiB each.
A longer body (a function) goes ahead in frames tagged PART, which only the runner's side joins.
File descriptors ride beside the header of CHILD, and a map's arguments beside that of BEGIN.
"""

from __future__ import annotations

import json
import struct
from typing import Any

LENGTHS = struct.Struct("<II")
MAX_PART_BYTES = 1 << 20
MAX_JOINED_BYTES = 1 << 30
"""What the runner takes of one message: four bundles of the largest size that is accepted."""
PART = b'{"t":"PART"}'

_encode_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


_scan_json = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # of every CPython


class FrameError(ValueError):
    """The peer sent what no frame can be; the connection is of no use any more."""


def pack(header: bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a message, its body split if it is over 1 MiB."""
    if len(body) <= MAX_PART_BYTES:
        return LENGTHS.pack(len(header), len(body)) + header + body
    cuts = range(0, len(body), MAX_PART_BYTES)
    slices = [body[at : at + MAX_PART_BYTES] for at in cuts]
    return b"".join([*(pack(PART, part) for part in slices[:-1]), pack(header, slices[-1])])


def pack_json(header: dict[str, object], body: bytes = b"") -> bytes:
    """Return the bytes of a message whose header is plain JSON; NaN is refused (ValueError)."""
    return pack(_encode_json(header).encode("utf-8", "replace"), body)


def unpack_json(header: bytes) -> dict[str, Any]:
    """Return a header of the agent's; `json.loads` would first look for encodings and spaces."""
    message, _ = _scan_json(header.decode(), 0)
    return message  # type: ignore[no-any-return]  # an object: the agent is trusted


class FrameReader:
    """Cut a byte stream into messages; raises FrameError on lengths over the limits."""

    def __init__(self, *, joins_parts: bool = False) -> None:
        self._joins_parts = joins_parts
        self._rest = b""
        self._parts: list[bytes] = []
        self._joined = 0

    def feed(self, received: bytes) -> list[tuple[bytes, bytes]]:
        """Return the (header, body) pairs that are complete with these bytes."""
        stream = self._rest + received if self._rest else received
        messages: list[tuple[bytes, bytes]] = []
        at, end = 0, len(stream)
        while end - at >= LENGTHS.size:
            header_bytes, body_bytes = LENGTHS.unpack_from(stream, at)
            if header_bytes > MAX_PART_BYTES or body_bytes > MAX_PART_BYTES:
                raise FrameError(
                    f"a frame announces {header_bytes:,} + {body_bytes:,} bytes; "
                    f"the limit is {MAX_PART_BYTES:,} each"
                )
            body_at = at + LENGTHS.size + header_bytes
            stop = body_at + body_bytes
            if stop > end:
                break
            header = stream[at + LENGTHS.size : body_at]
            self._take(header, stream[body_at:stop], messages)
            at = stop
        self._rest = stream[at:] if at else stream
        return messages

    def _take(self, header: bytes, body: bytes, messages: list[tuple[bytes, bytes]]) -> None:
        if header == PART and self._joins_parts:
            self._joined += len(body)
            if self._joined > MAX_JOINED_BYTES:
                raise FrameError(f"a message is over {MAX_JOINED_BYTES:,} bytes")
            self._parts.append(body)
        elif self._parts:
            messages.append((header, b"".join([*self._parts, body])))
            self._parts.clear()
            self._joined = 0
        else:
            messages.append((header, body))
