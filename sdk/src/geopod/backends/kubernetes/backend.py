"""The Kubernetes backend: every method of the protocol, over resources of one namespace."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import platformdirs

from geopod.api import deployment, names
from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.backends import Capacity, EnvironmentRecord, Finding, LayerRecord, Target
from geopod.backends.kubernetes.artifacts import SHARED, ArtifactStore, TokenBook
from geopod.backends.kubernetes.diagnosis import Diagnosis
from geopod.backends.kubernetes.environments import Environments
from geopod.backends.kubernetes.evidence import interpreters
from geopod.backends.kubernetes.layers import Layers
from geopod.backends.kubernetes.manifests import OWN_MINOR, Manifest
from geopod.backends.kubernetes.operator_watch import SYSTEM_NAMESPACE, OperatorWatch
from geopod.backends.kubernetes.publishing import publish
from geopod.backends.kubernetes.removal import remove_results
from geopod.backends.kubernetes.runs import Runs
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import RUNTIMES
from geopod.cluster.problems import NotFoundApiError
from geopod.errors import (
    ConfigError,
    PermissionDeniedError,
)
from geopod.store import KeyMissingError, Store
from geopod.store.channel import Patience, Route

DEFAULT_RUNTIME = "default"
GATEWAY_TRIES = 3
"""The gateway is given so many times the time of one request."""


class KubernetesBackend:
    """Environments as resources of one namespace of one cluster."""

    def __init__(
        self, api: ApiClient, gateway: str | Route, *, cache: Path, patience: Patience | None = None
    ) -> None:
        self.name = api.context
        self.namespace = api.namespace
        self._api = api
        book = TokenBook()
        operator = OperatorWatch(api)
        self._environments = Environments(api, book, operator)
        self._runs = Runs(api, self._environments, book, operator)
        self._layers = Layers(api)
        self._store = ArtifactStore(
            gateway, book, self._environments.access, cache=cache, patience=patience or Patience()
        )
        self._book = book
        self._diagnosis = Diagnosis(api, self._store)
        self._waiting_files: dict[str, Path] = {}
        """sha256 -> file that is uploaded as soon as an environment gives a token."""
        self._interpreter = ""

    @classmethod
    async def open(cls, target: Target) -> Self:
        """Connect to a target's cluster; raises ConfigError, naming this machine, without one."""
        timeout_s = target.request_timeout_s
        api = await ApiClient.connect(
            target.context,
            namespace=target.namespace,
            token=target.token,
            timeout_s=timeout_s,
        )
        return cls(
            api,
            gateway_route(api, target.gateway),
            cache=Path(platformdirs.user_cache_dir("geopod")) / "results",
            patience=Patience(total_s=timeout_s * GATEWAY_TRIES),
        )

    async def apply_environment(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str],
        sources: Mapping[str, Path] | None = None,
    ) -> EnvironmentRecord:
        """Create or update an environment, and upload the files that it waits for."""
        record = await self._environments.apply(name, spec, labels=labels, sources=sources or {})
        for sha256 in spec.get("files", ()):
            if sha256 in self._waiting_files:
                self._book.learn_environment(await self._environments.access(record.uid))
                await self._upload(sha256, self._waiting_files[sha256])
                del self._waiting_files[sha256]
        return record

    async def get_environment(self, name: str) -> EnvironmentRecord:
        """Return an environment by name or uid."""
        return await self._environments.get(name)

    async def list_environments(self) -> list[EnvironmentRecord]:
        """Return all environments, oldest first."""
        return await self._environments.all()

    def watch_environment(self, name: str) -> AsyncGenerator[EnvironmentState, None]:
        """Yield the state at once and on every change; ends when the environment is gone."""
        return self._environments.watch(name)

    async def scale_environment(self, name: str, nodes: int) -> None:
        """Change the number of nodes."""
        await self._environments.scale(name, nodes)

    async def refresh_environment(self, name: str) -> None:
        """Resolve requirements and plan layers anew."""
        await self._environments.refresh(name)

    async def suspend_environment(self, name: str, *, suspended: bool) -> None:
        """Put the nodes to sleep, or wake them (also after `terminate_environment`)."""
        await self._environments.suspend(name, suspended=suspended)

    async def terminate_environment(self, name: str, *, wait: bool) -> None:
        """Cancel its runs and end its nodes; `wait`: until no pod is left."""
        known = await self._environments.mark_terminated(name)
        await self._runs.cancel_all(known)
        if wait:
            await self._environments.until_asleep(known)

    async def delete_environment(self, name: str, *, results: bool) -> None:
        """Delete an environment; `results`: with its runs and everything that they wrote."""
        known = await self._environments.delete(name, results=results)
        if results:
            await self._runs.delete_all(known)

    async def build_log(self, name: str) -> str:
        """Return what installing the requirements printed; empty if nothing was installed."""
        manifest = await self._environments.read(name)
        key = ((manifest.get("status") or {}).get("runtime") or {}).get("bundleKey")
        if not key:
            return ""
        folder = names.bundle_key(self.namespace, key)
        try:
            return (await self._store.get(f"{folder}build.log")).decode("utf-8", "replace")
        except KeyMissingError:
            return ""

    def store(self, environment_uid: str) -> Store:
        """Return the store; one for all environments, each folder opened by its own token."""
        del environment_uid
        return self._store

    def submit(self, order: RunOrder) -> AsyncIterator[RunState]:
        """Create a run and yield its states; nothing is sent before the first step."""
        return self._runs.submit(order)

    def watch_run(self, name: str) -> AsyncIterator[RunState]:
        """Yield a run's states until it has ended."""
        return self._runs.watch(name)

    async def get_run(self, name: str) -> tuple[RunOrder, RunState]:
        """Return a run by name or uid."""
        return await self._runs.get(name)

    async def list_runs(self, *, environment: str | None = None) -> list[tuple[RunOrder, RunState]]:
        """Return all runs, or those of one environment, newest first."""
        return await self._runs.all(environment=environment)

    async def cancel_run(self, name: str, *, indexes: list[int] | None = None) -> None:
        """Cancel a run, or some of its tasks."""
        await self._runs.cancel(name, indexes=indexes)

    async def delete_run(self, name: str, *, results: bool) -> None:
        """Forget a run, cancelled first if it goes on; `results`: and everything it wrote.

        Raises PermissionDeniedError, and the run stays, when its results cannot be removed now.
        """
        found = await self._runs.end(name)
        if results:
            await remove_results(self._api, found)
        await self._runs.delete(found)

    async def apply_layer(self, path_id: str, spec: Mapping[str, Any]) -> LayerRecord:
        """Create a layer, or add timestamps to it."""
        return await self._layers.apply(path_id, spec)

    async def get_layer(self, path_id: str) -> LayerRecord:
        """Return a layer of the catalogue."""
        return await self._layers.get(path_id)

    async def list_layers(self) -> list[LayerRecord]:
        """Return the catalogue by name."""
        return await self._layers.all()

    async def publish(self, runs: list[str], target: Mapping[str, str]) -> LayerRecord:
        """Have results of finished runs assembled into one layer timestamp, by a run of its own."""
        await publish(self._runs, self._environments, runs, target)
        return await self._layers.get(target["pathId"])

    async def upload_file(self, path: Path) -> str:
        """Store a plain file now, or once an environment gives a token; return its sha256."""
        sha256 = await asyncio.to_thread(_digest, path)
        if self._book.find(SHARED) is None:
            self._waiting_files[sha256] = path
        else:
            await self._upload(sha256, path)
        return sha256

    async def _upload(self, sha256: str, path: Path) -> None:
        key = names.file_key(sha256, namespace=self.namespace)
        if not await self._store.exists(key):
            await self._store.put_file(key, path)

    async def default_interpreter(self) -> str:
        """Return the client's own minor version if the default runtime offers it, else its first.

        Where runtimes may not be read the client's own is asked for.
        """
        if not self._interpreter:
            own = f"python{OWN_MINOR}"
            offered = interpreters(await self._default_runtime())
            self._interpreter = own if own in offered or not offered else offered[0]
        return self._interpreter

    async def default_nodes(self) -> int:
        """Return the default runtime's number; one where runtimes may not be read."""
        return int((await self._default_runtime())["spec"].get("defaultNodes", 1))

    async def _default_runtime(self) -> Manifest:
        """Return the default ComputeRuntime, or one that says nothing if it may not be read."""
        try:
            return await self._api.get(RUNTIMES, DEFAULT_RUNTIME)
        except (NotFoundApiError, PermissionDeniedError):
            return {"spec": {}}

    async def diagnose(self, environment: str | None = None) -> list[Finding]:
        """Look at what an environment needs, or at the cluster's parts."""
        if environment is None:
            return await self._diagnosis.target()
        return await self._diagnosis.environment(await self._environments.read(environment))

    async def capacity(self) -> Capacity:
        """Return machines, quotas and interpreters, as far as the caller may look."""
        return await self._diagnosis.capacity()

    async def close(self) -> None:
        """Hang up; environments and runs go on."""
        await self._runs.close()
        await self._store.close()
        await self._api.close()


def gateway_route(api: ApiClient, gateway: str | None) -> str | Route:
    """Return how the gateway is reached: a URL, or a Service behind the API server's proxy.

    `gateway`: a URL, `namespace/service`, or a namespace; None: where the chart installs it.
    """
    if gateway and "://" in gateway:
        return gateway.rstrip("/")
    namespace, _, service = (gateway or SYSTEM_NAMESPACE).partition("/")
    if not namespace or "/" in service:
        raise ConfigError(
            f"gateway={gateway!r} is neither a URL nor namespace/service.",
            fixes=("gateway='geopod-system/geopod-gateway'", "gateway='https://…'"),
        )
    return api.proxied(service or deployment.SERVICE_NAME, deployment.GATEWAY_PORT, namespace)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
