"""The local backend: every method of the protocol, over one state folder."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

from geopod.api import names
from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.backends import Capacity, EnvironmentRecord, Finding, LayerRecord
from geopod.backends.local import looking
from geopod.backends.local.catalogue import Catalogue
from geopod.backends.local.environments import Environments
from geopod.backends.local.expiry import expire_environments
from geopod.backends.local.interpreters import own_interpreter
from geopod.backends.local.publish import Publisher
from geopod.backends.local.runs import Runs
from geopod.backends.local.state import StateFolder, state_root
from geopod.store import Store
from geopod.store.directory import DirectoryStore


class LocalBackend:
    """Environments as processes of this user on this machine."""

    def __init__(self, folder: StateFolder, *, namespace: str = "local") -> None:
        self.name = "local"
        self.namespace = namespace
        self.folder = folder
        fsync = os.environ.get("GEOPOD_FSYNC") == "1"
        self._store: Store = DirectoryStore(folder.store, fsync=fsync)
        self._environments = Environments(folder)
        self._catalogue = Catalogue(folder)
        self._publisher = Publisher(folder, self._store)
        self._runs = Runs(folder, self._store, publisher=self._publisher)

    @classmethod
    async def open(cls, *, namespace: str = "local") -> Self:
        """Open the state folder of this user: GEOPOD_HOME, else the platform's data folder."""
        folder = StateFolder(state_root())
        expire_environments(folder, now=time.time())
        return cls(folder, namespace=namespace)

    async def apply_environment(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str],
        sources: Mapping[str, Path] | None = None,
    ) -> EnvironmentRecord:
        """Create or update an environment and start it; returns at once."""
        return await self._environments.apply(name, spec, labels=labels, sources=sources or {})

    async def get_environment(self, name: str) -> EnvironmentRecord:
        """Return an environment by name or uid."""
        return self._environments.describe(self.folder.read_environment(name))

    async def list_environments(self) -> list[EnvironmentRecord]:
        """Return all environments, oldest first."""
        return [self._environments.describe(record) for record in self.folder.environments()]

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
        """Cancel its runs and end its processes; the record and all results stay."""
        await self._environments.terminate(name, wait=wait)

    async def delete_environment(self, name: str, *, results: bool) -> None:
        """End an environment and forget it; `results`: with everything its runs wrote."""
        record = await self._environments.delete(name, results=results)
        if results:
            for order in self.folder.runs():
                if order.environment == record.uid:
                    self.folder.remove_run(order.name)

    async def build_log(self, name: str) -> str:
        """Return what installing the requirements printed."""
        return self._environments.build_log(name)

    def store(self, environment_uid: str) -> Store:
        """Return the store; all environments of this machine share it."""
        del environment_uid
        return self._store

    def submit(self, order: RunOrder) -> AsyncIterator[RunState]:
        """Name and start a run, waking its environment; yields its states."""
        return self._runs.submit(order)

    def watch_run(self, name: str) -> AsyncIterator[RunState]:
        """Yield a run's states until it has ended."""
        return self._runs.watch(name)

    async def get_run(self, name: str) -> tuple[RunOrder, RunState]:
        """Return a run by name or uid, from whichever process submitted it."""
        return await self._runs.get(name)

    async def list_runs(self, *, environment: str | None = None) -> list[tuple[RunOrder, RunState]]:
        """Return all runs, newest first."""
        return self._runs.all(environment=environment)

    async def cancel_run(self, name: str, *, indexes: list[int] | None = None) -> None:
        """Cancel a run, or some of its tasks."""
        await self._runs.cancel(name, indexes=indexes)

    async def delete_run(self, name: str, *, results: bool) -> None:
        """Forget a run; `results`: with everything it wrote."""
        await self._runs.delete(name, results=results)

    async def apply_layer(self, path_id: str, spec: Mapping[str, Any]) -> LayerRecord:
        """Create a layer, or add timestamps to it; what cannot be one here is refused."""
        return await asyncio.to_thread(self._catalogue.apply, path_id, spec)

    async def get_layer(self, path_id: str) -> LayerRecord:
        """Return a layer of the catalogue."""
        return self._catalogue.get(path_id)

    async def list_layers(self) -> list[LayerRecord]:
        """Return the catalogue by name."""
        return self._catalogue.all()

    async def publish(self, runs: list[str], target: Mapping[str, str]) -> LayerRecord:
        """Assemble the file results of finished runs into one layer timestamp."""
        finished = [await self._runs.get(name) for name in runs]
        return await self._publisher.publish(finished, target)

    async def upload_file(self, path: Path) -> str:
        """Store a plain file; return its sha256, its id in `files`."""
        sha256 = await asyncio.to_thread(_digest, path)
        key = names.file_key(sha256)
        if not await self._store.exists(key):
            await self._store.put_file(key, path)
        return sha256

    async def default_interpreter(self) -> str:
        """Return the client's own minor version."""
        return f"python{own_interpreter().minor}"

    async def default_nodes(self) -> int:
        """Return one: the user knows how many this machine bears."""
        return 1

    async def diagnose(self, environment: str | None = None) -> list[Finding]:
        """Look at this machine, or at the processes of one environment."""
        return await asyncio.to_thread(looking.diagnose, self.folder, environment)

    async def capacity(self) -> Capacity:
        """Return this machine, and the interpreters that are found on it."""
        return await asyncio.to_thread(looking.capacity)

    async def close(self) -> None:
        """Hang up; environments and runs go on."""
        self._runs.close()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
