"""Partitions on this node's scratch: each is brought once, on demand, in a thread."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from geopod.agent.failures import failure_of, not_staged
from geopod.api import names
from geopod.api.plan import Plan, decode_plan
from geopod.api.results import Failure
from geopod.errors import GeopodError
from geopod.store import KeyMissingError, Store


@dataclass(frozen=True, slots=True)
class StagedPart:
    """One partition on scratch."""

    folder: Path
    empty: bool = False
    bytes: int = 0
    seconds: float = 0.0
    files: dict[str, Path] = field(default_factory=dict)
    """Plain files by key, whole on every node."""


MODULES = {"raster": ("numpy", "affine"), "vector": ("pyarrow", "pyarrow.ipc", "geopandas")}
"""What the runner's children import at the first touch of a layer of this kind."""


class Staging:
    """The staged partitions of one node."""

    def __init__(
        self, store: Store, *, environment_uid: str, scratch: Path, shared: Store | None = None
    ) -> None:
        """`shared`: where a plan's plain files lie; None: on this machine, as the plan says."""
        self._store = store
        self._shared = shared
        self._environment_uid = environment_uid
        self._scratch = scratch
        self._parts: dict[tuple[str, int], asyncio.Task[StagedPart | Failure]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def bring(self, plan_sha256: str, partition: int) -> StagedPart | Failure:
        """Return the partition, staged; or why it cannot be. A failure is tried again next time."""
        key = (plan_sha256, partition)
        task = self._parts.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._stage(plan_sha256, partition))
            self._parts[key] = task
        staged = await asyncio.shield(task)
        if isinstance(staged, Failure):
            self._parts.pop(key, None)
        return staged

    async def modules(self, plan_sha256: str) -> list[str]:
        """Return what a warm runner has imported for this plan's layers; no plan: nothing.

        Nor without a store: that is `bring`'s to say.
        """
        try:
            plan = await self._read_plan(plan_sha256)
        except (GeopodError, KeyMissingError, OSError):
            return []
        return [
            name for kind in sorted({layer.kind for layer in plan.layers}) for name in MODULES[kind]
        ]

    def ready(self) -> list[tuple[str, int]]:
        """Return the (plan sha256, partition) that are on scratch."""
        return [
            key
            for key, task in self._parts.items()
            if task.done() and isinstance(task.result(), StagedPart)
        ]

    def get(self, plan_sha256: str, partition: int) -> StagedPart | None:
        """Return a partition that is on scratch already."""
        task = self._parts.get((plan_sha256, partition))
        if task is None or not task.done():
            return None
        staged = task.result()
        return staged if isinstance(staged, StagedPart) else None

    async def _stage(self, plan_sha256: str, partition: int) -> StagedPart | Failure:
        """Bring one partition; one at a time, so that memory stays that of one reader."""
        async with self._one_at_a_time:
            try:
                plan = await self._with_files(await self._read_plan(plan_sha256))
                return await asyncio.to_thread(self._read, plan, plan_sha256, partition)
            except GeopodError as error:
                return failure_of(error)
            except KeyMissingError:
                gone = FileNotFoundError(f"plan {plan_sha256} is not in the store")
                return not_staged(partition, gone)
            except OSError as error:
                return not_staged(partition, error)

    async def _with_files(self, plan: Plan) -> Plan:
        """Return the plan with its plain files fetched to this machine."""
        if self._shared is None or not plan.files:
            return plan
        files = []
        for file in plan.files:
            try:
                path = await self._shared.fetch(file.href)
            except KeyMissingError as gone:
                fact = f"file {file.key} is not in the store"
                raise FileNotFoundError(fact) from gone
            files.append(msgspec.structs.replace(file, href=str(path)))
        return msgspec.structs.replace(plan, files=tuple(files))

    async def _read_plan(self, plan_sha256: str) -> Plan:
        key = names.plan_key(self._environment_uid, plan_sha256)
        return decode_plan(await self._store.get(key))

    def _read(self, plan: Plan, plan_sha256: str, partition: int) -> StagedPart:
        """Stage a partition, or find it staged by an earlier process."""
        from geopod.layers.access import read_access
        from geopod.layers.stage import read_done, stage_partition, staged_folder  # loads GDAL

        access = read_access(os.environ)
        info = stage_partition(plan, plan_sha256, partition, self._scratch, access=access)
        folder = staged_folder(self._scratch, plan_sha256, partition)
        done = read_done(folder) or {"files": []}
        files = {item["key"]: folder / item["file"] for item in done["files"]}
        return StagedPart(folder, info.empty, info.bytes, info.seconds, files)
