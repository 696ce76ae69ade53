"""Where environments and runs live: one protocol, one module per place, imported when picked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """An environment as its backend knows it: the spec that was applied, and its state."""

    uid: str
    name: str
    spec: Mapping[str, Any]
    """`ComputeEnvironment.spec` as JSON, defaults filled in."""
    state: EnvironmentState
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    interpreter: str = ""
    """Minor version the nodes run, `3.12`."""
    same_minor: bool = True
    """The nodes' minor version is the client's own: bytecode may be sent."""
    packages: str = ""
    """Where the nodes' packages come from, in words."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """pathId -> file, of layers that are files of this machine and stand in no catalogue."""
    image: str = ""
    """The runner's image with its digest; empty on this machine, or not known yet."""
    is_new: bool = False
    """The call that returned it made the environment, or woke one that had been ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """One layer of the catalogue: `Layer.spec` as JSON."""

    path_id: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at to explain how an environment or a target is."""

    about: str
    """`operator`, `gateway`, `build`, `quota`, `scheduling`, `image`, `start`, `staging` …"""
    ok: bool | None
    """None: it could not be looked at, or says nothing."""
    fact: str
    fixes: tuple[str, ...] = ()
    fatal: bool = False
    """It does not pass by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine that nodes may run on: what it has, not what is free."""

    name: str
    cpus: float
    memory_bytes: int
    gpus: Mapping[str, int] = field(default_factory=dict)
    """Resource key -> how many."""
    ready: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What there is to run on, as far as the caller may know."""

    machines: tuple[Machine, ...] = ()
    quotas: tuple[Mapping[str, str], ...] = ()
    """One per limited resource: `quota`, `resource`, `used`, `hard`."""
    interpreters: tuple[str, ...] = ()
    """What environments may ask for, `python3.12`."""
    hidden: tuple[str, ...] = ()
    """What the caller may not look at, in words."""


class Backend(Protocol):
    """What the client needs from the place where its environments run.

    Names are resource names; an environment's or run's uid is accepted wherever its name is.
    Missing ones raise EnvironmentNotFoundError or RunNotFoundError.
    """

    name: str
    """`local`, or the kubeconfig context."""
    namespace: str

    async def apply_environment(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str],
        sources: Mapping[str, Path],
    ) -> EnvironmentRecord:
        """Create or update an environment (validated spec) and start it; returns at once.

        `sources`: pathId -> file of the layers that are files of this machine and in no catalogue;
        only the local backend takes them.
        """
        ...

    async def get_environment(self, name: str) -> EnvironmentRecord:
        """Return an environment, asleep or awake."""
        ...

    async def list_environments(self) -> list[EnvironmentRecord]:
        """Return all environments, oldest first."""
        ...

    def watch_environment(self, name: str) -> AsyncGenerator[EnvironmentState, None]:
        """Yield the state at once and on every change; ends when the environment is gone."""
        ...

    async def scale_environment(self, name: str, nodes: int) -> None:
        """Change the number of nodes; later runs have as many partitions."""
        ...

    async def refresh_environment(self, name: str) -> None:
        """Resolve dependencies and plan the layers anew."""
        ...

    async def suspend_environment(self, name: str, *, suspended: bool) -> None:
        """Put the nodes to sleep until they are woken by the same call; runs wait."""
        ...

    async def terminate_environment(self, name: str, *, wait: bool) -> None:
        """Cancel its runs and end its nodes; the record and all results stay."""
        ...

    async def delete_environment(self, name: str, *, results: bool) -> None:
        """End an environment and forget it; `results`: with everything its runs wrote."""
        ...

    async def build_log(self, name: str) -> str:
        """Return what installing the requirements printed."""
        ...

    def store(self, environment_uid: str) -> Store:
        """Return the store where the functions, results and logs of an environment lie."""
        ...

    def submit(self, order: RunOrder) -> AsyncIterator[RunState]:
        """Store and start a run (idempotent by its name), waking its environment if asleep.

        The iterator yields states as `watch_run` does; nothing is sent before its first step.
        """
        ...

    def watch_run(self, name: str) -> AsyncIterator[RunState]:
        """Yield the run's state at once and on change; ends after a terminal phase."""
        ...

    async def get_run(self, name: str) -> tuple[RunOrder, RunState]:
        """Return a run and the state it was last seen in."""
        ...

    async def list_runs(self, *, environment: str | None = None) -> list[tuple[RunOrder, RunState]]:
        """Return all runs, or those of one environment, newest first."""
        ...

    async def cancel_run(self, name: str, *, indexes: list[int] | None = None) -> None:
        """Cancel a run, or some of its tasks; finished results stay."""
        ...

    async def delete_run(self, name: str, *, results: bool) -> None:
        """Forget a run; `results`: with everything it wrote."""
        ...

    async def apply_layer(self, path_id: str, spec: Mapping[str, Any]) -> LayerRecord:
        """Create a layer or update it; timestamps are joined by their id."""
        ...

    async def get_layer(self, path_id: str) -> LayerRecord:
        """Return a layer of the catalogue; raises LayerNotFoundError."""
        ...

    async def list_layers(self) -> list[LayerRecord]:
        """Return the catalogue by name."""
        ...

    async def publish(self, runs: list[str], target: Mapping[str, str]) -> LayerRecord:
        """Assemble the file results of finished runs into one layer timestamp.

        `target`: pathId, timestampId, and perhaps format and partial, as in `RunOrder.write_to`.
        """
        ...

    async def upload_file(self, path: Path) -> str:
        """Store a plain file; return its sha256, its id in `files`."""
        ...

    async def default_interpreter(self) -> str:
        """Return what an environment runs that names no interpreter, `python3.12`."""
        ...

    async def default_nodes(self) -> int:
        """Return how many nodes an environment has that asks for no number."""
        ...

    async def diagnose(self, environment: str | None = None) -> list[Finding]:
        """Look at what an environment needs, or at the target as a whole; nothing is changed."""
        ...

    async def capacity(self) -> Capacity:
        """Return what there is to run on."""
        ...

    async def close(self) -> None:
        """Hang up; environments and runs go on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What `connect` was told; everything but the context may be left out."""

    context: str | None = None
    """`local`, a context of the kubeconfig, or None: the first cluster that is found."""
    namespace: str | None = None
    token: str | None = None
    gateway: str | None = None
    """Where the gateway answers: a URL, or `namespace/service` behind the API server's proxy."""
    request_timeout_s: float = 30.0


async def open_backend(target: Target) -> Backend:
    """Return the backend of a target; raises ConfigError when no target can be found."""
    place = "local" if target.context == "local" else "kubernetes"
    try:  # by name: backends know this module, and must not know each other through it
        module = import_module(f"geopod.backends.{place}")
    except ImportError as error:
        from geopod.errors import MissingExtraError  # only on the way out

        extra = "node" if place == "local" else place
        raise MissingExtraError.needed(
            extra=extra, purpose=f"connect({target.context!r})", module=error.name or extra
        ) from error
    opened: Backend = await module.open_target(target)
    return opened
