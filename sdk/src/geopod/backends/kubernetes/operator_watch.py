"""Whether anybody serves geopod's resources: asked when one of them gets no status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from geopod.backends import Finding
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import DEPLOYMENTS
from geopod.cluster.problems import NotFoundApiError
from geopod.errors import OperatorNotRunningError, PermissionDeniedError

SYSTEM_NAMESPACE = "geopod-system"
OPERATOR = "geopod-operator"
OPERATORS = "app.kubernetes.io/name=geopod,app.kubernetes.io/component=operator"
UNTOUCHED_S = 60.0
"""So long a resource may be without a status before the operator is looked for."""
Manifest = dict[str, Any]


class OperatorWatch:
    """Says that a resource is left alone because nobody serves it."""

    def __init__(self, api: ApiClient, *, untouched_s: float = UNTOUCHED_S) -> None:
        self._api = api
        self._untouched_s = untouched_s

    async def patient(
        self,
        items: AsyncIterator[Manifest],
        *,
        name: str,
        is_touched: Callable[[Manifest], bool],
        first: Manifest,
    ) -> AsyncGenerator[Manifest, None]:
        """Yield the items; raises OperatorNotRunningError when nobody touches `name`.

        `first`: what was seen before them; `is_touched` says whether a status has been written.
        Time counts from here: the server's clock and this machine's may differ.
        """
        touched = is_touched(first)
        following: asyncio.Future[Manifest] | None = None
        try:
            while True:
                if following is None:
                    following = asyncio.ensure_future(anext(items))
                wait = None if touched else self._untouched_s
                await asyncio.wait({following}, timeout=wait)
                if not following.done():
                    await self.require(name, waited_s=self._untouched_s)
                    continue  # somebody serves; look again as much later
                done, following = following, None
                try:
                    item = done.result()
                except StopAsyncIteration:
                    return
                touched = touched or is_touched(item)
                yield item
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait({following})

    async def require(self, name: str, *, waited_s: float) -> None:
        """Raise OperatorNotRunningError unless an operator is seen to run."""
        finding = await self.look()
        if finding.ok is not True:
            raise OperatorNotRunningError.not_picked_up(
                environment=name, namespace=self._api.namespace, waited_s=waited_s
            )

    async def look(self) -> Finding:
        """Return how the operator's Deployment is."""
        return await look_at_deployment(self._api, "operator", OPERATOR, SYSTEM_NAMESPACE)


async def look_at_deployment(api: ApiClient, about: str, name: str, namespace: str) -> Finding:
    """Return whether a Deployment has a pod that is available; None where that may not be read."""
    fix = f"kubectl -n {namespace} get deploy {name}"
    try:
        found: dict[str, Any] = await api.get(DEPLOYMENTS, name, namespace=namespace)
    except NotFoundApiError:
        fact = f"there is no Deployment {namespace}/{name}."
        return Finding(about=about, ok=False, fact=fact, fixes=("helm install geopod …",))
    except PermissionDeniedError:
        fact = f"you may not look at Deployment {namespace}/{name}."
        return Finding(about=about, ok=None, fact=fact, fixes=(fix,))
    ready = int((found.get("status") or {}).get("availableReplicas") or 0)
    wanted = int((found.get("spec") or {}).get("replicas", 1))
    fact = f"Deployment {namespace}/{name}: {ready} of {wanted} pods available."
    return Finding(about=about, ok=ready > 0, fact=fact, fixes=(fix,))


async def look_for_rivals(api: ApiClient) -> Finding | None:
    """Return which operators of several releases serve the same namespaces; None: there are none.

    Who may not list Deployments everywhere is told nothing: it is no trouble of theirs.
    """
    try:
        found = await api.list(DEPLOYMENTS, namespace="", label_selector=OPERATORS)
    except PermissionDeniedError:
        return None
    served = {_path(it): _served(it) for it in found.items if it["spec"].get("replicas", 1)}
    rivals = [
        path
        for path, spaces in sorted(served.items())
        if any(other != path and _meet(spaces, those) for other, those in served.items())
    ]
    if not rivals:
        return None
    fact = f"{len(rivals)} operators undo each other's work: {', '.join(rivals)}."
    fixes = ("helm uninstall all but one of them", "give each its own watchNamespaces")
    return Finding(about="operators", ok=False, fact=fact, fixes=fixes)


def _path(deployment: Manifest) -> str:
    return f"{deployment['metadata'].get('namespace', '')}/{deployment['metadata']['name']}"


def _served(deployment: Manifest) -> frozenset[str]:
    """Return the namespaces that an operator watches; empty: all."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    variables = {it["name"]: it.get("value", "") for it in containers[0].get("env", ())}
    return frozenset(filter(None, variables.get("GEOPOD_WATCH_NAMESPACES", "").split(",")))


def _meet(some: frozenset[str], others: frozenset[str]) -> bool:
    return not some or not others or bool(some & others)
