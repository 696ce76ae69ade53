"""What the operator knows when it plans for one environment: raw objects, nothing fetched here.

The shell fills this in from its watches and from what `Outcome.needs` asked for. Objects are the
JSON that the API server returned; nothing in this room changes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

Raw = dict[str, Any]
"""A Kubernetes object as JSON."""


class Ref(NamedTuple):
    """One object of the environment's namespace."""

    kind: str
    name: str


def ref_of(manifest: Raw) -> Ref:
    """Return the reference of an object."""
    return Ref(manifest["kind"], manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the chart says to the operator, as far as plans depend on it."""

    agent_image: str
    """geopod's own image, with its digest: coordinator, agents, builder."""
    store: str
    """URL of the gateway as pods reach it."""
    signing_key: bytes = field(repr=False)
    gateway_namespace: str
    """Namespace of gateway and operator; nodes may reach the gateway's pods there."""
    coordinator_priority_class: str = ""
    coordinator_pdb: bool = False
    dns_cidrs: tuple[str, ...] = ()
    """Addresses of node-local DNS."""
    api_server_cidrs: tuple[str, ...] = ()
    """Addresses of the API server, for coordinators; empty: any address, on its ports."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets, in the environment's namespace, for geopod's own image."""
    token_lifetime_s: float = 172_800.0
    """Two days: of 500 environments that idle, 16 in an hour are written anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One environment and all that its plan depends on."""

    now: datetime
    """With a time zone."""
    settings: Settings
    environment: Raw
    """The ComputeEnvironment."""
    runtime: Raw | None = None
    """The ComputeRuntime that the spec names; None: there is none of that name."""
    runtimes: tuple[str, ...] = ()
    """Names of all ComputeRuntimes, for a message."""
    layers: tuple[Raw, ...] = ()
    """Layers of the namespace, at least those that the spec names."""
    runs: tuple[Raw, ...] = ()
    """ComputeRuns of this environment that the operator holds: new and finished ones."""
    children: Mapping[Ref, Raw | None] = field(default_factory=dict)
    """Last seen state of objects that geopod makes: watched, got, or answered to an apply.

    None: looked for and absent. A missing key: never looked for; the plan asks for it. Builder
    objects belong to all environments of a namespace, so keep one such mapping per namespace.
    """
    applied: Mapping[Ref, int] = field(default_factory=dict)
    """Generation (0 where the kind has none) that each child had after our last apply.

    Forgotten at start and every six hours: a child that is not in here is applied again.
    """
    refused: Mapping[Ref, str] = field(default_factory=dict)
    """Children that the server did not take at the last apply -> its words."""
    pods: tuple[Raw, ...] | None = None
    """Node and coordinator pods, if they were listed for this plan."""
    events: tuple[Raw, ...] | None = None
    """Events on the StatefulSet and the Job with reason FailedCreate, if they were listed."""
    pods_listed_at: datetime | None = None
    """When the pods were last listed, by this or an earlier plan."""
    counts_wait_s: float = 0.0
    """So long a status that differs in counts alone still waits: what follows may undo it."""
    told: Mapping[str, datetime] = field(default_factory=dict)
    """Reason of an Event -> when it was last told about this environment."""
