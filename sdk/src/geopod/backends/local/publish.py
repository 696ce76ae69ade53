"""Results of runs → one timestamp of a layer: what is asked for, what is known to be done."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from geopod.api import names
from geopod.api.plan import Plan, decode_plan
from geopod.api.results import TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.backends import LayerRecord
from geopod.backends.local.catalogue import LATEST, Catalogue
from geopod.backends.local.standing import require_awake
from geopod.backends.local.state import StateFolder, safe_name, write_whole
from geopod.coordinator.manifest import accepted_keys, read_records
from geopod.errors import GeopodError, InconsistentPartsError, InvalidInputError
from geopod.errors.wording import items_text
from geopod.store import KeyMissingError, Store

DEFAULT_FORMATS = {"raster": "tif", "vector": "parquet"}
MARKER = "published.json"
"""Beside a run's stored state: how what its `write_to` asked for ended."""


class Publisher:
    """Publishes in a child process, so that no client loads GDAL for it."""

    def __init__(self, folder: StateFolder, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._catalogue = Catalogue(folder)

    def complete(self, order: RunOrder) -> RunOrder:
        """Return the order with kind and format of the layer that its results go to.

        Raises LayerNotFoundError, or InvalidInputError for a layer that says neither.
        """
        target = order.write_to
        if target is None or "kind" in target:
            return order
        layer = self._catalogue.get(target["pathId"], timestamp_id=target["timestampId"])
        if target["timestampId"] == LATEST:
            raise InvalidInputError(
                f"write_to={target['pathId']!r} names no timestamp.",
                fixes=(f"write_to=({target['pathId']!r}, '2024')",),
            )
        kind = _kind_of(layer)
        whole = {"format": DEFAULT_FORMATS[kind], **target, "kind": kind}
        return msgspec.structs.replace(order, write_to=whole)

    def show(self, order: RunOrder, state: RunState) -> RunState:
        """Return the state to show: a run whose results could not become a layer has failed."""
        if order.write_to is None or state.phase != "Succeeded":
            return state
        error = self._read_marker(order).get("error")
        if error is None:
            return state
        reason = "InconsistentParts" if error["code"] == "E312" else "PublishFailed"
        return msgspec.structs.replace(state, phase="Failed", reason=reason, message=error["fact"])

    async def after_run(self, order: RunOrder, state: RunState) -> RunState:
        """Do what `write_to` asks for, once; returns the state to show."""
        target = order.write_to
        if target is None or state.phase != "Succeeded" or self._read_marker(order):
            return self.show(order, state)
        try:
            await self._publish(
                [(order, state)],
                target["pathId"],
                target["timestampId"],
                output_format=target.get("format"),
            )
            marker: dict[str, Any] = {"layer": target}
        except GeopodError as error:
            marker = {"error": error.to_wire()}
        write_whole(self._marker(order), msgspec.json.encode(marker))
        return self.show(order, state)

    async def publish(
        self,
        runs: list[tuple[RunOrder, RunState]],
        path_id: str,
        timestamp_id: str,
        *,
        output_format: str | None,
    ) -> LayerRecord:
        """Assemble the results of finished runs into one layer timestamp, or find that they are.

        Raises EnvironmentTerminatedError, LayerNotFoundError, and what `publishing` raises.
        """
        for order, _ in runs:
            try:
                environment = self._folder.read_environment(order.environment)
            except LookupError:
                continue  # deleted; its results are there
            require_awake(environment)
        return await self._publish(runs, path_id, timestamp_id, output_format=output_format)

    async def _publish(
        self,
        runs: list[tuple[RunOrder, RunState]],
        path_id: str,
        timestamp_id: str,
        *,
        output_format: str | None,
    ) -> LayerRecord:
        layer = self._catalogue.get(path_id, timestamp_id=timestamp_id)
        kind = _kind_of(layer)
        parts: list[dict[str, Any]] = []
        touched: list[str] = []
        for order, state in runs:
            plan = await self._plan(order, state)
            records = await self._records(order, state)
            for record in records:
                if record.entry is not None:
                    parts.append(self._part(record, plan, node=len(parts)))
            touched += _touched(plan, records)
        if not parts:
            raise InconsistentPartsError(
                f"No task of {items_text([order.name for order, _ in runs])} returned anything.",
                fixes=("run.results()",),
            )
        folder = self._target(layer) / safe_name(timestamp_id)
        first = runs[0][0]
        request = {
            "folder": str(folder),
            "pathId": path_id,
            "timestamp": timestamp_id,
            "kind": kind,
            "format": output_format or DEFAULT_FORMATS[kind],
            "parts": parts,
            "run": first.uid,
            "functionSha256": first.function.sha256,
            "created": datetime.fromtimestamp(first.created, UTC).isoformat(),
            "derivedFrom": sorted(set(touched)),
        }
        files = await asyncio.to_thread(_assemble, msgspec.json.encode(request))
        return self._catalogue.published(path_id, _stamp(layer, folder, files))

    def _part(self, record: TaskRecord, plan: Plan | None, *, node: int) -> dict[str, Any]:
        assert record.entry is not None  # noqa: S101  # the caller's condition
        windows = _windows(plan, record.index) if record.entry.codec == "npy" else []
        path = str(self._folder.store / record.entry.key)
        return {"node": node, "entry": record.entry, "path": path, "windows": windows}

    async def _records(self, order: RunOrder, state: RunState) -> list[TaskRecord]:
        """Return every task's record in task order; raises unless all of them have a result."""
        keys = await accepted_keys(self._store, order.environment, order.uid)
        records = {record.index: record for record in await read_records(self._store, keys)}
        missing = [
            index
            for index in range(state.total)
            if index not in records or records[index].failure is not None
        ]
        if missing:
            raise InconsistentPartsError(
                f"{len(missing)} of {state.total} tasks of {order.name!r} have no result "
                f"({items_text(missing)}); nothing is published.",
                fixes=("run.rerun(), then add_to_layer",),
                details={"missing": missing[:100]},
            )
        return [records[index] for index in range(state.total)]

    async def _plan(self, order: RunOrder, state: RunState) -> Plan | None:
        if not state.plan_sha256:
            return None
        try:
            key = names.plan_key(order.environment, state.plan_sha256)
            return decode_plan(await self._store.get(key))
        except KeyMissingError:
            return None

    def _target(self, layer: LayerRecord) -> Path:
        """Return where results for a layer go: as it says, else beside its record."""
        uri = str((layer.spec.get("writeTo") or {}).get("uri", ""))
        if not uri:
            return self._folder.layer(layer.path_id) / "published"
        return Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)

    def _marker(self, order: RunOrder) -> Path:
        prefix = names.run_prefix(order.environment, order.uid)
        return self._folder.store / prefix / MARKER

    def _read_marker(self, order: RunOrder) -> dict[str, Any]:
        try:
            marker: dict[str, Any] = msgspec.json.decode(self._marker(order).read_bytes())
        except FileNotFoundError:
            return {}
        return marker


def _assemble(request: bytes) -> list[str]:
    """Run the publishing process on a request; return the timestamp's uris."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "geopod.backends.local.publishing"],
        input=request,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InconsistentPartsError(
            f"Assembling the parts ended with exit code {done.returncode}: "
            f"{words[-1] if words else 'no words'}.",
        )
    answer: dict[str, Any] = msgspec.json.decode(done.stdout)
    if "error" in answer:
        raise GeopodError.from_wire(**answer["error"])
    return list(answer["files"])


def _kind_of(layer: LayerRecord) -> str:
    """Return raster or vector: as the layer says, else as its first file looks."""
    kind = layer.spec.get("type")
    if kind in DEFAULT_FORMATS:
        return str(kind)
    stamps = layer.spec.get("timestamps", ())
    if not stamps:
        raise InvalidInputError(
            f"Layer {layer.path_id!r} says neither raster nor vector, and has no file yet.",
            fixes=(f"client.add_layer({layer.path_id!r}, type='raster')",),
        )
    from geopod.layers.sources import find_source

    href = (stamps[0].get("uris") or [stamps[0]["uri"]])[0]
    return find_source(href, path_id=layer.path_id).kind


def _stamp(layer: LayerRecord, folder: Path, files: list[str]) -> dict[str, Any]:
    """Return the timestamp with its published files on top of what it had before."""
    stamps = layer.spec.get("timestamps", ())
    known = next((dict(stamp) for stamp in stamps if stamp["id"] == folder.name), {})
    before = known.pop("uris", None) or ([known.pop("uri")] if "uri" in known else [])
    others = [href for href in before if not href.startswith(f"{folder.absolute()}/")]
    return {**known, "id": folder.name, "uris": [*others, *files]}


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
            "nodata": None if layer.raster.nodata is None else float(layer.raster.nodata),
        }
        for layer in plan.layers
        if layer.raster is not None and layer.key in part.windows
    ]


def _touched(plan: Plan | None, records: list[TaskRecord]) -> list[str]:
    """Return the uris of the layers that the function read."""
    keys = {key for record in records for key in record.touched}
    return [
        href for layer in (plan.layers if plan else ()) if layer.key in keys for href in layer.hrefs
    ]
