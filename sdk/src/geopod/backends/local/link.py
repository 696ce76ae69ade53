"""A supervisor's own connection to its coordinator: the environment's state as it changes."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from geopod.api.control import Configure, EnvironmentUpdate, WatchEnvironment, decode_to_client
from geopod.api.messages import MAX_MESSAGE_BYTES, encode
from geopod.api.runs import EnvironmentState
from geopod.process.frames import FrameReader, frame


class CoordinatorLink:
    """Tries to connect until the coordinator listens, then hears every state."""

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        *,
        heard: Callable[[EnvironmentState], None],
    ) -> None:
        self._path = path
        self._selector = selector
        self._heard = heard
        self._socket: socket.socket | None = None
        self._reader = FrameReader(MAX_MESSAGE_BYTES)
        self._untold: Configure | None = None
        """What changed while no coordinator listened: one that starts may have read it before."""

    @property
    def is_up(self) -> bool:
        """The coordinator takes clients."""
        return self._socket is not None

    @property
    def descriptors(self) -> list[int]:
        """What a forked child must not keep."""
        return [] if self._socket is None else [self._socket.fileno()]

    def connect(self) -> bool:
        """Try to connect; False: nobody listens there yet."""
        if self._socket is not None:
            return True
        trying = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            trying.connect(str(self._path))
            trying.sendall(frame(encode(WatchEnvironment())))
            if self._untold is not None:
                trying.sendall(frame(encode(self._untold)))
        except OSError:
            trying.close()
            return False
        self._untold = None
        trying.setblocking(False)  # noqa: FBT003  # the standard library's signature
        self._socket, self._reader = trying, FrameReader(MAX_MESSAGE_BYTES)
        self._selector.register(trying, selectors.EVENT_READ, self._read)
        return True

    def configure(self, *, nodes: int | None, refresh: bool) -> None:
        """Tell the coordinator that its settings have changed, as soon as it listens."""
        if self._socket is not None:
            with suppress(OSError):  # it is gone: `_read` is told so next
                self._socket.sendall(frame(encode(Configure(nodes=nodes, refresh=refresh))))
                return
        before = self._untold or Configure()
        self._untold = Configure(
            nodes=before.nodes if nodes is None else nodes, refresh=before.refresh or refresh
        )

    def hold(self) -> None:
        """Have the coordinator begin no new run: another one will, with what has changed."""
        if self._socket is not None:
            with suppress(OSError):  # it is gone: `_read` is told so next
                self._socket.sendall(frame(encode(Configure(hold=True))))

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        for message in self._reader.feed(data):
            match decode_to_client(message):
                case EnvironmentUpdate(state=state):
                    self._heard(state)
                case _:
                    continue
