"""Where the face's calls go: one open client per token and target, for the whole process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import geopod
from geopod.client import aio

VARIABLES = ("GEOPOD_TARGET", "GEOPOD_HOME", "GEOPOD_GATEWAY", "KUBECONFIG")
"""What decides where a client connects to, beside its arguments."""
OPEN_CLIENTS = 8
"""A process that renews its token every hour does not keep all it ever had."""


@dataclass(frozen=True, slots=True)
class _Place:
    target: str | None = None
    namespace: str | None = None
    gateway: str | None = None


_place = _Place()
_clients: dict[tuple[object, ...], geopod.Client] = {}
_lock = threading.Lock()


def connect(
    target: str | None = None, *, namespace: str | None = None, gateway: str | None = None
) -> None:
    """Choose where the calls of this module go; arguments as `geopod.connect`.

    Without it: GEOPOD_TARGET, the cluster this process runs in, the kubeconfig. `"local"` is this
    machine.
    """
    global _place  # noqa: PLW0603  # the choice of this process
    _place = _Place(target, namespace, gateway)


def client_for(token: str | None) -> aio.Client:
    """Return the open client of a token, connected at its first use."""
    place = _place
    key = (place, token, *map(os.environ.get, VARIABLES))
    with _lock:
        client = _clients.pop(key, None)
        if client is None:
            client = geopod.connect(
                place.target, namespace=place.namespace, token=token, gateway=place.gateway
            )
        _clients[key] = client  # the one used last is the last that is closed
        if len(_clients) > OPEN_CLIENTS:
            _clients.pop(next(iter(_clients))).close()
    return client._aio  # noqa: SLF001  # the coroutines behind it
