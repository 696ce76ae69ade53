"""Ports for servers that are told which to take."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

LOWEST = 10_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a TCP port of this machine that nobody has at this moment.

    It lies below those that the kernel hands out: one of these could be the near end of somebody's
    connection before its server has it.
    """
    stop = int(EPHEMERAL.read_text("ascii").split()[0]) if EPHEMERAL.exists() else LOWEST
    while True:
        port = secrets.choice(range(LOWEST, stop)) if stop > LOWEST else 0
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(trial.getsockname()[1])
