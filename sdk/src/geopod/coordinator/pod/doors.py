"""The ports of a coordinator's pod, open before anybody serves: whoever comes early waits there."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from geopod.coordinator.pod.settings import PodSettings
from geopod.coordinator.sockets import listen_tcp


@dataclass(frozen=True, slots=True)
class Doors:
    """Two listening sockets."""

    agents: socket.socket
    """They start beside their coordinator; one that finds no door comes back later."""
    health: socket.socket
    """The kubelet asks once a second: a question that waits is answered when there is an answer."""


def open_doors(pod: PodSettings) -> Doors:
    """Return the sockets, listening."""
    return Doors(agents=listen_tcp("", pod.port), health=listen_tcp("", pod.metrics_port))
