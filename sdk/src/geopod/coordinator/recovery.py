"""What a coordinator reads back at its start: the runs that are not finished."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from geopod.api import names
from geopod.api.results import TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.coordinator.manifest import Digest, accepted_keys, read_records
from geopod.coordinator.outside import Watcher
from geopod.store import KeyMissingError, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run of an earlier coordinator that goes on."""

    order: RunOrder
    state: RunState | None
    """Its last stored state; None: it was never stored."""
    chunks: list[str]
    """Manifest chunks that count."""
    records: list[TaskRecord]
    digest: Digest = field(default_factory=sha256)
    """Fed with the bytes of these chunks."""
    watcher: Watcher | None = None
    """Who hears of it; None: nobody yet."""


async def read_order(store: Store, environment_uid: str, run_uid: str) -> RunOrder:
    """Return a run's order; raises KeyMissingError."""
    data = await store.get(names.order_key(environment_uid, run_uid))
    return msgspec.json.decode(data, type=RunOrder)


async def read_unfinished(store: Store, environment_uid: str) -> list[UnfinishedRun]:
    """Return the runs whose stored state has no end, oldest first."""
    found = []
    for key in await store.names(names.order_prefix(environment_uid)):
        try:
            order = msgspec.json.decode(await store.get(key), type=RunOrder)
        except msgspec.DecodeError as error:
            log.warning("%s is no order of a run and is left alone: %s", key, error)
            continue
        state = await read_state(store, environment_uid, order.uid)
        if state is not None and state.finished is not None:
            continue
        found.append(await read_run(store, order, state))
    return sorted(found, key=lambda run: (run.order.created, run.order.uid))


async def read_run(
    store: Store, order: RunOrder, state: RunState | None, watcher: Watcher | None = None
) -> UnfinishedRun:
    """Return an unfinished run with what its manifest has."""
    digest = sha256()
    chunks = await accepted_keys(store, order.environment, order.uid)
    records = await read_records(store, chunks, digest=digest)
    return UnfinishedRun(order, state, chunks, records, digest, watcher)


async def read_state(store: Store, environment_uid: str, run_uid: str) -> RunState | None:
    """Return a run's last stored state; None: none was stored."""
    try:
        data = await store.get(names.state_key(environment_uid, run_uid))
    except KeyMissingError:
        return None
    return msgspec.json.decode(data, type=RunState)
