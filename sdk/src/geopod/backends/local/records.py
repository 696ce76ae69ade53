"""What the state folder keeps of an environment: records that processes hand to each other."""

from __future__ import annotations

from typing import Any

import msgspec

from geopod.api.runs import EnvironmentState


class Refusal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A change that was taken back: which one, and the public error."""

    generation: int
    """Of the record that asked for it."""
    requirements_key: str
    reason: str
    """A condition's reason."""
    code: str
    fact: str
    fixes: list[str] = []
    details: dict[str, Any] = {}


class StoredEnvironment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One environment as its folder keeps it: what was asked for, and what runs its nodes."""

    uid: str
    name: str
    spec: dict[str, Any]
    """`ComputeEnvironment.spec` as JSON."""
    labels: dict[str, str] = {}
    created: float
    generation: int = 1
    """Grows with every change that its processes must hear of."""
    interpreter: str
    """Minor version of the nodes' Python, `3.12`."""
    python: str
    """The executable that runs the nodes' functions, or that their packages are built for."""
    sources: dict[str, str] = {}
    """pathId -> file, of layers that are plain files and stand in no catalogue."""
    requirements_key: str = ""
    """Folder below `packages/` that uv fills; empty: the packages that `python` has."""
    refreshed: int = 0
    """The generation that asked for its requirements to be resolved anew last."""
    replanned: int = 0
    """The generation that asked for its layers to be planned anew last."""
    terminated: float | None = None
    """Seconds since the epoch."""
    terminated_by: str = ""
    before: StoredEnvironment | None = None
    """What this record replaced and what serves on until the packages asked for are there."""
    refused: Refusal | None = None
    """The last change that was taken back because its packages cannot be installed."""


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How an environment's processes stand, as their supervisor tells and stores it."""

    generation: int
    """Of the record that is served."""
    control: bool = False
    """The coordinator takes clients on its own socket."""
    state: EnvironmentState


class Running(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a supervisor says of itself for others to find it; it may have ended since."""

    pid: int
    sockets: str
    """Folder of its sockets."""


class Gone(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is left of an environment that was removed."""

    uid: str
    at: float
    """Seconds since the epoch."""
    by: str
    """`ttl`, `idle`, or a user's name."""
