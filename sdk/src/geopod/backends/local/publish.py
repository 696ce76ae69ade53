"""Results of runs → one timestamp of a layer: what is asked for, what is known to be done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from geopod.api import names
from geopod.api.runs import RunOrder, RunState
from geopod.backends import LayerRecord
from geopod.backends.local.catalogue import LATEST, Catalogue
from geopod.backends.local.secrets import own_keys, secrets_variable
from geopod.backends.local.standing import require_awake
from geopod.backends.local.state import StateFolder, safe_name, write_whole
from geopod.backends.local.unfinished import stored_state
from geopod.coordinator import layer_ends
from geopod.coordinator.finished import finished_run
from geopod.coordinator.formats import FORMATS, chosen_format
from geopod.coordinator.publication import Published, Target, publish_runs
from geopod.errors import GeopodError, InvalidInputError, RunNotFoundError
from geopod.store import Store

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

        Raises LayerNotFoundError, InvalidInputError for a layer that says neither or cannot have
        the format, ConfigError for a timestamp that no folder can be called.
        """
        target = order.write_to
        if target is None or "kind" in target:
            return order
        layer = self._catalogue.get(target["pathId"], timestamp_id=target["timestampId"])
        _check_timestamp("write_to", target["pathId"], target["timestampId"])
        kind = self._kind_of(layer)
        safe_name(target["timestampId"])
        whole = {**target, "format": chosen_format(kind, target.get("format")), "kind": kind}
        return msgspec.structs.replace(order, write_to=whole)

    def show(self, order: RunOrder, state: RunState) -> RunState:
        """Return the state to show: a run whose results could not become a layer has failed."""
        if order.write_to is None or not layer_ends.becomes_layer(order, state):
            return state
        marker = self._read_marker(order)
        error = marker.get("error")
        if error is None:
            return layer_ends.published(state, order.write_to, marker.get("missing", ()))
        return layer_ends.refused(state, GeopodError.from_wire(**error))

    async def after_run(self, order: RunOrder, state: RunState) -> RunState:
        """Do what `write_to` asks for, once; returns the state to show."""
        target = order.write_to
        is_due = layer_ends.becomes_layer(order, state) and not self._read_marker(order)
        if target is None or not is_due:
            return self.show(order, state)
        try:
            _, published = await self._publish([(order, state)], target)
            marker: dict[str, Any] = {"layer": target, "missing": published.missing}
        except GeopodError as error:
            marker = {"error": error.to_wire()}
        write_whole(self._marker(order), msgspec.json.encode(marker))
        return self.show(order, state)

    async def publish(
        self,
        runs: list[tuple[RunOrder, RunState]],
        target: Mapping[str, str],
    ) -> LayerRecord:
        """Assemble the results of finished runs into one layer timestamp, or find that they are.

        `target`: pathId, timestampId, format and partial, as `RunOrder.write_to` says them. Raises
        EnvironmentTerminatedError, LayerNotFoundError, InvalidInputError for `latest`, and what
        `publishing` raises.
        """
        _check_timestamp("layer", target["pathId"], target["timestampId"])
        for order, _ in runs:
            try:
                environment = self._folder.read_environment(order.environment)
            except LookupError:
                continue  # deleted; its results are there
            require_awake(environment)
        record, _ = await self._publish(runs, target)
        return record

    async def _publish(
        self, runs: list[tuple[RunOrder, RunState]], wanted: Mapping[str, str]
    ) -> tuple[LayerRecord, Published]:
        path_id, timestamp_id = wanted["pathId"], wanted["timestampId"]
        layer = self._catalogue.get(path_id, timestamp_id=timestamp_id)
        kind = self._kind_of(layer)
        folder = f"{self._target(layer)}/{safe_name(timestamp_id)}"
        target = Target(
            folder=folder,
            path_id=path_id,
            timestamp=timestamp_id,
            kind=kind,
            format=chosen_format(kind, wanted.get("format")),
            partial=layer_ends.is_partial(wanted),
        )
        finished = [await finished_run(order, state, find=self._find_base) for order, state in runs]
        published = await publish_runs(
            self._store, finished, target, environ={**os.environ, **secrets_variable(self._folder)}
        )
        stamp = _stamp(layer, timestamp_id, folder, published.files)
        return self._catalogue.published(path_id, stamp), published

    async def _find_base(self, name: str) -> tuple[RunOrder, RunState] | None:
        """Return a run that another one ran tasks of again; None: it is gone."""
        try:
            order = self._folder.read_run(name)
        except RunNotFoundError:
            return None
        return order, stored_state(self._folder.store, order)

    def _target(self, layer: LayerRecord) -> str:
        """Return where results for a layer go: as it says, else beside its record."""
        uri = str((layer.spec.get("writeTo") or {}).get("uri", "")).rstrip("/")
        if not uri:
            return str(self._folder.layer(layer.path_id).absolute() / "published")
        if uri.startswith("file://"):
            return unquote(urlsplit(uri).path)
        return uri if "://" in uri else str(Path(uri).absolute())

    def _kind_of(self, layer: LayerRecord) -> str:
        """Return raster or vector: as the layer says, else as its first file looks."""
        kind = layer.spec.get("type")
        if kind in FORMATS:
            return str(kind)
        stamps = layer.spec.get("timestamps", ())
        if not stamps:
            raise InvalidInputError(
                f"Layer {layer.path_id!r} says neither raster nor vector, and has no file yet.",
                fixes=(f"client.add_layer({layer.path_id!r}, type='raster')",),
            )
        from geopod.layers.sources import find_source

        href = (stamps[0].get("uris") or [stamps[0]["uri"]])[0]
        return find_source(href, path_id=layer.path_id, access=own_keys(self._folder)).kind

    def _marker(self, order: RunOrder) -> Path:
        prefix = names.run_prefix(order.environment, order.uid)
        return self._folder.store / prefix / MARKER

    def _read_marker(self, order: RunOrder) -> dict[str, Any]:
        try:
            marker: dict[str, Any] = msgspec.json.decode(self._marker(order).read_bytes())
        except FileNotFoundError:
            return {}
        return marker


def _check_timestamp(name: str, path_id: str, timestamp_id: str) -> None:
    """Raise InvalidInputError for `latest`: that is the newest of those there are."""
    if timestamp_id == LATEST:
        raise InvalidInputError(
            f"{name}={path_id!r} names no timestamp.", fixes=(f"{name}=({path_id!r}, '2024')",)
        )


def _stamp(layer: LayerRecord, timestamp_id: str, folder: str, files: list[str]) -> dict[str, Any]:
    """Return the timestamp with its published files on top of what it had before."""
    stamps = layer.spec.get("timestamps", ())
    known = next((dict(stamp) for stamp in stamps if stamp["id"] == timestamp_id), {})
    before = known.pop("uris", None) or ([known.pop("uri")] if "uri" in known else [])
    others = [href for href in before if not href.startswith(f"{folder}/")]
    return {**known, "id": timestamp_id, "uris": [*others, *files]}
