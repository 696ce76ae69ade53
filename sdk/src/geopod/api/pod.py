"""Guarded pod overrides: what an environment or a runtime may set on node pods, no more."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from geopod.api.common import (
    AS_WHOLE,
    DnsLabel,
    LocalReference,
    Model,
    ObjectName,
    Rule,
    keyed_by,
)

OWN_PREFIXES = ("geopod.dev/", "app.kubernetes.io/")
OWN_MOUNTS = ("/geopod", "/scratch")
KEYS_CEL = "self.all(k, !k.startsWith('geopod.dev/') && !k.startsWith('app.kubernetes.io/'))"
MOUNT_PATH = r"^(/([^/:.][^/:]*|\.[^/:.][^/:]*|\.\.[^/:]+))+$"
"""Absolute, without empty, `.` or `..` parts, so that a prefix says where it lies."""

LabelText = Annotated[str, StringConstraints(max_length=63)]
KeyName = Annotated[str, StringConstraints(min_length=1, max_length=317)]
"""Label or taint key: a DNS subdomain, a slash and 63 characters."""
Labels = Annotated[dict[str, LabelText], Field(max_length=64)]
RawObject = dict[str, Any]
"""An object that Kubernetes defines and checks, not geopod."""


def _has_own_keys(values: dict[str, str] | None) -> bool:
    return any(key.startswith(OWN_PREFIXES) for key in values or {})


def _own_keys_rule(field: str) -> Rule:
    return Rule(
        KEYS_CEL,
        f"{field} under geopod.dev/ and app.kubernetes.io/ are geopod's: use another prefix.",
        lambda it: not _has_own_keys(getattr(it, field)),
        field=field,
    )


class Toleration(Model):
    """A taint that the node pods tolerate."""

    key: KeyName | None = None
    """Taint key; absent with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether the value counts."""
    value: LabelText | None = None
    """Taint value, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; absent: all of them."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a NoExecute taint is tolerated; absent: for ever."""


class TopologySpread(Model):
    """How evenly the node pods spread over zones or machines."""

    max_skew: Annotated[int, Field(ge=1, le=1000)] = 1
    """Largest difference of pods between two domains."""
    topology_key: KeyName
    """Node label whose values are the domains."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    """What happens when no place fits."""
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Least number of domains."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether node affinity limits the domains."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether taints limit the domains."""


class Volume(Model):
    """One volume of the node pods, as in a Pod; hostPath is refused."""

    model_config = ConfigDict(extra="allow")

    name: DnsLabel
    """Name that volumeMounts use."""
    host_path: RawObject | None = None
    """Always refused: a path of the machine would break out of the pod."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.hostPath)",
            "hostPath is refused: use a persistentVolumeClaim, configMap, secret, csi or emptyDir.",
            lambda it: it.host_path is None,
        ),
    )


class VolumeMount(Model):
    """Where a volume appears in the runner."""

    name: DnsLabel
    """The volume."""
    mount_path: Annotated[str, StringConstraints(pattern=MOUNT_PATH, min_length=2, max_length=1024)]
    """Absolute path, not in /geopod or /scratch."""
    sub_path: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Path inside the volume."""
    read_only: bool = False
    """Mount it read-only."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self != '/geopod' && !self.startsWith('/geopod/') && "
            "self != '/scratch' && !self.startsWith('/scratch/')",
            "/geopod and /scratch are geopod's: mount it elsewhere.",
            lambda it: not f"{it.mount_path}/".startswith(tuple(f"{own}/" for own in OWN_MOUNTS)),
            field="mountPath",
        ),
    )


class PodTemplate(Model):
    """Pod overrides of the node pods; geopod's own keys win."""

    labels: Labels | None = None
    """Labels of the pods."""
    annotations: (
        Annotated[
            dict[str, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=64)
        ]
        | None
    ) = None
    """Annotations of the pods."""
    node_selector: Labels | None = None
    """Labels that a machine must have."""
    affinity: RawObject | None = None
    """Affinity, as in a Pod."""
    tolerations: Annotated[
        tuple[Toleration, ...], Field(max_length=32, json_schema_extra=AS_WHOLE)
    ] = ()
    """Taints that the pods tolerate."""
    topology_spread_constraints: Annotated[
        tuple[TopologySpread, ...], Field(max_length=8, json_schema_extra=AS_WHOLE)
    ] = ()
    """How evenly the pods spread."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, if the runtime allows it."""
    scheduler_name: ObjectName | None = None
    """Another scheduler than the cluster's default."""
    image_pull_secrets: Annotated[
        tuple[LocalReference, ...], Field(max_length=8, json_schema_extra=keyed_by("name"))
    ] = ()
    """Secrets to pull images with, beside the runtime's."""
    service_account_name: ObjectName | None = None
    """Another ServiceAccount, if the runtime allows it; its token is never mounted."""
    volumes: Annotated[
        tuple[Volume, ...], Field(max_length=16, json_schema_extra=keyed_by("name"))
    ] = ()
    """More volumes."""
    volume_mounts: Annotated[
        tuple[VolumeMount, ...], Field(max_length=16, json_schema_extra=keyed_by("mountPath"))
    ] = ()
    """Where they appear in the runner."""

    RULES: ClassVar[tuple[Rule, ...]] = (_own_keys_rule("labels"), _own_keys_rule("annotations"))
