"""ComputeRuntime: the administrator's blueprint. Interpreters, images, defaults and limits."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from geopod.api import names
from geopod.api.common import (
    AS_SET,
    AS_WHOLE,
    DnsLabel,
    Interpreter,
    LocalReference,
    Model,
    ObjectMeta,
    ObjectName,
    Resources,
    Rule,
    Uri,
    keyed_by,
)
from geopod.api.environment_status import Conditions, Count
from geopod.api.kinds import AGE, Column, Kind
from geopod.api.pod import Labels, PodTemplate, Toleration
from geopod.api.quantities import Quantity

DIGEST = "@sha256:"
Image = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Names = Annotated[tuple[ObjectName, ...], Field(max_length=64, json_schema_extra=AS_SET)]


def _have_digests(runtime: ComputeRuntimeSpec) -> bool:
    return all(
        DIGEST in image
        for offered in runtime.interpreters
        for image in (offered.image, offered.gpu_image)
        if image is not None
    )


class OfferedInterpreter(Model):
    """One Python that environments may ask for."""

    name: Interpreter
    """Name that environments use, `python3.12`."""
    image: Image
    """Image of the runner."""
    gpu_image: Image | None = None
    """Image of the runner on nodes with GPUs; absent: the same."""
    abi: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Platform tag that packages are built for; absent: found out by the builder."""
    python: Annotated[str, StringConstraints(min_length=1, max_length=256)] = "python3"
    """Its path in the image."""
    base_packages: bool = False
    """The image has the packages that layers need."""


class AgentResources(Model):
    """Resources of the agent beside each runner."""

    cpu: Quantity = "250m"
    """CPU that it asks for."""
    cpu_limit: Quantity = "1"
    """CPU that it may use."""
    memory: Quantity = "768Mi"
    """Memory, request and limit at once."""


class RuntimeLimits(Model):
    """What one environment may ask for."""

    max_nodes: Annotated[int, Field(ge=1, le=1000)] = 1000
    """Nodes."""
    cpu: Quantity | None = None
    """CPU of one node."""
    memory: Quantity | None = None
    """Memory of one node."""
    gpus: Annotated[int, Field(ge=0, le=16_000)] | None = None
    """GPUs of all nodes together."""


class PackageIndex(Model):
    """Where requirements are installed from."""

    url: Uri | None = None
    """Index; absent: PyPI."""
    extra_urls: Annotated[tuple[Uri, ...], Field(max_length=8, json_schema_extra=AS_WHOLE)] = ()
    """More indexes, in order."""
    secret_name: ObjectName | None = None
    """Secret with their credentials."""
    allow_sdists: bool = False
    """Build packages that have no wheel."""


class GpuProfile(Model):
    """One kind of GPU that there is."""

    name: DnsLabel
    """Name of the profile."""
    resource_name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Resource key, `nvidia.com/gpu`."""
    product: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Product, for people."""
    node_selector: Labels | None = None
    """Labels of the machines that have it."""
    tolerations: Annotated[
        tuple[Toleration, ...], Field(max_length=16, json_schema_extra=AS_WHOLE)
    ] = ()
    """Taints of these machines."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass that its containers need."""


class Allowed(Model):
    """What environments of this runtime may ask for beyond the defaults."""

    network_modes: Annotated[
        tuple[Literal["Restricted", "Open", "None"], ...],
        Field(max_length=3, json_schema_extra=AS_SET),
    ] = ("Restricted", "Open", "None")
    """Network modes."""
    egress: bool = True
    """Addresses in network.egress."""
    service_accounts: Names = ()
    """ServiceAccounts that a template may name."""
    runtime_classes: Names = ()
    """RuntimeClasses that a template may name."""


class ComputeRuntimeSpec(Model):
    """What this runtime offers."""

    interpreters: Annotated[
        tuple[OfferedInterpreter, ...],
        Field(min_length=1, max_length=16, json_schema_extra=keyed_by("name")),
    ]
    """Pythons that environments may ask for; the first is the default of clients."""
    image_policy: Literal["Digest", "Tag"] = "Digest"
    """Digest: images are named by digest, so that all nodes run the same bytes."""
    resources: Resources = Resources(cpu="1", memory="4Gi", ephemeral_storage="10Gi")
    """Resources of a runner that asks for none."""
    agent_resources: AgentResources = AgentResources()
    """Resources of the agent beside each runner."""
    default_nodes: Annotated[int, Field(ge=1, le=1000)] = 1
    """Nodes of an environment that names no number; read by clients."""
    limits: RuntimeLimits = RuntimeLimits()
    """What one environment may ask for."""
    pod_template: PodTemplate | None = None
    """Pod overrides of all environments of this runtime."""
    image_pull_secrets: Annotated[
        tuple[LocalReference, ...], Field(max_length=8, json_schema_extra=keyed_by("name"))
    ] = ()
    """Secrets to pull images with."""
    index: PackageIndex | None = None
    """Where requirements are installed from."""
    bundle_registry: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Registry for bundles as image volumes; absent: they are unpacked from the store."""
    gpu_profiles: Annotated[
        tuple[GpuProfile, ...], Field(max_length=16, json_schema_extra=keyed_by("name"))
    ] = ()
    """Kinds of GPU; the first is the default."""
    allow: Allowed = Allowed()
    """What environments may ask for beyond the defaults."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.imagePolicy == 'Tag' || self.interpreters.all(i, "
            "i.image.contains('@sha256:') && "
            "(!has(i.gpuImage) || i.gpuImage.contains('@sha256:')))",
            "name images by digest (…@sha256:…), or set imagePolicy: Tag.",
            lambda it: it.image_policy == "Tag" or _have_digests(it),
        ),
    )


class ComputeRuntimeStatus(Model):
    """What became of the runtime."""

    observed_generation: Count | None = None
    """Generation of the spec that this status is about."""
    conditions: Conditions = ()
    """Accepted."""
    pythons: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Minor versions on offer, for printing."""
    gpu: Annotated[str, StringConstraints(max_length=256)] | None = None
    """GPU resource keys on offer, for printing."""


class ComputeRuntime(Model):
    """What an administrator offers: interpreters and images, defaults, limits, GPU profiles."""

    api_version: Literal["geopod.dev/v1alpha1"] = "geopod.dev/v1alpha1"
    kind: Literal["ComputeRuntime"] = "ComputeRuntime"
    metadata: ObjectMeta
    spec: ComputeRuntimeSpec
    """What this runtime offers."""
    status: ComputeRuntimeStatus | None = None
    """What became of the runtime."""


KIND = Kind(
    kind="ComputeRuntime",
    plural="computeruntimes",
    short="crt",
    namespaced=False,
    name_pattern=names.DNS_LABEL,
    name_max=names.NAME_MAX,
    columns=(
        Column("PYTHONS", ".status.pythons"),
        Column("GPU", ".status.gpu"),
        AGE,
    ),
)
