"""A spec with every default of its runtime filled in, or the reason why it cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from geopod.api.common import Resources
from geopod.api.environment import ComputeEnvironmentSpec
from geopod.api.layer import LayerSpec
from geopod.api.quantities import parse_bytes
from geopod.api.runtime import ComputeRuntimeSpec, GpuProfile, OfferedInterpreter

from geopod_operator.environment.observed import Raw


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why `Accepted` is False."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """GPUs of one node."""

    resource_name: str
    count: int
    profile: GpuProfile | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the environment is."""

    name: str
    namespace: str
    uid: str
    generation: int
    created: datetime
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What the environment shall be, with nothing left to look up."""

    identity: Identity
    spec: ComputeEnvironmentSpec
    runtime: ComputeRuntimeSpec
    interpreter: OfferedInterpreter
    image: str
    """Image of the runner."""
    resources: Resources
    """Of the runner; all three are set."""
    gpu: Gpu | None
    layers: dict[str, LayerSpec]
    """pathId -> Layer, of the layers that the spec names."""
    template: Raw
    """Pod overrides: the environment's merged over the runtime's, as JSON."""
    pull_secrets: tuple[str, ...]
    """Of node pods: the runtime's, the template's and the operator's, sorted."""

    @property
    def memory_bytes(self) -> int:
        """Memory limit of one runner."""
        return parse_bytes(self.resources.memory or 0)

    @property
    def scratch_bytes(self) -> int:
        """Scratch of one node."""
        return parse_bytes(self.resources.ephemeral_storage or 0)

    @property
    def layer_secrets(self) -> dict[str, str]:
        """`{pathId: secretName}` of the layers that name credentials."""
        return {
            path_id: layer.credentials.secret_name
            for path_id, layer in sorted(self.layers.items())
            if layer.credentials is not None
        }

    @property
    def volume_claims(self) -> tuple[str, ...]:
        """PersistentVolumeClaims that layers lie on."""
        return tuple(sorted({it.volume_claim for it in self.layers.values() if it.volume_claim}))

    @property
    def written_claims(self) -> frozenset[str]:
        """Those of them that results of their layers go to."""
        return frozenset(
            it.volume_claim
            for it in self.layers.values()
            if it.volume_claim and it.write_to and it.write_to.uri.startswith("file:")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The environment bundle that nodes mount or unpack; empty: the image has every package."""

    key: str = ""
    sha256: str = ""
    lock_sha256: str = ""
    image: str = ""
    """Reference of the image that holds it; empty: it is unpacked from the store."""
