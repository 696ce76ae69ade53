"""Reach the agent, which may not listen yet."""

from __future__ import annotations

import select
import socket

DIAL_S = (0.01, 0.5)
"""First and longest pause between two tries to reach the agent."""
PAUSE_GROWTH = 1.1
"""Both start side by side: the runner is late by a tenth of what it has waited."""


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
