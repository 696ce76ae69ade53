"""The operator's half of an environment's status."""

from __future__ import annotations

from geopod.api.conditions import Condition, set_condition, summarize
from geopod.api.environment_status import ComputeEnvironmentStatus
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.observed import Observed, Raw
from geopod_operator.environment.resolved import Refusal, Resolved


def is_gate_open(observed: Observed) -> bool:
    """Say whether node pods may be created: layers, dependencies and coordinator are there."""
    conditions = (observed.environment.get("status") or {}).get("conditions", [])
    held = {it["type"] for it in conditions if it["status"] == "True"}
    return held.issuperset({"LayersResolved", "DependenciesReady", "CoordinatorReady"})


def plan_status(observed: Observed, resolved: Resolved | Refusal) -> Raw | None:
    """Return the operator's whole half of the status, or None if it is that already."""
    metadata = observed.environment["metadata"]
    before = ComputeEnvironmentStatus.model_validate(observed.environment.get("status") or {})
    refusal = resolved if isinstance(resolved, Refusal) else None
    conditions: tuple[Condition, ...] = set_condition(
        before.conditions,
        EnvironmentCondition.ACCEPTED,
        status=refusal is None,
        reason=refusal.reason if refusal else "Accepted",
        message=refusal.message if refusal else "the spec is understood.",
        generation=metadata["generation"],
        now=observed.now,
    )
    conditions = summarize(conditions, generation=metadata["generation"], now=observed.now)
    own = [it.to_wire() for it in conditions if it.type != EnvironmentCondition.LAYERS_RESOLVED]
    status = {"observedGeneration": metadata["generation"], "conditions": own}
    present = observed.environment.get("status") or {}
    return None if present == status else status
