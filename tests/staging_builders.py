"""Plan layers and stage partitions in a test: what a coordinator and its agents do, in one call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from geopod.api.plan import Plan, plan_sha256
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.sources import LayerSource
from geopod.layers.stage import stage_partition, staged_folder
from numpy.typing import NDArray


@dataclass(frozen=True)
class StagedJob:
    """A plan of which every partition is staged below `scratch`."""

    plan: Plan
    sha256: str
    scratch: Path

    def done(self, partition: int) -> dict[str, Any]:
        return json.loads((self.folder(partition) / "DONE").read_text())

    def folder(self, partition: int) -> Path:
        return staged_folder(self.scratch, self.sha256, partition)

    def record(self, partition: int, key: str) -> dict[str, Any]:
        return next(layer for layer in self.done(partition)["layers"] if layer["key"] == key)

    def array(self, partition: int, key: str) -> NDArray[Any]:
        return open_npy(self.folder(partition) / self.record(partition, key)["file"])

    def core(self, partition: int, key: str) -> NDArray[Any]:
        top, bottom, left, right = self.record(partition, key)["core"]
        return self.array(partition, key)[:, top:bottom, left:right]

    def rows(self, partition: int, key: str) -> pa.Table:
        path = self.folder(partition) / self.record(partition, key)["file"]
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()

    def __iter__(self) -> Any:
        return iter(range(self.plan.nodes))


def layer_source(path: Path, **changes: Any) -> LayerSource:
    """A layer of one file under its stem."""
    usual = {"key": path.stem, "path_id": path.stem, "timestamp": path.stem, "hrefs": (str(path),)}
    return LayerSource(**{**usual, **changes})


def web_source(href: str, **changes: Any) -> LayerSource:
    """A layer of one file elsewhere under its stem."""
    stem = Path(href).stem
    return LayerSource(
        **{"key": stem, "path_id": stem, "timestamp": stem, "hrefs": (href,), **changes}
    )


def plan_of(*sources: LayerSource, nodes: int = 4, **options: Any) -> Plan:
    return plan_layers(PlanRequest(layers=sources, nodes=nodes, options=options))[0]


def stage_job(
    scratch: Path,
    *sources: LayerSource,
    nodes: int = 4,
    files: Any = (),
    access: Access = OWN_MACHINE,
    **options: Any,
) -> StagedJob:
    request = PlanRequest(layers=sources, nodes=nodes, options=options, files=tuple(files))
    plan, data = plan_layers(request, access)
    job = StagedJob(plan, plan_sha256(data), scratch)
    for partition in job:
        stage_partition(plan, job.sha256, partition, scratch, access=access)
    return job


def open_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
