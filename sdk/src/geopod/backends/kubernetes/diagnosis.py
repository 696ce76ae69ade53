"""What a cluster can say of why something does not start: as far as the caller may look.

From the far cause to the near one: resources, operator, gateway, runtimes; then of an environment
build, quota, scheduling, image and start of its pods. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from geopod.api import deployment, names
from geopod.backends import Capacity, Finding
from geopod.backends.kubernetes.artifacts import ArtifactStore
from geopod.backends.kubernetes.evidence import (
    FULL,
    by_minor,
    interpreters,
    machine,
    pod_findings,
    quota_rows,
    share,
    times_of,
)
from geopod.backends.kubernetes.manifests import Manifest
from geopod.backends.kubernetes.operator_watch import (
    SYSTEM_NAMESPACE,
    look_at_deployment,
    look_for_rivals,
)
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import ENVIRONMENTS, JOBS, NODES, PODS, RUNTIMES, Kind
from geopod.cluster.problems import ApiError, NotFoundApiError
from geopod.errors import GeopodError, PermissionDeniedError

QUOTAS = Kind("", "v1", "resourcequotas", "ResourceQuota")
REVIEWS = Kind(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)
NEEDED = (
    ("create", "computeenvironments"),
    ("create", "computeruns"),
    ("watch", "computeruns"),
    ("patch", "layers"),
)
"""What a user of the SDK must be allowed, as (verb, resource)."""


class Diagnosis:
    """Looks at one cluster, from one namespace."""

    def __init__(self, api: ApiClient, store: ArtifactStore) -> None:
        self._api = api
        self._store = store

    async def target(self) -> list[Finding]:
        """Look at every part that all environments need."""
        found = [
            await self._looked("resources", self._resources),
            *await self._rights(),
            await self._deployment("operator", "geopod-operator"),
            await self._looked("operators", lambda: look_for_rivals(self._api)),
            await self._deployment("gateway", deployment.SERVICE_NAME),
            await self._looked("store", self._gateway),
            await self._looked("runtimes", self._runtimes),
        ]
        return [finding for finding in found if finding is not None]

    async def environment(self, manifest: Manifest) -> list[Finding]:
        """Look at what one environment's start depends on."""
        found = [
            await self._deployment("operator", "geopod-operator"),
            await self._looked("build", lambda: self._build(manifest)),
            await self._looked("quota", self._quota),
        ]
        return [
            *(finding for finding in found if finding is not None),
            *await self._pods(manifest["metadata"]["name"]),
        ]

    async def capacity(self) -> Capacity:
        """Return machines, quotas and interpreters, and what may not be looked at."""
        hidden: list[str] = []

        async def listed(kind: Kind) -> list[Manifest]:
            try:
                return (await self._api.list(kind)).items
            except PermissionDeniedError as error:
                hidden.append(error.fact)
                return []

        machines = [machine(node) for node in await listed(NODES)]
        quotas = [row for quota in await listed(QUOTAS) for row in quota_rows(quota)]
        runtimes = await listed(RUNTIMES)
        return Capacity(
            machines=tuple(machines),
            quotas=tuple(quotas),
            interpreters=tuple(
                sorted({name for it in runtimes for name in interpreters(it)}, key=by_minor)
            ),
            hidden=tuple(hidden),
        )

    async def _looked(
        self, about: str, look: Callable[[], Awaitable[Finding | None]]
    ) -> Finding | None:
        """Return what a look found; a look that is not allowed or fails is a finding too."""
        try:
            return await look()
        except PermissionDeniedError as error:
            return Finding(about=about, ok=None, fact=error.fact, fixes=error.fixes)
        except GeopodError as error:
            fact = f"GP-{error.code} {error.fact}"
            return Finding(about=about, ok=False, fact=fact, fixes=error.fixes)

    async def _deployment(self, about: str, name: str) -> Finding | None:
        return await self._looked(
            about, lambda: look_at_deployment(self._api, about, name, SYSTEM_NAMESPACE)
        )

    async def _resources(self) -> Finding:
        listing = await self._api.list(ENVIRONMENTS, cached=True)
        count = len(listing.items)
        return Finding(
            about="resources",
            ok=True,
            fact=f"{names.API_VERSION} is served; {count} environments in {self._api.namespace!r}.",
        )

    async def _rights(self) -> list[Finding]:
        found = []
        for verb, resource in NEEDED:
            looked = await self._looked("rights", _right(self._api, verb, resource))
            if looked is not None and looked.ok is not True:
                found.append(looked)
        allowed = Finding(about="rights", ok=True, fact="you may create environments and runs.")
        return found or [allowed]

    async def _gateway(self) -> Finding:
        await self._store.answers()
        return Finding(about="store", ok=True, fact="the gateway answers.")

    async def _runtimes(self) -> Finding:
        listing = await self._api.list(RUNTIMES)
        offered = ", ".join(
            f"{it['metadata']['name']} ({', '.join(interpreters(it))})" for it in listing.items
        )
        return Finding(
            about="runtimes",
            ok=bool(listing.items),
            fact=f"{offered}." if offered else "there is no ComputeRuntime.",
            fixes=("an administrator: helm upgrade geopod … with runtimes",),
        )

    async def _build(self, manifest: Manifest) -> Finding | None:
        key = ((manifest.get("status") or {}).get("runtime") or {}).get("bundleKey")
        if not key:
            return None
        try:
            job = await self._api.get(JOBS, names.build_name(key))
        except NotFoundApiError:
            return None
        status = job.get("status") or {}
        failed = int(status.get("failed") or 0)
        if status.get("succeeded"):
            return Finding(about="build", ok=True, fact="its packages are built.")
        return Finding(
            about="build",
            ok=not failed,
            fact=f"Job {job['metadata']['name']}: {failed} tries failed, "
            f"{status.get('active', 0)} runs.",
            fixes=("env.build_log()",),
        )

    async def _quota(self) -> Finding | None:
        listing = await self._api.list(QUOTAS)
        rows = [row for quota in listing.items for row in quota_rows(quota)]
        full = [row for row in rows if share(row) >= FULL]
        if not rows:
            return None
        shown = "; ".join(
            f"{row['quota']}: {row['resource']} {row['used']} of {row['hard']}"
            for row in full or rows[:4]
        )
        fixes = ("fewer nodes", "terminate an environment that sleeps")
        return Finding(about="quota", ok=not full, fact=f"{shown}.", fixes=fixes)

    async def _pods(self, environment: str) -> list[Finding]:
        chosen = f"app.kubernetes.io/instance={environment},app.kubernetes.io/name=geopod"
        try:
            listing = await self._api.list(PODS, label_selector=chosen)
        except (PermissionDeniedError, ApiError) as error:
            return [Finding(about="pods", ok=None, fact=error.fact, fixes=error.fixes)]
        seen: dict[tuple[str, str], tuple[Finding, int]] = {}
        for pod in listing.items:
            for finding in pod_findings(pod):
                key = (finding.about, finding.fact)
                known = seen.get(key, (finding, 0))
                seen[key] = (known[0], known[1] + 1)
        order = ("scheduling", "image", "start")
        found = sorted(seen.values(), key=lambda it: order.index(it[0].about))
        return [times_of(finding, times) for finding, times in found]


def _right(api: ApiClient, verb: str, resource: str) -> Callable[[], Awaitable[Finding]]:
    async def look() -> Finding:
        attributes = {
            "group": names.GROUP,
            "resource": resource,
            "verb": verb,
            "namespace": api.namespace,
        }
        review: Manifest = {"metadata": {}, "spec": {"resourceAttributes": attributes}}
        answer = await api.create(REVIEWS, review, field_manager="geopod-sdk")
        if (answer.get("status") or {}).get("allowed"):
            return Finding(about="rights", ok=True, fact=f"you may {verb} {resource}.")
        denied = PermissionDeniedError.forbidden(
            verb=verb, resource=f"{resource}.{names.GROUP}", namespace=api.namespace, user="you"
        )
        return Finding(
            about="rights",
            ok=False,
            fact=f"you may not {verb} {resource}.{names.GROUP} in {api.namespace!r}.",
            fixes=denied.fixes,
        )

    return look
