"""What the coordinator, the agents and a local client say to each other: typed, versioned.

Encoding: msgpack maps with a tag `t`, at most 1 MiB each (`encode`, `decode`). Bulk data never
travels here but through the store. Agents speak over a WebSocket (subprotocol `geopod.v1`); a
local client speaks the same frames over the environment's Unix socket, each with a u32
little-endian length before it.
"""

from __future__ import annotations

import hmac
from typing import Any, Literal

import msgspec

from geopod.api.bundles import ArgumentsRef, FunctionRef
from geopod.api.results import Failure, TaskRecord

PROTOCOL = 1
MAX_MESSAGE_BYTES = 1 << 20
HEARTBEAT_S = 5.0
"""The agent's heartbeat; no PONG for 3 of them: suspect; for 6: lost."""


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


class Hello(Message, frozen=True, tag=True):
    """Who the agent is. `mac` is `hello_mac` of this connection's nonce."""

    mac: str
    instance: str
    """The pod's uid, or the process's own on one machine: a restarted agent has a new one."""
    index: int
    protocol: int = PROTOCOL
    python: str = ""
    """Minor version of the runner's interpreter, `3.12`."""
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
    """Results of these tasks lie in the store and may be committed."""

    lease: str
    epoch: int
    run: str
    records: list[TaskRecord]
    inline: dict[int, bytes] = {}
    """Copies of results of at most 4 KiB in all, by index; the store stays the truth."""


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


# ---- runs, as the coordinator sees them


class RetryRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`spec.retries`: each named class has its own budget of `limit` retries."""

    limit: int = 2
    on: tuple[Literal["Infra", "Timeout", "OOM", "Exception"], ...] = ("Infra",)


class RunOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ComputeRun as the coordinator dispatches it; stored as JSON under `names.order_key`."""

    uid: str
    name: str
    environment: str
    """The environment's uid."""
    created: float
    """Seconds since the epoch."""
    function: FunctionRef
    mode: Literal["PerNode", "Map"] = "PerNode"
    arguments: ArgumentsRef | None = None
    count: int = 0
    """How many tasks: of a map its arguments, per node the nodes at submission (0: take them)."""
    partitions: list[int] | None = None
    """PerNode: only these; None: all."""
    batch: int = 0
    """Map: tasks handed over together at most; 0: chosen by their duration."""
    timeout_s: float = 1800.0
    queue_timeout_s: float = 3600.0
    run_timeout_s: float | None = None
    retries: RetryRule = RetryRule()
    failure_policy: Literal["Continue", "FailFast"] = "Continue"
    priority: int = 0
    on_empty: Literal["skip", "call", "error"] = "skip"
    large_result: bool = False
    write_to: dict[str, str] | None = None
    tags: list[str] = []
    rerun_of: str = ""
    """Name of the run whose chosen tasks this one runs again."""
    rerun_tasks: list[int] = []
    """Which of its tasks, in the order of this run's own."""


class RunState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run's bounded status (the M part of ComputeRun.status): under 16 kB for any count."""

    uid: str
    name: str
    environment: str
    phase: Literal["", "Queued", "Running", "Succeeded", "Failed", "Cancelled"] = ""
    reason: str = ""
    """Of the terminal condition (TaskFailed, DeadlineExceeded, …) or why it is not accepted."""
    message: str = ""
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    epoch: int = 0
    plan_sha256: str = ""
    """The plan that its partitions are of; a restarted coordinator keeps to it."""
    total: int = 0
    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    completed_indexes: str = ""
    failed_indexes: str = ""
    """Compressed ranges `0-3,9`, at most 4096 characters."""
    indexes_truncated: bool = False
    failures: list[TaskRecord] = []
    """The first ten."""
    progress: str = ""
    """What the slowest running task says of itself."""
    chunks: int = 0
    """How many manifest chunks exist: a watcher reads the new ones."""
    inline: dict[int, bytes] = {}
    """Copies of results, at most 4 KiB in all; only in a finished run's state."""
    records: list[TaskRecord] = []
    """Records of the inline copies, so that a tiny run needs no fetch."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """A metav1 condition in small."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""


class EnvironmentState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An environment's status as its coordinator sees it."""

    uid: str
    name: str
    phase: Literal["Pending", "Starting", "Ready", "Suspended", "Terminated", "Failed"] = "Pending"
    reason: str = ""
    message: str = ""
    code: str = ""
    """The public error's code when `phase` is Failed."""
    fixes: list[str] = []
    details: dict[str, Any] = {}
    conditions: list[Condition] = []
    epoch: int = 0
    nodes: int = 0
    connected: int = 0
    staged: int = 0
    ready: int = 0
    busy: int = 0
    lost: str = ""
    """Compressed ranges of node indexes."""
    python: str = ""
    plan_sha256: str = ""
    layers: list[dict[str, Any]] = []
    active_runs: int = 0
    queued_runs: int = 0
    last_activity: float = 0.0


# ---- local client -> coordinator, over the environment's Unix socket


class Submit(Message, frozen=True, tag=True):
    """Take this run (already written to the store) and tell me how it goes."""

    order: RunOrder
    watch: bool = True


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
    """The environment's spec has changed: another number of nodes, or plan the layers anew."""

    nodes: int | None = None
    refresh: bool = False


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
FromClient = Submit | WatchRun | WatchEnvironment | CancelRun | Configure | Bye
ToClient = RunUpdate | EnvironmentUpdate | Problem | Bye

encode = msgspec.msgpack.Encoder().encode
"""Encode any message of this module."""
decode_from_coordinator = msgspec.msgpack.Decoder(FromCoordinator).decode
decode_from_agent = msgspec.msgpack.Decoder(FromAgent).decode
decode_from_client = msgspec.msgpack.Decoder(FromClient).decode
decode_to_client = msgspec.msgpack.Decoder(ToClient).decode
