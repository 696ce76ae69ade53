"""Results of finished runs into one layer timestamp: what is asked of the publishing process.

The process itself (`coordinator.publishing`) may load GDAL; nothing here does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from geopod.api import names
from geopod.api.plan import Plan, decode_plan
from geopod.api.results import Entry, TaskRecord
from geopod.codecs.plain import item_bounds
from geopod.coordinator.finished import FinishedRun, TaskResult, first_of, read_results
from geopod.errors import GeopodError, InconsistentPartsError, InvalidInputError
from geopod.errors.wording import items_text, size_text
from geopod.store import KeyMissingError, Store

PUBLISHING = (sys.executable, "-P", "-m", "geopod.coordinator.publishing")
COPIES = {"npy": 3, "geotiff": 6}
"""How often a part's bytes lie on scratch: fetched, uncompressed, and in the layer's file."""
OTHER_COPIES = 3
NOTHING_SHA256 = sha256(b"null").hexdigest()
"""Of what a function's None is stored as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The timestamp that results become."""

    folder: str
    """Of this timestamp alone: an absolute path, or `s3://bucket/prefix/timestamp`."""
    path_id: str
    timestamp: str
    kind: str
    """raster or vector."""
    format: str
    secret: str = ""
    """Name of the Secret with the keys of its object store."""
    partial: bool = False
    """Whether results may be missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """What publishing may take of this machine; a pod that takes more is evicted."""

    cache: Path
    """Where the store puts what it fetches; parts are removed from there afterwards."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a timestamp consists of since its results were added."""

    files: list[str]
    """uris."""
    revision: int
    """The one that the results are in."""
    missing: list[int] = field(default_factory=list)
    """Tasks without a result."""


@dataclass(slots=True)
class _Gathered:
    parts: list[dict[str, Any]] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    missing: list[int] = field(default_factory=list)
    holes: list[dict[str, Any]] = field(default_factory=list)
    """Where rasters of the missing ones would lie."""


async def publish_runs(
    store: Store,
    runs: Sequence[FinishedRun],
    target: Target,
    *,
    environ: Mapping[str, str] | None = None,
    scratch: Scratch | None = None,
) -> Published:
    """Return what the timestamp is now; publishing the same results twice is once.

    `environ`: variables of the publishing process; None: this one's. `scratch`: None: as much as
    there is.

    Raises InconsistentPartsError when results are missing, InvalidInputError when they need more
    scratch than there is, and what `coordinator.publishing` raises; nothing is published then.
    """
    gathered = _Gathered()
    results = [
        result for run in runs for result in await read_results(store, run, partial=target.partial)
    ]
    if scratch is not None:
        _check_room(runs, results, scratch)
    try:
        await _gather(store, results, gathered)
        return await _publish(runs, gathered, target, environ)
    finally:
        if scratch is not None:
            _forget(gathered.parts, scratch)


def _check_room(
    runs: Sequence[FinishedRun], results: Sequence[TaskResult], scratch: Scratch
) -> None:
    """Raise InvalidInputError for results that would fill the scratch of this machine."""
    entries = [result.record.entry for result in results if result.record is not None]
    need = sum(it.bytes * COPIES.get(it.codec, OTHER_COPIES) for it in entries if it is not None)
    if need > scratch.bytes:
        raise InvalidInputError(
            f"Publishing the results of {items_text([run.name for run in runs])} takes about "
            f"{size_text(need)} of scratch, this coordinator has {size_text(scratch.bytes)}; "
            "nothing is published.",
            fixes=("run.results(), and write them to the store from there", "a smaller dtype"),
            details={"bytes": need, "limit": scratch.bytes},
        )


def _forget(parts: Sequence[Mapping[str, Any]], scratch: Scratch) -> None:
    """Remove fetched parts; a store on this machine gave its own files, which stay."""
    for part in parts:
        path = Path(part["path"])
        if path.is_relative_to(scratch.cache):
            path.unlink(missing_ok=True)


async def _publish(
    runs: Sequence[FinishedRun],
    gathered: _Gathered,
    target: Target,
    environ: Mapping[str, str] | None,
) -> Published:
    if not gathered.parts:
        raise InconsistentPartsError(
            f"No task of {items_text([run.name for run in runs])} returned anything.",
            fixes=("run.results()",),
        )
    first = runs[0]
    request = {
        "folder": target.folder,
        "pathId": target.path_id,
        "timestamp": target.timestamp,
        "kind": target.kind,
        "format": target.format,
        "secret": target.secret,
        "parts": gathered.parts,
        "partial": target.partial,
        "missing": gathered.missing,
        "holes": gathered.holes,
        "origin": " ".join(sorted({first_of(run).uid for run in runs})),
        "run": first.uid,
        "functionSha256": first.function_sha256,
        "created": datetime.fromtimestamp(first.created, UTC).isoformat(),
        "derivedFrom": sorted(gathered.touched),
    }
    answer = await _assemble(msgspec.json.encode(request), environ)
    files, revision = list(answer["files"]), answer["revision"]
    return Published(files=files, revision=revision, missing=gathered.missing)


async def _gather(store: Store, results: Sequence[TaskResult], gathered: _Gathered) -> None:
    """Add results in their order, each as a file of this machine."""
    plans: dict[str, Plan | None] = {}
    for result in results:
        run = result.run
        if run.uid not in plans:
            plans[run.uid] = await _read_plan(store, run)
        plan = plans[run.uid]
        if result.record is None:
            gathered.missing.append(result.task)
            gathered.holes += _windows(plan, result.task)
            continue
        gathered.touched |= _touched(plan, result.record.touched)
        entry = await _stored_entry(store, run, result.record)
        if entry is None or is_nothing(entry):
            continue
        path = str(await store.fetch(entry.key))
        windows = _windows(plan, result.task) if entry.codec == "npy" else []
        for part in _files_of(entry):
            place = {"node": len(gathered.parts), "path": path, "windows": windows}
            gathered.parts.append({**place, "entry": part})


def is_nothing(entry: Entry) -> bool:
    """Say whether a task returned None: it has nothing to add to a layer."""
    return entry.codec == "json" and entry.sha256 == NOTHING_SHA256


def _files_of(entry: Entry) -> list[Entry]:
    """Return a result as entries of one file each: a list of files has several."""
    if entry.codec != "list":
        return [entry]
    return [
        msgspec.structs.replace(
            entry,
            codec="bytes",
            sha256=f"{entry.sha256}-{number}",
            start=entry.start + start,
            bytes=stop - start,
            meta=item,
        )
        for number, (start, stop, item) in enumerate(item_bounds(entry.meta, entry.bytes))
    ]


async def _stored_entry(store: Store, run: FinishedRun, record: TaskRecord) -> Entry | None:
    """Return a result's entry; one that lies in the manifest alone is given a file first."""
    entry = record.entry
    if entry is None or entry.data is None:
        return entry
    attempt = names.attempt_name(record.index, record.attempt, record.epoch)
    key = names.result_key(run.environment, run.uid, attempt, "value")
    await store.put(key, entry.data)
    return msgspec.structs.replace(entry, key=key, data=None)


async def _read_plan(store: Store, run: FinishedRun) -> Plan | None:
    if not run.plan_sha256:
        return None
    try:
        return decode_plan(await store.get(names.plan_key(run.environment, run.plan_sha256)))
    except KeyMissingError:
        return None


async def _assemble(request: bytes, environ: Mapping[str, str] | None) -> dict[str, Any]:
    """Run the publishing process on a request; return its answer."""
    child = await asyncio.create_subprocess_exec(
        *PUBLISHING,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )
    try:
        told, words = await child.communicate(request)
    finally:
        if child.returncode is None:
            child.kill()
    if child.returncode:
        raise InconsistentPartsError(_ended(child.returncode, words))
    answer: dict[str, Any] = msgspec.json.decode(told)
    if "error" in answer:
        raise GeopodError.from_wire(**answer["error"])
    return answer


def _ended(code: int, words: bytes) -> str:
    """Return how a publishing process ended that did not answer."""
    if code < 0:
        return (
            f"Assembling the parts was ended by signal {-code}, as where memory has run out; "
            "nothing is published."
        )
    lines = words.decode("utf-8", "replace").strip().splitlines()
    last = lines[-1] if lines else "no words"
    return f"Assembling the parts ended with exit code {code}: {last.rstrip('.')}."


def _windows(plan: Plan | None, partition: int) -> list[dict[str, Any]]:
    """Return where a partition's arrays lie: one window per raster layer."""
    if plan is None or partition >= len(plan.partitions):
        return []
    part = plan.partitions[partition]
    return [
        {
            "key": layer.key,
            "core": part.windows[layer.key],
            "padded": part.padded.get(layer.key, part.windows[layer.key]),
            "crs": layer.raster.warp.crs if layer.raster.warp else layer.raster.crs,
            "transform": layer.raster.warp.transform
            if layer.raster.warp
            else layer.raster.transform,
            "dtype": layer.raster.dtype,
            "nodata": layer.raster.nodata,
        }
        for layer in plan.layers
        if layer.raster is not None and layer.key in part.windows
    ]


def _touched(plan: Plan | None, keys: Collection[str]) -> set[str]:
    """Return the uris of the layers of these keys: those that the function read."""
    return {
        href for layer in (plan.layers if plan else ()) if layer.key in keys for href in layer.hrefs
    }
