"""The only module of the operator that talks to the API server. It decides nothing.

Reads: lists for the resync, single children, pods and refusals on demand. Writes: server-side
apply, deletes by uid, one status, finalizers, Events.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from geopod.api import names
from geopod.api.crd import KINDS, field_paths, structural_schema
from geopod.cluster import kinds
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import Kind as Kind  # noqa: PLC0414  # the resync names it
from geopod.cluster.problems import ConflictApiError, NotFoundApiError
from geopod.cluster.transport import passes_by_itself as passes_by_itself  # noqa: PLC0414  # as above
from geopod.cluster.watching import Listing
from geopod.errors import ConfigError, GeopodError, PermissionDeniedError

Raw = dict[str, Any]
Ref = tuple[str, str]
"""Kind and name."""
Raws = list[Raw]

RUNS_SELECTOR = "status.phase!=Queued,status.phase!=Running"
"""New and finished runs: never their progress. An absent phase matches."""
OURS_SELECTOR = "app.kubernetes.io/managed-by=geopod"
RUNS, RUNTIMES = kinds.RUNS, kinds.RUNTIMES
OWN = (kinds.ENVIRONMENTS, kinds.RUNS, kinds.LAYERS, kinds.RUNTIMES)
"""What users and administrators write."""
WATCHED_CHILDREN = (kinds.STATEFUL_SETS, kinds.DEPLOYMENTS, kinds.JOBS, kinds.CONFIG_MAPS)
LISTED_CHILDREN = (
    *(kinds.SERVICES, kinds.SERVICE_ACCOUNTS, kinds.ROLES, kinds.ROLE_BINDINGS),
    *(kinds.NETWORK_POLICIES, kinds.DISRUPTION_BUDGETS),
)
"""Seen by the resync alone; Secrets are not among them: they are read one by one."""
_BY_NAME = {kind.kind: kind for kind in kinds.ALL if kind is not kinds.CORE_EVENTS}
NOTE_MAX = 1024
"""Of an Event. Source: events.k8s.io/v1 validation."""
EVENT_PERIOD_S = 300
"""At most one Event per reason and object in this time, also from two operators."""
REPORTER = "geopod.dev/operator"
STREAMING_SINCE = (1, 34)


class Cluster:
    """What the operator asks of the API server."""

    def __init__(self, client: ApiClient, *, instance: str) -> None:
        """Take a connected client; `instance`: the pod's name, for Events."""
        self._client = client
        self._instance = instance

    # ---- reading

    async def check_definitions(self) -> None:
        """Raise if the cluster's definitions are older than this operator.

        Server-side apply of a status field that a definition lacks is a 500 that writes nothing.
        """
        for said, _, _, status in KINDS:
            kind = next(each for each in OWN if each.kind == said.kind)
            try:
                known = set(field_paths(await self._client.status_schema(kind)))
            except (PermissionDeniedError, NotFoundApiError):
                return  # this server tells nobody: the first status write will
            lacks = set(field_paths(structural_schema(status))) - known
            if lacks:
                outer = sorted(path for path in lacks if path.rpartition(".")[0] not in lacks)
                raise ConfigError(
                    f"The cluster's definition of {kind.kind} is older than this operator: its "
                    f"status lacks {', '.join(outer)}.",
                    fixes=("apply the definitions of this release: helm upgrade geopod …",),
                )

    async def streams_lists(self) -> bool:
        """Whether watches of this server may begin with what is there (Kubernetes 1.34)."""
        return await self._client.version() >= STREAMING_SINCE

    async def list(self, kind: Kind, namespace: str) -> Listing:
        """Return all of a kind (children: geopod's), from the server's cache; empty: everywhere.

        Of runs also those that no watch of the operator tells about.
        """
        labels = "" if kind in OWN else OURS_SELECTOR
        return await self._client.list(
            kind, namespace=namespace, label_selector=labels, cached=True
        )

    async def get(self, namespace: str, ref: Ref) -> Raw | None:
        """Return one object, a child or the Lease; None if there is none."""
        kind, name = ref
        try:
            return await self._client.get(_BY_NAME[kind], name, namespace=namespace)
        except NotFoundApiError:
            return None

    async def pods(self, namespace: str, selector: str) -> tuple[Raw, ...]:
        """Return the pods of a selector."""
        listing = await self._client.list(
            kinds.PODS, namespace=namespace, label_selector=selector, cached=True
        )
        return tuple(listing.items)

    async def refusals(self, namespace: str, refs: Iterable[Ref]) -> tuple[Raw, ...]:
        """Return the Events that say why pods are not made (of pods: not mounted, evicted).

        A reference without a name stands for all objects of its kind.
        """
        found = await asyncio.gather(
            *(
                self._client.list(kinds.CORE_EVENTS, namespace=namespace, field_selector=selector)
                for ref in refs
                for selector in _refusals_of(ref)
            )
        )
        return tuple(event for listing in found for event in listing.items)

    async def runs_of(self, namespace: str, environment: str) -> Raws:
        """Return all runs of one environment, also those that are queued or running."""
        listing = await self._client.list(
            kinds.RUNS, namespace=namespace, field_selector=f"spec.environment={environment}"
        )
        return listing.items

    # ---- writing

    async def apply(self, manifest: Raw) -> Raw:
        """Return the object after server-side apply."""
        return await self._client.apply(
            _BY_NAME[manifest["kind"]], manifest, field_manager=names.OPERATOR
        )

    async def delete(
        self,
        namespace: str,
        ref: Ref,
        *,
        uid: str | None,
        propagation: Literal["Background", "Foreground", "Orphan"],
        grace_s: int | None,
    ) -> None:
        """Delete one object; missing already is as good."""
        kind, name = ref
        await self._client.delete(
            _BY_NAME[kind],
            name,
            namespace=namespace,
            propagation=propagation,
            uid=uid,
            grace_s=grace_s,
        )

    async def write_status(self, kind: str, about: Raw, status: Raw) -> Raw | None:
        """Write all that the operator owns of a status; None: the object is gone.

        Of a run only if nobody changed it meanwhile: its coordinator, or somebody who made another
        one of its name (the server looks at no uid here). An environment's namesake has a plan of
        its own, which writes all of it anew.
        """
        meta = about["metadata"]
        wanted = ("name", "namespace") + (("resourceVersion",) if kind == RUNS.kind else ())
        identity = {name: meta[name] for name in wanted if name in meta}
        try:
            return await self._client.apply(
                _BY_NAME[kind],
                {"metadata": identity, "status": status},
                field_manager=names.OPERATOR,
                subresource="status",
            )
        except NotFoundApiError:
            return None

    async def set_finalizers(self, environment: Raw, finalizers: Sequence[str]) -> Raw | None:
        """Replace the finalizers, unless somebody else changed the object meanwhile."""
        meta = environment["metadata"]
        patch = {
            "metadata": {
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
                "finalizers": [*finalizers],
            }
        }
        try:
            return await self._client.patch(
                kinds.ENVIRONMENTS,
                meta["name"],
                patch,
                namespace=meta["namespace"],
                field_manager=names.OPERATOR,
            )
        except NotFoundApiError:
            return None

    async def write_lease(self, lease: Raw) -> Raw | None:
        """Create a Lease, or change the version that it names; None: somebody was faster."""
        meta = lease["metadata"]
        try:
            if "resourceVersion" not in meta:
                return await self._client.create(kinds.LEASES, lease, field_manager=names.OPERATOR)
            return await self._client.patch(
                kinds.LEASES,
                meta["name"],
                lease,
                namespace=meta["namespace"],
                field_manager=names.OPERATOR,
            )
        except (ConflictApiError, NotFoundApiError):
            return None

    def may_answer_later(self, error: GeopodError) -> bool:
        """Whether an error is about the server, which is away or ill, and about no object."""
        return passes_by_itself(error)

    async def tell(self, about: Raw, event: tuple[str, str, str], now: datetime) -> None:
        """Create one Event (type, reason, note); a second one in the same minutes is no error."""
        type_, reason, note = event
        meta = about["metadata"]
        period = int(now.timestamp()) // EVENT_PERIOD_S
        token = hashlib.sha256(f"{meta['uid']}/{reason}/{period}".encode()).hexdigest()[:16]
        manifest = {
            "metadata": {"name": f"{meta['name']}.{token}", "namespace": meta["namespace"]},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": REPORTER,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "reason": reason,
            "type": type_,
            "note": note[:NOTE_MAX],
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
        }
        try:
            await self._client.create(
                kinds.EVENTS, manifest, field_manager=names.OPERATOR, strict=False
            )
        except ConflictApiError:
            return


def _refusals_of(ref: Ref) -> list[str]:
    """Return a selector per reason: the server knows no `in` for fields."""
    kind, name = ref
    reasons = ("FailedMount", "Evicted") if kind == "Pod" else ("FailedCreate",)
    about = f",involvedObject.name={name}" if name else ""
    return [f"involvedObject.kind={kind},reason={reason}{about}" for reason in reasons]
