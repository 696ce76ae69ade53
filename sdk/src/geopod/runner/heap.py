"""Memory that a child has touched before its function asks for it."""

from __future__ import annotations

import select
import socket

IDLE_S = 0.005
"""A child that is needed at once is not kept waiting."""
PIECE_BYTES = 256 << 10
PIECES = 10
"""2.5 MiB: the largest result that is small, and some. Each costs a child 0.17 ms."""


def touch_heap(control: socket.socket) -> None:
    """Touch a few megabytes of the heap while nobody asks for anything.

    A process that was just forked pays 2.5 us for each page at its first touch: 1.2 ms for an array
    of 2 MB, as much as its digest takes. What is touched and freed here is used again.
    """
    kept = bytes(2 * PIECES * PIECE_BYTES)
    del kept  # glibc keeps as much from now on, instead of giving it back
    pieces: list[bytes] = []
    wait_s = IDLE_S
    while len(pieces) < PIECES and not select.select([control], [], [], wait_s)[0]:
        pieces.append(b"\1" * PIECE_BYTES)
        wait_s = 0.0
