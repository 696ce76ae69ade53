"""ComputeEnvironment: N warm nodes beside some layers. What a user may ask for.

Source of fields, limits and defaults: the project's operator design, §1. Its status:
`environment_status.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator

from geopod.api import names
from geopod.api.common import (
    AS_SET,
    AS_WHOLE,
    INT_OR_STRING,
    DnsLabel,
    Interpreter,
    KeyText,
    Model,
    ObjectMeta,
    ObjectName,
    Resources,
    Rule,
    keyed_by,
)
from geopod.api.environment_status import ComputeEnvironmentStatus
from geopod.api.kinds import AGE, Column, Kind, condition_column
from geopod.api.partitioning import Partitioning
from geopod.api.pod import PodTemplate
from geopod.api.policies import HistoryLimit, Idle, Network, Results, Rollout
from geopod.api.requirements import MAX_REQUIREMENTS, PATTERN, check_requirements

FileId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Band = Annotated[
    Annotated[int, Field(ge=1)] | Annotated[str, StringConstraints(max_length=128)],
    Field(json_schema_extra=INT_OR_STRING),
]
"""1-based number or name of a band."""
Requirement = Annotated[str, StringConstraints(pattern=PATTERN, min_length=1, max_length=512)]


class LayerReference(Model):
    """One layer at one timestamp: one key of `params`."""

    path_id: KeyText
    """Name of the Layer."""
    timestamp_id: KeyText = "latest"
    """Timestamp of the Layer, and the key in `params`; latest is resolved into status."""
    bands: Annotated[tuple[Band, ...], Field(max_length=64, json_schema_extra=AS_WHOLE)] = ()
    """Bands to deliver, by name or 1-based number, in this order; empty: all."""
    resampling: Literal[
        "nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "max", "min",
        "med", "q1", "q3", "sum", "rms",
    ] = "nearest"  # fmt: skip  # one word per line says no more
    """How pixels are resampled where the layer's grid is not the work grid's."""


class Gpu(Model):
    """GPUs of one node."""

    resource_name: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Resource key, `nvidia.com/gpu`; absent: the runtime's first GPU profile."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """GPUs per node."""


class SecretKey(Model):
    """One key of a Secret."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Key inside it."""


class EnvironmentVariable(Model):
    """One environment variable of the runner."""

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", min_length=1, max_length=128),
    ]
    """Name; GEOPOD_ is reserved."""
    value: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """Its value."""
    secret_key_ref: SecretKey | None = None
    """Where its value lies."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.name.startsWith('GEOPOD_')",
            "names that start with GEOPOD_ are geopod's: use another name.",
            lambda it: not it.name.startswith("GEOPOD_"),
        ),
        Rule(
            "has(self.value) != has(self.secretKeyRef)",
            "give exactly one of value and secretKeyRef.",
            lambda it: (it.value is None) != (it.secret_key_ref is None),
        ),
    )


class SecretUse(Model):
    """A Secret that user code may read."""

    name: ObjectName
    """Name of the Secret."""
    as_: Annotated[Literal["Env", "Files"], Field(alias="as")] = "Files"
    """Env: its keys are variables. Files: they lie under /geopod/secrets/<name>."""


class ComputeEnvironmentSpec(Model):
    """What the environment shall be."""

    runtime: DnsLabel = "default"
    """ComputeRuntime that offers images and defaults."""
    layers: Annotated[
        tuple[LayerReference, ...],
        Field(max_length=64, json_schema_extra=keyed_by("pathId", "timestampId")),
    ] = ()
    """Layers that functions see, in the order of the keys of `params`."""
    files: Annotated[tuple[FileId, ...], Field(max_length=64, json_schema_extra=AS_SET)] = ()
    """Ids of plain files in the store; each node gets them whole."""
    nodes: Annotated[int, Field(ge=0, le=1000)] = 1
    """Number of nodes, one partition each; 0: asleep by hand."""
    interpreter: Interpreter = "python3.12"
    """Python of the runner, a name in the runtime."""
    requirements: Annotated[
        tuple[Requirement, ...], Field(max_length=MAX_REQUIREMENTS, json_schema_extra=AS_WHOLE)
    ] = ()
    """PEP 508 requirements, installed once for all nodes."""
    large_result: bool = False
    """Results may be larger than 2 MiB; files come back as handles."""
    enable_gpu: bool = False
    """Give each node GPUs."""
    suspend: bool = False
    """Asleep until this is false again; runs wait."""
    gpu: Gpu | None = None
    """Which GPUs, with enableGpu."""
    resources: Resources | None = None
    """Resources of the runner; what is absent comes from the runtime."""
    env: Annotated[
        tuple[EnvironmentVariable, ...], Field(max_length=100, json_schema_extra=keyed_by("name"))
    ] = ()
    """Environment variables of the runner."""
    secrets: Annotated[
        tuple[SecretUse, ...], Field(max_length=16, json_schema_extra=keyed_by("name"))
    ] = ()
    """Secrets that user code may read."""
    partitioning: Partitioning = Partitioning()
    """How the layers are cut into one part per node."""
    idle: Idle | None = None
    """What happens to nodes that nobody uses; absent: they stay."""
    ttl_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """The environment is deleted this long after its last activity; absent: never."""
    template: PodTemplate | None = None
    """Guarded pod overrides."""
    node_failure_policy: Literal["Wait", "Replace"] = "Wait"
    """Whether pods of a dead machine are replaced by force."""
    replace_after_seconds: Annotated[int, Field(ge=30, le=3600)] | None = None
    """How long a machine is dead before its pods are replaced; absent: 120."""
    rollout: Rollout = Rollout()
    """How changed requirements, images and resources reach the nodes."""
    min_ready_nodes: Annotated[int, Field(ge=1, le=1000)] = 1
    """Runs start when so many nodes are ready."""
    max_concurrent_runs: Annotated[int, Field(ge=1, le=100)] = 8
    """Runs that may run at once; the others queue."""
    max_queued_runs: Annotated[int, Field(ge=0, le=10_000)] = 1000
    """Runs that may queue; more are refused until there is room."""
    network: Network = Network()
    """What nodes may reach."""
    results: Results = Results()
    """How long results and logs are kept."""
    history_limit: HistoryLimit = HistoryLimit()
    """How many finished runs stay listed."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.enableGpu || !has(self.gpu)",
            "gpu needs enableGpu: true.",
            lambda it: it.enable_gpu or it.gpu is None,
        ),
        Rule(
            "!has(self.ttlSeconds) || !has(self.idle) || self.ttlSeconds >= self.idle.afterSeconds",
            "ttlSeconds must be at least idle.afterSeconds.",
            lambda it: (
                it.ttl_seconds is None or it.idle is None or it.ttl_seconds >= it.idle.after_seconds
            ),
        ),
        Rule(
            "!has(self.replaceAfterSeconds) || self.nodeFailurePolicy == 'Replace'",
            "replaceAfterSeconds needs nodeFailurePolicy: Replace.",
            lambda it: it.replace_after_seconds is None or it.node_failure_policy == "Replace",
        ),
    )

    @field_validator("requirements", mode="before")
    @classmethod
    def _are_requirements(cls, value: Sequence[str]) -> Sequence[str]:
        check_requirements(value)
        return value


class ComputeEnvironment(Model):
    """N warm nodes beside some layers, each with its own spatial partition of every layer."""

    api_version: Literal["geopod.dev/v1alpha1"] = "geopod.dev/v1alpha1"
    kind: Literal["ComputeEnvironment"] = "ComputeEnvironment"
    metadata: ObjectMeta
    spec: ComputeEnvironmentSpec
    """What the environment shall be."""
    status: ComputeEnvironmentStatus | None = None
    """What it is."""


KIND = Kind(
    kind="ComputeEnvironment",
    plural="computeenvironments",
    short="cenv",
    namespaced=True,
    name_pattern=names.ENVIRONMENT_PATTERN,
    name_max=names.ENVIRONMENT_MAX,
    scale=(".spec.nodes", ".status.replicas", ".status.selector"),
    columns=(
        condition_column("READY", "Ready", "status"),
        Column("NODES", ".spec.nodes", "integer"),
        Column("READY-NODES", ".status.nodes.ready", "integer"),
        Column("GPUS", ".status.gpus.total", "integer"),
        Column("PYTHON", ".status.runtime.interpreter"),
        Column("RUNS", ".status.activeRuns", "integer"),
        condition_column("REASON", "Ready", "reason"),
        AGE,
        Column("IDLE-SINCE", ".status.idleSince", "date", wide=True),
        Column("EPOCH", ".status.coordinator.epoch", "integer", wide=True),
        Column("BUNDLE", ".status.runtime.bundleKey", wide=True),
    ),
)
