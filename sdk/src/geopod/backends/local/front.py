"""A supervisor's own socket: clients ask for a generation and are told how things stand.

A client writes one line, the generation of the record that it wants served; it is told at once and
on every change, one `Report` as JSON per line, until the supervisor ends and the stream closes.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from geopod.backends.local.state import Report

_LINE_LIMIT = 64


class Front:
    """Listens, and tells every client the same."""

    def __init__(
        self, path: Path, selector: selectors.BaseSelector, *, asked: Callable[[int], None]
    ) -> None:
        """`asked` is called with the generation that a client wants."""
        path.unlink(missing_ok=True)
        self._selector = selector
        self._asked = asked
        self._clients: set[socket.socket] = set()
        self._last = b""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(128)
        self._listener.setblocking(False)  # noqa: FBT003  # the standard library's signature
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    @property
    def descriptors(self) -> list[int]:
        """What a forked child must not keep: its clients would wait for an end in vain."""
        return [self._listener.fileno(), *(client.fileno() for client in self._clients)]

    def tell(self, report: Report) -> bool:
        """Send a report to every client, if it says something else than the last one."""
        line = msgspec.json.encode(report) + b"\n"
        if line == self._last:
            return False
        self._last = line
        for client in tuple(self._clients):
            self._send(client)
        return True

    def close(self) -> None:
        """Close every stream: the supervisor has ended."""
        for client in tuple(self._clients):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            client, _ = self._listener.accept()
            client.setblocking(False)  # noqa: FBT003  # the standard library's signature
            self._clients.add(client)
            self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client))

    def _read(self, client: socket.socket) -> None:
        if client not in self._clients:
            return  # dropped by what came in the same turn
        try:
            text = client.recv(_LINE_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            text = b""
        if not text:
            self._drop(client)
            return
        wanted = [int(word) for word in text.split() if word.isdigit()]
        if wanted:
            self._asked(max(wanted))
        if client in self._clients and self._last:
            self._send(client)

    def _send(self, client: socket.socket) -> None:
        """Send the last report; a client that does not read is left alone."""
        try:
            client.send(self._last)
        except OSError:
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._clients.discard(client)
        self._selector.unregister(client)
        client.close()
