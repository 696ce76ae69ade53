"""Status of a ComputeEnvironment. Two writers own disjoint fields by server-side apply.

Operator: phase … failures. Coordinator: coordinator … lastActivityTime. Source: the project's
operator design, §2.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from geopod.api.common import (
    AS_WHOLE,
    Interpreter,
    KeyText,
    Model,
    Ranges,
    Sha256,
    Time,
    keyed_by,
)
from geopod.api.conditions import Condition

Count = Annotated[int, Field(ge=0)]
Word = Annotated[str, StringConstraints(max_length=63)]
Token = Annotated[str, StringConstraints(max_length=4096)]
Text = Annotated[str, StringConstraints(max_length=256)]
Conditions = Annotated[
    tuple[Condition, ...], Field(max_length=16, json_schema_extra=keyed_by("type"))
]


class RuntimeInUse(Model):
    """What the nodes run on."""

    name: Word | None = None
    """ComputeRuntime."""
    interpreter: Interpreter | None = None
    """Python of the runner."""
    image: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Image of the runner, with its digest."""
    bundle_key: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Key of the environment bundle; empty: none is needed."""
    lock_sha256: Sha256 | None = None
    """sha256 of the lock that the bundle was installed from."""


class GpusInUse(Model):
    """GPUs that the nodes hold."""

    resource_name: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Resource key."""
    total: Count = 0
    """GPUs of all nodes."""


class Access(Model):
    """Tokens for the artifact store: upload by hash; they start nothing."""

    token: Token | None = None
    """For the environment's own folder."""
    shared_token: Token | None = None
    """For what the namespace shares: files; reads lock and build log."""
    expires_at: Time | None = None
    """When both end."""


class NodeFailure(Model):
    """One node that does not run."""

    index: Count
    """Index of the node."""
    pod: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Its pod."""
    reason: Word
    """Reason as in NodesReady."""
    message: Text = ""
    """What was seen."""
    count: Count = 1
    """How many times."""
    last_time: Time | None = None
    """When last."""


class CoordinatorState(Model):
    """The coordinator that writes this status."""

    pod: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Its pod."""
    epoch: Count = 0
    """Goes up by one with every start; results of a lower one lose."""
    start_time: Time | None = None
    """When it started."""
    protocol: Count = 0
    """Protocol that it speaks with agents."""


class NodeCounts(Model):
    """Nodes by state."""

    connected: Count = 0
    """Agents with an open connection."""
    ready: Count = 0
    """Partition staged and runner warm."""
    busy: Count = 0
    """Running a task."""
    idle: Count = 0
    """Ready and not busy."""
    outdated: Count = 0
    """Of an earlier template."""


class LayerState(Model):
    """One layer as this environment sees it."""

    path_id: KeyText
    """Name of the Layer."""
    timestamp_id: KeyText
    """Timestamp as given."""
    timestamp: Word | None = None
    """Timestamp that latest was resolved to."""
    crs: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """Its CRS."""
    bbox: (
        Annotated[tuple[float, ...], Field(min_length=4, max_length=4, json_schema_extra=AS_WHOLE)]
        | None
    ) = None
    """xMin, yMin, xMax, yMax in its CRS."""
    state: Literal["Reading", "Resolved", "Failed"] = "Reading"
    """Whether its header was read."""
    reason: Text | None = None
    """Why it failed, or what is worth knowing of how it is read."""


class PlanState(Model):
    """The partition plan in use."""

    plan_sha256: Sha256 | None = None
    """Name of the plan in the store."""
    count: Count = 0
    """Partitions."""
    empty: Count = 0
    """Partitions without data."""
    features_outside: Count = 0
    """Features outside the job extent."""


class ComputeEnvironmentStatus(Model):
    """What the environment is."""

    observed_generation: Count | None = None
    """Generation of the spec that this status is about."""
    conditions: Conditions = ()
    """State by aspect; Ready is the summary and copies the worst reason."""
    phase: Word | None = None
    """One word for printing and selecting, derived from the conditions."""
    selector: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Label selector of the node pods, for the scale subresource."""
    replicas: Count | None = None
    """Node pods there are."""
    template_hash: Word | None = None
    """Hash of the pod template that nodes shall have."""
    runtime: RuntimeInUse | None = None
    """What the nodes run on."""
    gpus: GpusInUse | None = None
    """GPUs that the nodes hold."""
    access: Access | None = None
    """Tokens for the artifact store."""
    idle_since: Time | None = None
    """Since when nobody uses the nodes."""
    suspended_at: Time | None = None
    """When it was last put to sleep."""
    resumed_at: Time | None = None
    """When it last woke up."""
    failures: Annotated[
        tuple[NodeFailure, ...], Field(max_length=10, json_schema_extra=AS_WHOLE)
    ] = ()
    """The first ten nodes that do not run."""
    coordinator: CoordinatorState | None = None
    """The coordinator that writes this status."""
    nodes: NodeCounts | None = None
    """Nodes by state."""
    drained: Ranges | None = None
    """Indexes of nodes that hold no task and may be replaced."""
    lost: Ranges | None = None
    """Indexes of nodes that do not answer."""
    layers: Annotated[
        tuple[LayerState, ...],
        Field(max_length=64, json_schema_extra=keyed_by("pathId", "timestampId")),
    ] = ()
    """The layers as this environment sees them."""
    partitioning: PlanState | None = None
    """The partition plan in use."""
    active_runs: Count | None = None
    """Runs that are running."""
    queued_runs: Count | None = None
    """Runs that wait."""
    last_activity_time: Time | None = None
    """Last end or start of a run; idle time and TTL count from here."""
