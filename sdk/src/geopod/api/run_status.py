"""Status of a ComputeRun: under 16 kB for any number of tasks; detail is in the manifest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from geopod.api.common import AS_WHOLE, Model, Sha256, Time
from geopod.api.environment_status import Conditions, Count, Text, Token, Word

LongRanges = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$", max_length=4096),
]


class TaskCounts(Model):
    """Tasks by state."""

    total: Count = 0
    """All tasks."""
    pending: Count = 0
    """Not started."""
    running: Count = 0
    """Running now."""
    succeeded: Count = 0
    """Result committed."""
    failed: Count = 0
    """Given up."""
    retried: Count = 0
    """Attempts beyond the first."""


class TaskFailure(Model):
    """One failed task."""

    index: Count
    """Index of the task."""
    node: Count
    """Node of its last attempt."""
    attempt: Count
    """Attempts it had."""
    reason: Word
    """Exception, Timeout, OutOfMemory …"""
    exception: Text | None = None
    """Type and message of the user's exception."""
    log_sha256: Sha256 | None = None
    """sha256 of its log."""


class InlineResult(Model):
    """A copy of one small result; the store stays the truth."""

    index: Count
    """Index of the task."""
    codec: Annotated[str, StringConstraints(max_length=32)]
    """How it is encoded."""
    record: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """What the manifest says of the task, as JSON."""
    data: Annotated[str, StringConstraints(max_length=5464)]
    """The bytes in base64."""


class RunResults(Model):
    """Where the results are."""

    manifest_sha256: Sha256 | None = None
    """sha256 of the result manifest."""
    bytes: Count = 0
    """Bytes of all results."""
    expires_at: Time | None = None
    """When they are deleted."""
    token: Token | None = None
    """Reads this run's results."""
    inline: Annotated[
        tuple[InlineResult, ...], Field(max_length=128, json_schema_extra=AS_WHOLE)
    ] = ()
    """Copies of results, at most 4096 bytes in all."""


class Timings(Model):
    """How long the parts of the run took, in milliseconds."""

    queue_ms: Count | None = None
    """From creation to acceptance."""
    dispatch_ms: Count | None = None
    """From acceptance to the first task."""
    p50_ms: Count | None = None
    """Half of the tasks took no longer."""
    p99_ms: Count | None = None
    """99 of 100 tasks took no longer."""


class ComputeRunStatus(Model):
    """How the run goes."""

    observed_generation: Count | None = None
    """Generation of the spec that this status is about."""
    conditions: Conditions = ()
    """Accepted, Dispatched, Complete or Failed, ResultsAvailable."""
    phase: Literal["Queued", "Running", "Succeeded", "Failed", "Cancelled"] | None = None
    """Absent until the run is accepted or refused."""
    environment_uid: Annotated[Word | None, Field(alias="environmentUID")] = None
    """uid of the environment, bound on acceptance."""
    start_time: Time | None = None
    """First task."""
    completion_time: Time | None = None
    """End of the run."""
    coordinator_epoch: Count | None = None
    """Epoch of the coordinator that wrote this."""
    plan_sha256: Sha256 | None = None
    """The partition plan that its tasks see: `plans/<sha256>.json` of the environment."""
    tasks: TaskCounts | None = None
    """Tasks by state."""
    completed_indexes: LongRanges | None = None
    """Indexes of succeeded tasks."""
    failed_indexes: LongRanges | None = None
    """Indexes of failed tasks."""
    indexes_truncated: bool | None = None
    """The two lists are cut; the manifest is whole."""
    progress_percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    """Never goes backwards."""
    progress: Annotated[str, StringConstraints(max_length=256)] | None = None
    """What the running task that is least far says of itself: `62 % band 4`."""
    estimated_remaining_seconds: Count | None = None
    """Estimate of the time left."""
    failures: Annotated[
        tuple[TaskFailure, ...], Field(max_length=10, json_schema_extra=AS_WHOLE)
    ] = ()
    """The first ten failed tasks."""
    results: RunResults | None = None
    """Where the results are."""
    timings: Timings | None = None
    """How long the parts of the run took."""
