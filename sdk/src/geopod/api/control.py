"""What a client on the same machine and the coordinator say to each other.

Encoding as in `api.messages`, over the environment's Unix socket, each message with a u32
little-endian length before it.
"""

from __future__ import annotations

import msgspec

from geopod.api.messages import Bye, Message
from geopod.api.runs import EnvironmentState, RunOrder, RunState


class Submit(Message, frozen=True, tag=True):
    """Take this run and tell me how it goes."""

    order: RunOrder
    watch: bool = True
    is_new: bool = False
    """Nobody has seen this run: no coordinator has begun it, and its client stores the order now,
    before anybody hears of the run. False: the order is stored, and the run may have ended."""


class WatchRun(Message, frozen=True, tag=True):
    """Tell me how this run goes: at once, on change (at most once a second), at the end."""

    run: str


class WatchEnvironment(Message, frozen=True, tag=True):
    """Tell me how the environment is: at once and on every change."""


class CancelRun(Message, frozen=True, tag=True):
    """Cancel a run, or some of its tasks."""

    run: str
    indexes: list[int] | None = None


class Configure(Message, frozen=True, tag=True):
    """The spec has changed: its number of nodes, its layers (plan anew), or its limits alone."""

    nodes: int | None = None
    refresh: bool = False
    hold: bool = False
    """The processes are to be exchanged: runs over partitions wait for the plan of those to come.
    Nothing else is done."""


class RunUpdate(Message, frozen=True, tag=True):
    """Coordinator -> client: a run's state."""

    state: RunState


class EnvironmentUpdate(Message, frozen=True, tag=True):
    """Coordinator -> client: the environment's state."""

    state: EnvironmentState


class Problem(Message, frozen=True, tag=True):
    """Coordinator -> client: a request that could not be served."""

    about: str
    reason: str
    message: str


FromClient = Submit | WatchRun | WatchEnvironment | CancelRun | Configure | Bye
ToClient = RunUpdate | EnvironmentUpdate | Problem | Bye

decode_from_client = msgspec.msgpack.Decoder(FromClient).decode
decode_to_client = msgspec.msgpack.Decoder(ToClient).decode
