"""Layer: the catalogue. The object's name is the pathId; the data stay where they are."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from geopod.api import names
from geopod.api.common import (
    AS_WHOLE,
    Cidr,
    KeyText,
    Model,
    ObjectMeta,
    ObjectName,
    Port,
    Rule,
    Time,
    Transition,
    Uri,
    keyed_by,
)
from geopod.api.environment_status import Conditions, Count
from geopod.api.kinds import AGE, Column, Kind, condition_column
from geopod.api.layer_sources import MAX_PUBLISHED_FILES


class Timestamp(Model):
    """One state of the layer."""

    id: KeyText
    """timestampId: the key in `params`."""
    uri: Uri | None = None
    """Where the data lie: a path, file://, s3://, gs://, az://, https:// or a search, stac+https://.

    `ellipsis://<pathId>/<timestampId>` is a timestamp of Ellipsis Drive; without one, the newest.
    `store.zarr#t2m@2024-05` names a variable and a time step.
    """
    uris: (
        Annotated[tuple[Uri, ...], Field(min_length=1, max_length=64, json_schema_extra=AS_WHOLE)]
        | None
    ) = None
    """Several files that make one mosaic, in order of priority."""
    date: (
        Annotated[
            str,
            StringConstraints(
                pattern=r"^[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9:]+)?)?)?)?$",
                max_length=40,
            ),
        ]
        | None
    ) = None
    """Date of the data, ISO 8601; latest is the one with the latest date."""
    etag: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Version of the bytes, if the catalogue knows it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.uri) != has(self.uris)",
            "give exactly one of uri and uris.",
            lambda it: (it.uri is None) != (it.uris is None),
        ),
    )


class Credentials(Model):
    """How the data are opened."""

    secret_name: ObjectName
    """Secret with the storage's keys; mounted where user code cannot read it."""


class WriteTarget(Model):
    """Where results that are written to the layer go."""

    uri: Uri
    """Folder, as in a timestamp."""
    format: Literal["tif", "parquet", "gpkg", "fgb", "geojson"] | None = None
    """File format; absent: tif for raster, parquet for vector layers."""


class Endpoint(Model):
    """One address that reading the layer needs; opened in the network policy."""

    cidr: Cidr
    """Range of addresses."""
    port: Port
    """TCP port."""


class LayerSpec(Model):
    """What the layer is and where its data lie."""

    type: Literal["raster", "vector"]
    """What the layer holds; never changes."""
    title: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Title for people."""
    timestamps: Annotated[
        tuple[Timestamp, ...], Field(max_length=500, json_schema_extra=keyed_by("id"))
    ] = ()
    """States of the layer."""
    crs: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    """CRS of sources that lack one: a code like EPSG:4326, or WKT."""
    nodata: float | None = None
    """Nodata value of sources that lack one."""
    volume_claim: ObjectName | None = None
    """PersistentVolumeClaim that holds file:// sources; read-only unless writeTo lies on it."""
    credentials: Credentials | None = None
    """How the data are opened."""
    write_to: WriteTarget | None = None
    """Where results that are written to the layer go."""
    endpoints: Annotated[
        tuple[Endpoint, ...], Field(max_length=16, json_schema_extra=AS_WHOLE)
    ] = ()
    """Addresses that reading the layer needs."""

    TRANSITIONS: ClassVar[tuple[Transition, ...]] = (
        Transition(
            "self == oldSelf",
            "type cannot be changed: create another Layer.",
            lambda old, new: old.type == new.type,
            field="type",
        ),
    )


class PublishedTimestamp(Model):
    """What runs wrote to one timestamp."""

    id: KeyText
    """timestampId."""
    revision: Count
    """Readers follow the highest one."""
    time: Time | None = None
    """When it was published."""
    files: Annotated[
        tuple[Annotated[str, Field(max_length=128)], ...],
        Field(max_length=MAX_PUBLISHED_FILES, json_schema_extra=AS_WHOLE),
    ] = ()
    """Of that revision, in the timestamp's folder; none where there are more."""


class LayerStatus(Model):
    """What became of the layer."""

    observed_generation: Count | None = None
    """Generation of the spec that this status is about."""
    conditions: Conditions = ()
    """Accepted: the spec alone; readability is told per environment."""
    timestamp_count: Count | None = None
    """Timestamps there are, for printing."""
    timestamps: Annotated[
        tuple[PublishedTimestamp, ...], Field(max_length=500, json_schema_extra=keyed_by("id"))
    ] = ()
    """What runs wrote."""


class Layer(Model):
    """A raster or vector layer with its timestamps; its name is the pathId."""

    api_version: Literal["geopod.dev/v1alpha1"] = "geopod.dev/v1alpha1"
    kind: Literal["Layer"] = "Layer"
    metadata: ObjectMeta
    spec: LayerSpec
    """What the layer is and where its data lie."""
    status: LayerStatus | None = None
    """What became of the layer."""


KIND = Kind(
    kind="Layer",
    plural="layers",
    short="lyr",
    namespaced=True,
    name_pattern=names.DNS_SUBDOMAIN,
    name_max=names.NAME_MAX,
    columns=(
        Column("TYPE", ".spec.type"),
        Column("TIMESTAMPS", ".status.timestampCount", "integer"),
        condition_column("ACCEPTED", "Accepted", "status"),
        AGE,
    ),
)
