"""PodDisruptionBudgets: how many pods a drain of machines may take at once."""

from __future__ import annotations

from geopod.api import names

from geopod_operator.environment.desired.common import child
from geopod_operator.environment.observed import Raw
from geopod_operator.environment.resolved import Identity

NODES_AWAY = "10%"


def nodes_budget(identity: Identity) -> Raw:
    """Return the budget of the nodes."""
    return _budget(names.nodes_name(identity.name), identity, "node", NODES_AWAY)


def coordinator_budget(identity: Identity) -> Raw:
    """Return the budget of the coordinator; only where the chart asks: it blocks drains."""
    return _budget(names.coordinator_name(identity.name), identity, "coordinator", 0)


def _budget(name: str, identity: Identity, component: names.Component, away: str | int) -> Raw:
    manifest = child(
        "policy/v1", "PodDisruptionBudget", name, identity=identity, component=component
    )
    manifest["spec"] = {
        "maxUnavailable": away,
        "selector": {"matchLabels": names.child_labels(identity.name, component)},
    }
    return manifest
