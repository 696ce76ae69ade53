"""ComputeRun: one function over the nodes of an environment. Its spec never changes.

Source of fields, limits and defaults: the project's operator design, §1 and §2.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from geopod.api import names
from geopod.api.common import (
    AS_SET,
    Artifact,
    EnvironmentName,
    KeyText,
    Model,
    ObjectMeta,
    Ranges,
    Rule,
    Sha256,
    Transition,
    immutable,
)
from geopod.api.kinds import AGE, Column, Kind, condition_column
from geopod.api.run_status import ComputeRunStatus

MAX_INLINE_CHARACTERS = 174_764
"""128 KiB in base64."""
Inline = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=MAX_INLINE_CHARACTERS),
]
"""Base64. Not `format: byte`: CEL reads that as URL-safe base64 and refuses `+` and `/`."""
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9A-Za-z]+)*$", max_length=32)]

ONE_PAYLOAD = Rule(
    "has(self.inline) != has(self.artifact)",
    "give exactly one of inline (up to 128 KiB) and artifact.",
    lambda it: (it.inline is None) != (it.artifact is None),
)


class Function(Model):
    """The function: bytes that only the runner's child opens."""

    format: Literal["cloudpickle", "source", "bundle"]
    """What the bytes are."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """Qualified name, for people."""
    sha256: Sha256
    """sha256 of the bytes."""
    python_version: Version
    """Minor version that it was captured on, `3.12`; bytecode runs on no other."""
    cloudpickle_version: Version | None = None
    """cloudpickle that made it."""
    inline: Inline | None = None
    """The bytes in base64, up to 128 KiB."""
    artifact: Artifact | None = None
    """The bytes in the store."""

    RULES: ClassVar[tuple[Rule, ...]] = (ONE_PAYLOAD,)


class EncodedArguments(Model):
    """Arguments of the function, encoded; never unpickled outside the child."""

    format: Literal["pickle", "json"]
    """What the bytes are."""
    sha256: Sha256
    """sha256 of the bytes."""
    inline: Inline | None = None
    """The bytes in base64, up to 128 KiB."""
    artifact: Artifact | None = None
    """The bytes in the store."""

    RULES: ClassVar[tuple[Rule, ...]] = (ONE_PAYLOAD,)


class MapItems(Model):
    """What a Map run maps over."""

    artifact: Artifact
    """The encoded arguments of all tasks, in the store."""
    count: Annotated[int, Field(ge=1, le=1_000_000)]
    """Number of tasks."""
    batch: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Tasks handed to a node at once; absent: chosen by how long they take."""


class Retries(Model):
    """Which failures are tried again; each class has its own budget, at most 16 attempts in all."""

    limit: Annotated[int, Field(ge=0, le=10)] = 2
    """Retries of each class."""
    on: Annotated[
        tuple[Literal["Infra", "Timeout", "OOM", "Exception"], ...],
        Field(max_length=4, json_schema_extra=AS_SET),
    ] = ("Infra",)
    """Classes that are retried; Infra: lost node, eviction, failed commit."""


class WriteToLayer(Model):
    """The layer timestamp that the results become."""

    path_id: KeyText
    """Name of the Layer."""
    timestamp_id: KeyText
    """Its timestamp; created if absent."""
    format: Literal["tif", "parquet", "gpkg", "fgb", "geojson"] | None = None
    """File format; absent: tif for raster, parquet for vector layers."""
    partial: bool = False
    """Publish with holes when some tasks failed."""


class ComputeRunSpec(Model):
    """What shall run; all of it is fixed at creation, but cancel."""

    environment: EnvironmentName
    """The ComputeEnvironment."""
    function: Function | None = None
    """The function, with modes PerNode and Map."""
    arguments: EncodedArguments | None = None
    """More arguments of the function."""
    mode: Literal["PerNode", "Map", "Publish"] = "PerNode"
    """One task per node, one per argument, or results of earlier runs into a layer."""
    partitions: Ranges | None = None
    """With PerNode: only these partitions, `0-3,9`."""
    map: MapItems | None = None
    """With Map: the arguments."""
    publish: (
        Annotated[
            tuple[Annotated[str, StringConstraints(min_length=1, max_length=512)], ...],
            Field(max_length=1000, json_schema_extra=AS_SET),
        ]
        | None
    ) = None
    """With Publish: file ids of earlier runs."""
    timeout_seconds: Annotated[int, Field(ge=1, le=604_800)] = 1800
    """One attempt of one task."""
    queue_timeout_seconds: Annotated[int, Field(ge=0, le=604_800)] = 3600
    """How long the run waits for a ready environment."""
    run_timeout_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """The whole run; absent: no limit."""
    retries: Retries = Retries()
    """Which failures are tried again."""
    failure_policy: Literal["Continue", "FailFast"] = "Continue"
    """FailFast: the first failure cancels the other tasks."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Higher runs first; then the older one."""
    cancel: bool = False
    """Stop the run; finished results stay. Cannot be taken back."""
    on_empty: Literal["skip", "call", "error"] = "skip"
    """What happens in a partition without data."""
    write_to_layer: WriteToLayer | None = None
    """Make the results a layer timestamp."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] = 604_800
    """This resource is deleted so long after its end; results have their own term."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.__function__) == (self.mode in ['PerNode', 'Map'])",
            "function goes with modes PerNode and Map: add it, or drop it for Publish.",
            lambda it: (it.function is not None) == (it.mode in {"PerNode", "Map"}),
        ),
        Rule(
            "has(self.map) == (self.mode == 'Map')",
            "map goes with mode Map: give both or neither.",
            lambda it: (it.map is not None) == (it.mode == "Map"),
        ),
        Rule(
            "has(self.publish) == (self.mode == 'Publish')",
            "publish goes with mode Publish: give both or neither.",
            lambda it: (it.publish is not None) == (it.mode == "Publish"),
        ),
        Rule(
            "!has(self.partitions) || self.mode == 'PerNode'",
            "partitions goes with mode PerNode: drop it.",
            lambda it: it.partitions is None or it.mode == "PerNode",
        ),
        Rule(
            "self.mode != 'Publish' || has(self.writeToLayer)",
            "mode Publish needs writeToLayer.",
            lambda it: it.mode != "Publish" or it.write_to_layer is not None,
        ),
        Rule(
            "!has(self.runTimeoutSeconds) || self.runTimeoutSeconds >= self.timeoutSeconds",
            "runTimeoutSeconds must be at least timeoutSeconds.",
            lambda it: (
                it.run_timeout_seconds is None or it.run_timeout_seconds >= it.timeout_seconds
            ),
        ),
    )
    TRANSITIONS: ClassVar[tuple[Transition, ...]] = (
        Transition(
            "!oldSelf.cancel || self.cancel",
            "cancel cannot be taken back: submit another run.",
            lambda old, new: not old.cancel or new.cancel,
        ),
        *(
            immutable(field)
            for field in (
                "environment", "function", "arguments", "mode", "partitions", "map", "publish",
                "timeoutSeconds", "queueTimeoutSeconds", "runTimeoutSeconds", "retries",
                "failurePolicy", "priority", "onEmpty", "writeToLayer", "ttlSecondsAfterFinished",
            )
        ),
    )  # fmt: skip  # sixteen names read better in four lines


class ComputeRun(Model):
    """One function over the nodes of an environment, or over a list of arguments."""

    api_version: Literal["geopod.dev/v1alpha1"] = "geopod.dev/v1alpha1"
    kind: Literal["ComputeRun"] = "ComputeRun"
    metadata: ObjectMeta
    spec: ComputeRunSpec
    """What shall run."""
    status: ComputeRunStatus | None = None
    """How it goes."""


KIND = Kind(
    kind="ComputeRun",
    plural="computeruns",
    short="crun",
    namespaced=True,
    name_pattern=names.DNS_LABEL,
    name_max=names.NAME_MAX,
    selectable=(".spec.environment", ".status.phase"),
    columns=(
        Column("ENVIRONMENT", ".spec.environment"),
        Column("PHASE", ".status.phase"),
        Column("DONE", ".status.tasks.succeeded", "integer"),
        Column("TOTAL", ".status.tasks.total", "integer"),
        Column("FAILED", ".status.tasks.failed", "integer"),
        Column("PROGRESS", ".status.progressPercentage", "integer"),
        AGE,
        condition_column("REASON", "Failed", "reason", wide=True),
        Column("BYTES", ".status.results.bytes", "integer", wide=True),
        Column("EXPIRES", ".status.results.expiresAt", wide=True),
    ),
)
