"""Reach the agent, which may not listen yet; take what it sends."""

from __future__ import annotations

import os
import select
import socket

DIAL_S = (0.01, 0.5)
"""First and longest pause between two tries to reach the agent."""
PAUSE_GROWTH = 1.1
"""Both start side by side: the runner is late by a tenth of what it has waited."""
READ_BYTES = 1 << 16
"""From 128 KiB on the buffer of a read is mapped and unmapped by the kernel: 40 µs each time."""


def dial(socket_path: str) -> socket.socket:
    """Return a connection to the agent that listens there, as soon as one does."""
    pause, longest = DIAL_S
    while True:
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            agent.connect(socket_path)
        except OSError:
            agent.close()
            select.select([], [], [], pause)
            pause = min(pause * PAUSE_GROWTH, longest)
        else:
            return agent


def receive(agent: socket.socket, descriptors: list[int]) -> bytes:
    """Return the next bytes from the agent; a descriptor beside them joins `descriptors`."""
    received, handed, *_ = socket.recv_fds(agent, READ_BYTES, 1)
    for descriptor in handed:  # recv_fds drops its flags: python/cpython#107898
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # os's signature
        descriptors.append(descriptor)
    return received
