"""Results of runs into Layers: after a run with `writeToLayer`, and for runs of mode Publish.

The files go to the folder that the Layer names, the revision into the Layer's status. Publishing
the same results again is publishing them once, so that a restart may begin anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from geopod.api import deployment, names
from geopod.api.layer_sources import LATEST, MAX_PUBLISHED_FILES, on_volume
from geopod.api.run_conditions import TERMINAL
from geopod.api.run_report import timestamp
from geopod.api.run_resource import order_from_resource, run_state
from geopod.api.runs import RunOrder, RunState
from geopod.cluster.kinds import LAYERS, RUNS, Kind
from geopod.cluster.problems import NotFoundApiError
from geopod.cluster.watching import Listing
from geopod.coordinator import layer_ends
from geopod.coordinator.finished import FinishedRun, finished_run
from geopod.coordinator.formats import chosen_format
from geopod.coordinator.pod.office import Object, Office
from geopod.coordinator.publication import (
    Scratch,
    Target,
    publish_runs,
)
from geopod.coordinator.recovery import read_state
from geopod.errors import GeopodError, InconsistentPartsError, InvalidInputError
from geopod.store import KeyMissingError, Store

BUCKETS = ("s3://", "gs://", "az://")
MAX_TIMESTAMPS = 500
SCRATCH_BYTES = 900 << 20
"""Of the pod's `/tmp`, which has 1 GiB."""


class Reader(Protocol):
    """The part of `geopod.cluster.client.ApiClient` that reads."""

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object:
        """Return one object."""

    async def list(self, kind: Kind, *, field_selector: str = "") -> Listing:
        """Return all objects of the namespace."""


class Publications:
    """Publishes for one environment."""

    def __init__(
        self,
        office: Office,
        reader: Reader,
        store: Store,
        *,
        secrets: Path = Path(deployment.LAYER_SECRETS_DIR),
    ) -> None:
        self._office = office
        self._secrets = secrets
        self._turn = asyncio.Lock()
        self._reader = reader
        self._store = store
        self._uid = office.pod.environment_uid

    async def after_run(self, order: RunOrder, state: RunState) -> RunState:
        """Do what `writeToLayer` asks for; a run whose results are no layer has failed."""
        if order.write_to is None or not layer_ends.becomes_layer(order, state):
            return state
        try:
            run = await finished_run(order, state, find=self._find_base)
        except GeopodError as error:
            return _failed(state, error)
        return await self._told(state, [run], order.write_to)

    async def of_resource(self, manifest: Object, state: RunState) -> RunState:
        """Publish what a run of mode Publish names; returns the state that it ends in."""
        spec = manifest["spec"]
        try:
            runs = await self._find(spec["publish"])
        except GeopodError as error:
            return _failed(state, error)
        ended = msgspec.structs.replace(
            state,
            phase="Succeeded",
            finished=time.time(),
            running=0,
            succeeded=state.total,
            completed_indexes="0" if state.total == 1 else f"0-{state.total - 1}",
        )
        return await self._told(ended, runs, spec["writeToLayer"])

    async def _told(
        self, state: RunState, runs: Sequence[FinishedRun], wanted: Mapping[str, Any]
    ) -> RunState:
        try:
            missing = await self._publish(runs, wanted)
        except GeopodError as error:
            return _failed(state, error)
        except (KeyMissingError, OSError) as error:
            return _failed(state, InconsistentPartsError(f"Results cannot be read: {error}."))
        return layer_ends.published(state, wanted, missing)

    async def _publish(self, runs: Sequence[FinishedRun], wanted: Mapping[str, Any]) -> list[int]:
        """Publish; returns the tasks without a result."""
        path_id, stamp = wanted["pathId"], wanted["timestampId"]
        try:
            layer = await self._reader.get(LAYERS, path_id)
        except NotFoundApiError as error:
            raise InvalidInputError.value(
                name="spec.writeToLayer.pathId", value=path_id, why="names no Layer"
            ) from error
        target = replace(
            target_of(layer, stamp, wanted.get("format")), partial=layer_ends.is_partial(wanted)
        )
        self._require_keys(target)
        scratch = Scratch(cache=self._office.pod.cache, bytes=SCRATCH_BYTES)
        async with self._turn:  # the scratch is for one at a time
            published = await publish_runs(self._store, runs, target, scratch=scratch)
        files = [uri.removeprefix(f"{target.folder}/") for uri in published.files]
        await self._write_revision(layer, stamp, published.revision, files)
        return published.missing

    def _require_keys(self, target: Target) -> None:
        """Raise InvalidInputError when the Secret of an object store is not mounted here."""
        if target.secret and not (self._secrets / target.secret).is_dir():
            raise InvalidInputError(
                f"The Secret {target.secret!r} of Layer {target.path_id!r} is not mounted in "
                f"environment {self._office.pod.environment!r}; nothing is published.",
                fixes=("name this Layer, or one with the same Secret, in spec.layers",),
            )

    async def _write_revision(
        self, layer: Object, stamp: str, revision: int, files: Sequence[str]
    ) -> None:
        """Tell in the Layer's status that the timestamp has a new revision."""
        known = {it["id"]: it for it in (layer.get("status") or {}).get("timestamps", ())}
        known[stamp] = {"id": stamp, "revision": revision, "time": timestamp(time.time())}
        if len(files) <= MAX_PUBLISHED_FILES:
            known[stamp]["files"] = list(files)
        await self._office.write_status(
            LAYERS,
            layer["metadata"]["name"],
            {"timestamps": list(known.values())[-MAX_TIMESTAMPS:]},
            uid=layer["metadata"]["uid"],
            manager=names.layer_field_manager(self._office.pod.environment),
        )

    async def _find(self, wanted: Sequence[str]) -> list[FinishedRun]:
        """Return the runs of these uids or names; one whose resource is gone is in the store."""
        selector = f"spec.environment={self._office.pod.environment}"
        listing = await self._reader.list(RUNS, field_selector=selector)
        there = {it["metadata"][word]: it for it in listing.items for word in ("uid", "name")}
        return [await self._finished(there.get(word), word) for word in wanted]

    async def _finished(self, manifest: Object | None, word: str) -> FinishedRun:
        if manifest is None:
            state = await read_state(self._store, self._uid, word)
        else:
            state = run_state(manifest)
        if state is None or state.phase not in TERMINAL:
            why = "names no run of this environment that has ended"
            raise InvalidInputError.value(name="spec.publish", value=word, why=why)
        if manifest is not None:
            return await finished_run(self._order(manifest), state, find=self._find_base)
        return FinishedRun(
            uid=state.uid,
            name=state.name,
            environment=self._uid,
            created=state.created,
            indexes=range(state.total),
            plan_sha256=state.plan_sha256,
        )

    async def _find_base(self, name: str) -> tuple[RunOrder, RunState] | None:
        """Return a run that another one ran tasks of again; None: it is gone."""
        manifest = await self._office.read(RUNS, name)
        if manifest is None:
            return None
        state = run_state(manifest)
        return (self._order(manifest), state) if state.environment == self._uid else None

    def _order(self, manifest: Object) -> RunOrder:
        return order_from_resource(manifest, environment_uid=self._uid)


def target_of(layer: Mapping[str, Any], stamp: str, wanted_format: str | None) -> Target:
    """Return where results for a Layer's timestamp go; raises InvalidInputError."""
    spec, path_id = layer["spec"], layer["metadata"]["name"]
    write_to = spec.get("writeTo") or {}
    folder = on_volume(write_to.get("uri", ""), spec.get("volumeClaim")).removeprefix("file://")
    is_bucket = folder.startswith(BUCKETS)
    if not folder.startswith("/") and not is_bucket:
        raise InvalidInputError.value(
            name=f"Layer {path_id}: spec.writeTo.uri",
            value=write_to.get("uri", ""),
            why="is no folder that results can be written to",
            fix="s3://bucket/prefix, or file:///… on a volume that is mounted for writing",
        )
    if stamp == LATEST or "/" in stamp or stamp.startswith("."):
        raise InvalidInputError.value(
            name="spec.writeToLayer.timestampId", value=stamp, why="names no timestamp"
        )
    kind = spec["type"]
    return Target(
        folder=f"{folder.rstrip('/')}/{stamp}",
        path_id=path_id,
        timestamp=stamp,
        kind=kind,
        format=chosen_format(kind, wanted_format or write_to.get("format")),
        secret=((spec.get("credentials") or {}).get("secretName") or "") if is_bucket else "",
    )


def started_publication(manifest: Object, *, environment_uid: str, epoch: int) -> RunState:
    """Return the first state of a run of mode Publish."""
    metadata, total = manifest["metadata"], len(manifest["spec"]["publish"])
    created = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
    return RunState(
        uid=metadata["uid"],
        name=metadata["name"],
        environment=environment_uid,
        phase="Running",
        created=created,
        started=time.time(),
        epoch=epoch,
        total=total,
        running=total,
    )


def _failed(state: RunState, error: GeopodError) -> RunState:
    """Return a state of a run whose results could not become a layer; they stay."""
    ended = layer_ends.refused(state, error)
    return msgspec.structs.replace(ended, finished=state.finished or time.time(), running=0)
