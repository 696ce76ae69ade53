"""The children that an environment shall have, and in which order they are applied."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from geopod.api import names

from geopod_operator.environment.access import Tokens
from geopod_operator.environment.desired.access import (
    coordinator_rights,
    link_secret,
    node_account,
)
from geopod_operator.environment.desired.common import child
from geopod_operator.environment.desired.coordinator import (
    coordinator_deployment,
    coordinator_service,
)
from geopod_operator.environment.desired.disruption import coordinator_budget, nodes_budget
from geopod_operator.environment.desired.network import coordinator_policy, nodes_policy
from geopod_operator.environment.desired.nodes import nodes_service, stateful_set
from geopod_operator.environment.facts import Facts
from geopod_operator.environment.hashing import stamped
from geopod_operator.environment.observed import Raw, Settings
from geopod_operator.environment.resolved import Identity, Resolved
from geopod_operator.environment.situation import Situation, is_gate_open

_LATER = {"RoleBinding": 1, "Deployment": 2, "StatefulSet": 2, "Job": 2}
"""A RoleBinding is refused before its Role; pods meet policies, accounts and secrets."""
IMMUTABLE = ("serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates")


def standing_children(
    resolved: Resolved, settings: Settings, minted: Tokens, *, coordinators: int
) -> list[Raw]:
    """Return the children that are there from the first moment."""
    identity = resolved.identity
    wanted = [
        node_account(identity),
        *coordinator_rights(identity),
        link_secret(identity, minted),
        coordinator_policy(resolved, settings),
        nodes_policy(resolved, settings),
        coordinator_service(resolved),
        coordinator_deployment(resolved, settings, replicas=coordinators),
        nodes_service(resolved),
        nodes_budget(identity),
    ]
    if settings.coordinator_pdb:
        wanted.append(coordinator_budget(identity))
    return [stamped(it) for it in wanted]


def in_waves(manifests: Iterable[Raw]) -> list[list[Raw]]:
    """Return what is applied at once, one list after the other."""

    def wave(manifest: Raw) -> int:
        return _LATER.get(manifest["kind"], 0)

    return [list(each) for _, each in groupby(sorted(manifests, key=wave), key=wave)]


def wanted_nodes(at: Situation) -> Raw | None:
    """Return the StatefulSet to apply; None: leave it as it is, or do not make it yet.

    While the gate is closed it is not touched: old nodes serve on, a pod that dies comes back as
    it was. Only its number may go down.
    """
    facts, resolved = at.facts, at.resolved
    if not is_gate_open(at.spec, facts, at.dependencies):
        return shrunk(resolved.identity, facts, at.scale.replicas)
    manifest = stateful_set(
        resolved,
        at.observed.settings,
        bundle=at.dependencies.bundle,
        replicas=at.scale.replicas,
    )
    return stamped(manifest)


def shrunk(identity: Identity, facts: Facts, replicas: int) -> Raw | None:
    """Return the live StatefulSet with fewer nodes and nothing else changed; None: not fewer."""
    live = facts.stateful_set
    if live is None or replicas >= facts.replicas:
        return None
    name = names.node_name(identity.name)
    manifest = child("apps/v1", "StatefulSet", name, identity=identity, component="node")
    kept = {key: live["spec"][key] for key in _KEPT if key in live["spec"]}
    manifest["spec"] = {**kept, "replicas": replicas}
    return stamped(manifest)


_KEPT = (
    *IMMUTABLE, "template", "updateStrategy", "minReadySeconds", "revisionHistoryLimit",
)  # fmt: skip  # names read best in a line


def must_be_remade(live: Raw | None, manifest: Raw) -> bool:
    """Say whether a field differs that Kubernetes never changes: delete, orphan pods, apply."""
    if live is None:
        return False
    return any(
        key in manifest["spec"] and live["spec"].get(key) != manifest["spec"][key]
        for key in IMMUTABLE
    )
