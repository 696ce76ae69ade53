"""The epoch of a coordinator in a pod: told in the environment's status, kept in the store."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, Protocol

from geopod.api.compact import parse_ranges
from geopod.api.messages import PROTOCOL
from geopod.api.run_report import timestamp
from geopod.cluster.kinds import ENVIRONMENTS, Kind
from geopod.cluster.problems import ConflictApiError
from geopod.coordinator.epochs import Fenced, take_epoch
from geopod.coordinator.patience import until_served
from geopod.coordinator.pod.office import Object, Office
from geopod.store import Store

OWN_FIELDS = (
    "coordinator", "nodes", "drained", "lost", "layers", "partitioning", "activeRuns",
    "queuedRuns", "lastActivityTime",
)  # fmt: skip  # nine names read better in two lines
"""What a coordinator owns of the status beside `conditions`: it always sends all of it."""
CONDITION = "LayersResolved"
MAX_NODES = 1_000_000

log = logging.getLogger(__name__)


class Reader(Protocol):
    """The part of `geopod.cluster.client.ApiClient` that reads one object."""

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object:
        """Return one object."""


async def claim_epoch(office: Office, reader: Reader, store: Store, manifest: Object) -> int:
    """Return an epoch above all others, told in the status before anybody is served at it.

    The claim is a write on the very version that was read: of two coordinators that start at
    once, the slower one reads the other's epoch and takes a higher one. Raises Fenced when the
    environment is gone, or is another one of the same name.
    """
    pod, epoch = office.pod, 0
    while True:
        told = epoch_in(manifest)
        if epoch <= told:
            take = partial(take_epoch, store, pod.environment_uid, above=told)
            epoch = await until_served(take, "No epoch can be taken")
        status = own_half(manifest.get("status") or {})
        status["coordinator"] = describe_coordinator(pod.pod_name, epoch, time.time())
        try:
            written = await office.write_status(
                ENVIRONMENTS,
                pod.environment,
                status,
                uid=pod.environment_uid,
                version=manifest["metadata"]["resourceVersion"],
            )
        except ConflictApiError:
            manifest = await reader.get(ENVIRONMENTS, pod.environment)
            if manifest["metadata"]["uid"] != pod.environment_uid:
                raise Fenced from None
            continue
        if written is None:
            raise Fenced
        return epoch


def epoch_in(manifest: Object) -> int:
    """Return the epoch that an environment's status tells; 0: none."""
    coordinator = (manifest.get("status") or {}).get("coordinator") or {}
    return int(coordinator.get("epoch", 0))


def known_nodes(manifest: Object) -> frozenset[int]:
    """Return the nodes that an earlier coordinator has known, as far as its status tells them."""
    status, nodes = manifest.get("status") or {}, int(manifest["spec"].get("nodes", 1))
    lost = parse_ranges(status.get("lost", ""), limit=MAX_NODES)
    connected = int((status.get("nodes") or {}).get("connected", 0))
    return frozenset(range(nodes) if connected + len(lost) >= nodes else lost)


def describe_coordinator(pod: str, epoch: int, started: float) -> dict[str, Any]:
    """Return `status.coordinator`."""
    return {"pod": pod, "epoch": epoch, "startTime": timestamp(started), "protocol": PROTOCOL}


def own_half(status: Object) -> Object:
    """Return what coordinators own of an environment's status."""
    kept = {name: status[name] for name in OWN_FIELDS if name in status}
    conditions = [it for it in status.get("conditions", ()) if it["type"] == CONDITION]
    return kept | ({"conditions": conditions} if conditions else {})


__all__ = ["claim_epoch", "describe_coordinator", "epoch_in", "known_nodes", "own_half"]
