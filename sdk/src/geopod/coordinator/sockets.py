"""Listening sockets: a TCP port, or a Unix socket that a newer process takes over whole."""

from __future__ import annotations

import os
import socket
from pathlib import Path

BACKLOG = 1024


def listen_tcp(host: str, port: int) -> socket.socket:
    """Return a listening socket at a TCP port; no host: of all addresses, of either version."""
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
        )
    return socket.create_server((host, port), backlog=BACKLOG)


def listen_unix(path: Path) -> socket.socket:
    """Return a listening socket at `path`, for this user alone; an older one is replaced.

    It is bound aside, then renamed into place.

    Whoever still holds the older socket keeps its connections and gets no new ones.
    """
    aside = path.with_name(f".{os.getpid()}")  # short: a socket's path holds 107 bytes
    aside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(aside))
    aside.chmod(0o600)
    listener.listen(BACKLOG)
    listener.setblocking(False)  # noqa: FBT003  # the standard library's signature
    aside.replace(path)
    return listener
