"""Stage one partition: its windows and rows as plain files on scratch, once per plan.

What lies under `<scratch>/staged/<plan>/<partition>/` is whole or not there: everything is written
beside it and moved in by one rename, `DONE` among it. Only a machine that went down can leave
sizes without bytes, so `DONE` names the boot it was written in. The runner maps these files; they
need no GDAL to be read.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from time import perf_counter
from typing import Any

from geopod.api.plan import FilePlan, Partition, Plan
from geopod.errors import LayerAccessError, SourceChangedError
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.sources import check_versions, local_path

DONE_VERSION = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class StagedInfo:
    """What staging a partition came to."""

    bytes: int
    seconds: float
    empty: bool
    """Nothing in it concerns `f`: no core, or with `skipNodata` only nodata."""


def stage_partition(
    plan: Plan, plan_sha: str, partition: int, scratch: Path, *, access: Access = OWN_MACHINE
) -> StagedInfo:
    """Stage a partition below `scratch`, or find it staged; returns its size and the time taken.

    `access`: the keys of the layers, and where their files may lie.

    Raises SourceChangedError before anything is read if a source is not what was planned on, and
    LayerAccessError if it cannot be read. Memory stays bounded whatever the partition's size.
    """
    start = perf_counter()
    target = staged_folder(scratch, plan_sha, partition)
    done = read_done(target)
    if done is None:
        done = _stage(plan, plan_sha, plan.partitions[partition], target, access)
    return StagedInfo(sum(done["sizes"].values()), perf_counter() - start, done["empty"])


def staged_folder(scratch: Path, plan_sha: str, partition: int) -> Path:
    """Return where a staged partition lies."""
    return scratch / "staged" / plan_sha / str(partition)


def read_done(folder: Path) -> dict[str, Any] | None:
    """Return the record of a staged partition if it is there and its files have their sizes."""
    try:
        done: dict[str, Any] = json.loads((folder / "DONE").read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in done["sizes"]}
    except (OSError, ValueError, KeyError):
        return None
    is_ours = done.get("version") == DONE_VERSION and done.get("boot") == _boot()
    return done if is_ours and sizes == done["sizes"] else None


def _stage(
    plan: Plan, plan_sha: str, partition: Partition, target: Path, access: Access
) -> dict[str, Any]:
    _check_sources(plan, partition, access)
    work = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        staged = _StagedFiles(work, access)
        layers, has_data = _stage_layers(plan, partition, staged)
        files = [_copy_file(file, number, staged) for number, file in enumerate(plan.files)]
        done = {
            "version": DONE_VERSION,
            "boot": _boot(),
            "plan": plan_sha,
            "partition": partition.index,
            "empty": bool(plan.layers)
            and (partition.core is None or (_skips_nodata(plan) and not has_data)),
            "layers": layers,
            "files": files,
            "sizes": {name: (work / name).stat().st_size for name in staged.names},
        }
        _check_sources(plan, partition, access)
        (work / "DONE").write_text(json.dumps(done), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return done


@dataclass(frozen=True, slots=True)
class _StagedFiles:
    """The files of one partition as they are written."""

    folder: Path
    access: Access
    names: list[str] = field(default_factory=list)
    """Those that are complete."""


def _stage_layers(
    plan: Plan, partition: Partition, staged: _StagedFiles
) -> tuple[list[dict[str, Any]], bool]:
    """Write all layers; returns their records and whether a raster holds anything but nodata."""
    records: list[dict[str, Any]] = []
    has_data = not any(layer.kind == "raster" for layer in plan.layers)
    for number, layer in enumerate(plan.layers):
        if layer.kind == "raster":
            from geopod.layers.stage_rasters import stage_raster  # loads GDAL

            name = f"{number}.npy"
            target = staged.folder / name
            raster = stage_raster(layer, plan, partition, target, access=staged.access)
            records.append(raster.record | {"file": name})
            has_data |= raster.has_data
        else:
            from geopod.layers.stage_vectors import stage_vector  # loads Arrow

            name = f"{number}.arrow"
            target = staged.folder / name
            vector = stage_vector(layer, plan, partition, target, access=staged.access)
            records.append(vector | {"file": name})
        staged.names.append(name)
    if plan.work is not None and plan.work.polygon is not None:
        from geopod.layers.stage_mask import stage_mask  # loads shapely

        mask = stage_mask(plan, partition, staged.folder / "mask.npy")
        if mask is not None:
            records.append(mask | {"file": "mask.npy"})
            staged.names.append("mask.npy")
    return records, has_data


def _copy_file(file: FilePlan, number: int, staged: _StagedFiles) -> dict[str, str]:
    """Copy a plain file; raises SourceChangedError if its bytes are not those of the plan."""
    name = f"f{number}"
    target = staged.folder / name
    source = local_path(file.href, path_id=file.key)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise LayerAccessError.unreachable(
            path_id=file.key, words=f"{source}: {error.strerror or error}"
        ) from error
    found = _sha256(target)
    if found != file.sha256:
        raise SourceChangedError.changed(key=file.key, planned=file.sha256, found=found)
    staged.names.append(name)
    return {"key": file.key, "file": name}


def _check_sources(plan: Plan, partition: Partition, access: Access) -> None:
    """Raise SourceChangedError if a file that the partition is read from is another one by now."""
    for layer in plan.layers:
        among: tuple[str, ...] | None = None
        if layer.raster is not None and layer.raster.tiles:
            from geopod.layers.raster import files_within  # loads GDAL

            among = files_within(layer, partition.padded.get(layer.key))
        check_versions(
            layer.version, key=layer.key, path_id=layer.path_id, access=access, among=among
        )


def _skips_nodata(plan: Plan) -> bool:
    return bool(plan.options.get("skipNodata"))


def _boot() -> str:
    """Return what differs after the machine went down; empty where the kernel does not say it."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
