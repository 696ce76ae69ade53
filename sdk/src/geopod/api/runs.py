"""Runs and environments as coordinator and clients speak of them: the order, and bounded states.

These are the parts of ComputeRun and ComputeEnvironment that a coordinator works with; the
resources themselves, with defaults and limits, are `api.run` and `api.environment`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from geopod.api.bundles import ArgumentsRef, FunctionRef
from geopod.api.results import TaskRecord


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
    protocol: int = 0
    """What its coordinator speaks; 0: none has told yet."""
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
