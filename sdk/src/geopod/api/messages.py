"""What the coordinator and the agents say to each other: typed, versioned.

Encoding: msgpack maps with a tag `t`, at most 1 MiB each (`encode`, `decode`). Bulk data never
travels here but through the store. Agents speak over a WebSocket (subprotocol `geopod.v1`). What
a local client says is in `api.control`.
"""

from __future__ import annotations

import hmac
from typing import Literal

import msgspec

from geopod.api.bundles import ArgumentsRef, FunctionRef
from geopod.api.results import Failure, TaskRecord

PROTOCOL = 1
"""What this release speaks: messages, orders and the half of a status that coordinators write.

It rises when a part of an earlier release could misread something; `RELEASES` gets a line then.
"""
RELEASES = {1: "0.1"}
"""Protocol -> the first release that speaks it."""
MAX_MESSAGE_BYTES = 1 << 20
HEARTBEAT_S = 5.0
"""The agent's heartbeat; no PONG for 3 of them: suspect; for 6: lost."""


def is_served(protocol: int, *, by: int = PROTOCOL) -> bool:
    """Say whether a coordinator that speaks `by` serves who speaks `protocol`: its own, one less.

    Coordinators are updated first; their agents and clients follow one by one.
    """
    return by - 1 <= protocol <= by


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t"):
    """Base of every message; the tag is the class's name."""


def hello_mac(link_key: bytes, nonce: bytes, instance: str, index: int) -> str:
    """Return the proof that an agent puts in its HELLO: it holds the environment's link key."""
    return hmac.new(link_key, nonce + f"{instance}/{index}".encode(), "sha256").hexdigest()


# ---- coordinator -> agent


class Challenge(Message, frozen=True, tag=True):
    """The first word on a connection: prove that you hold the environment's link key."""

    nonce: bytes
    protocol: int = PROTOCOL


class Welcome(Message, frozen=True, tag=True):
    """The agent is a member: its epoch, the plan to stage from, and its own partitions."""

    epoch: int
    environment_uid: str
    heartbeat_s: float = HEARTBEAT_S
    plan_sha256: str = ""
    partitions: list[int] = []


class Refused(Message, frozen=True, tag=True):
    """The agent is no member (BadMac, Duplicate, NotMember, Protocol); it waits and dials again."""

    reason: str
    message: str


class Stage(Message, frozen=True, tag=True):
    """Bring one partition of a plan to scratch."""

    plan_sha256: str
    partition: int


class Assign(Message, frozen=True, tag=True):
    """Run these tasks one after the other in the run's child; report each of them once."""

    lease: str
    epoch: int
    run: str
    """The run's uid."""
    tasks: list[tuple[int, int]]
    """(index, attempt) of each task."""
    function: FunctionRef
    arguments: ArgumentsRef | None = None
    plan_sha256: str = ""
    partition: int | None = None
    """Partition whose layers `f` sees; None: `params` holds files only."""
    total: int = 1
    """How many tasks the run has: `ctx.total`."""
    timeout_s: float = 1800.0
    """One attempt of one task."""
    large_result: bool = False
    write_to: dict[str, str] | None = None
    """`{kind: raster|vector, format}`: results are encoded as files for a layer."""
    on_empty: Literal["skip", "call", "error"] = "skip"


class Committed(Message, frozen=True, tag=True):
    """These tasks of the lease are in the manifest; their scratch may go."""

    lease: str
    indexes: list[int]


class Cancel(Message, frozen=True, tag=True):
    """Stop tasks of a lease: SIGTERM, `grace_s`, SIGKILL. `indexes` None: the whole lease."""

    lease: str
    indexes: list[int] | None = None
    grace_s: float = 30.0


class EndRun(Message, frozen=True, tag=True):
    """No more tasks of this run will come: its child may go, a fresh one stands by."""

    run: str


class Drain(Message, frozen=True, tag=True):
    """Take no more work and hand back what has not started."""


class Ping(Message, frozen=True, tag=True):
    """Are you there? `time` comes back in the PONG."""

    time: float


# ---- agent -> coordinator


class HeldLease(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that the agent still holds when it dials again: tasks not yet reported."""

    lease: str
    run: str
    tasks: list[tuple[int, int]]
    epoch: int
    plan_sha256: str = ""
    """Whose partitions they are; empty: of none, or the agent does not say."""


class Hello(Message, frozen=True, tag=True):
    """Who the agent is. `mac` is `hello_mac` of this connection's nonce."""

    mac: str
    instance: str
    """The pod's uid, or the process's own on one machine: a restarted agent has a new one."""
    index: int
    protocol: int = PROTOCOL
    python: str = ""
    """Minor version of the runner's interpreter, `3.12`."""
    template_hash: str = ""
    """Of the pod template that the node was made from; empty: it is no pod."""
    slots: int = 1
    memory_bytes: int = 0
    leases: list[HeldLease] = []
    staged: list[tuple[str, int]] = []
    """(plan sha256, partition) already on scratch."""


class Staged(Message, frozen=True, tag=True):
    """A partition is on scratch, or why not."""

    plan_sha256: str
    partition: int
    bytes: int = 0
    seconds: float = 0.0
    empty: bool = False
    failure: Failure | None = None


class RunnerState(Message, frozen=True, tag=True):
    """The node's runner is warm, or gone (the agent waits for it to come back)."""

    ready: bool
    python: str = ""
    message: str = ""


class Started(Message, frozen=True, tag=True):
    """The lease's first task is running."""

    lease: str
    epoch: int


class Progress(Message, frozen=True, tag=True):
    """What one running task says of itself; at most one per task and second."""

    lease: str
    epoch: int
    index: int
    fraction: float | None = None
    text: str = ""


class Done(Message, frozen=True, tag=True):
    """Results of these tasks may be committed: they lie in the store, or in their entries."""

    lease: str
    epoch: int
    run: str
    records: list[TaskRecord]


class Failed(Message, frozen=True, tag=True):
    """One attempt of one task failed; the others of the lease go on."""

    lease: str
    epoch: int
    run: str
    record: TaskRecord
    """`record.failure` is set."""


class HandedBack(Message, frozen=True, tag=True):
    """Tasks of a lease that never started: drained, or the function's child could not start."""

    lease: str
    epoch: int
    indexes: list[int]
    reason: str = ""


class Pong(Message, frozen=True, tag=True):
    """The answer to PING."""

    time: float
    memory_bytes: int = 0
    busy: int = 0


class Bye(Message, frozen=True, tag=True):
    """Closing in good order; both sides."""

    reason: str = ""


FromCoordinator = (
    Challenge
    | Welcome
    | Refused
    | Stage
    | Assign
    | Committed
    | Cancel
    | EndRun
    | Drain
    | Ping
    | Bye
)
FromAgent = (
    Hello | Staged | RunnerState | Started | Progress | Done | Failed | HandedBack | Pong | Bye
)

encode = msgspec.msgpack.Encoder().encode
"""Encode any message of this module."""
decode_from_coordinator = msgspec.msgpack.Decoder(FromCoordinator).decode
decode_from_agent = msgspec.msgpack.Decoder(FromAgent).decode
