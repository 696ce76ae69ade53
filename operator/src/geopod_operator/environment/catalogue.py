"""Status of Layers and ComputeRuntimes: the spec alone; whether data can be read is told elsewhere.

Both functions return the operator's half of the status, or None if it is that already.
"""

from __future__ import annotations

from datetime import datetime

from geopod.api.common import Model
from geopod.api.conditions import Condition, set_condition
from geopod.api.layer import LayerSpec, LayerStatus
from geopod.api.reasons import EnvironmentCondition
from geopod.api.runtime import ComputeRuntimeSpec, ComputeRuntimeStatus

from geopod_operator.environment.observed import Raw


def plan_layer(layer: Raw, now: datetime) -> Raw | None:
    """Return the status of a Layer: Accepted, and how many timestamps it has."""
    spec = LayerSpec.model_validate(layer["spec"])
    before = LayerStatus.model_validate(layer.get("status") or {})
    status = _accepted(layer, before.conditions, now) | {"timestampCount": len(spec.timestamps)}
    return _if_changed(layer, status, LayerStatus)


def plan_runtime(runtime: Raw, now: datetime) -> Raw | None:
    """Return the status of a ComputeRuntime: Accepted, Pythons and GPUs for printing."""
    spec = ComputeRuntimeSpec.model_validate(runtime["spec"])
    before = ComputeRuntimeStatus.model_validate(runtime.get("status") or {})
    minors = [it.name.removeprefix("python") for it in spec.interpreters]
    gpus = sorted({it.resource_name for it in spec.gpu_profiles})
    status = _accepted(runtime, before.conditions, now) | {
        "pythons": ",".join(minors)[:256],
        "gpu": ",".join(gpus)[:256],
    }
    return _if_changed(runtime, status, ComputeRuntimeStatus)


def _accepted(layer: Raw, before: tuple[Condition, ...], now: datetime) -> Raw:
    generation = layer["metadata"]["generation"]
    conditions = set_condition(
        before,
        EnvironmentCondition.ACCEPTED,
        status=True,
        reason="Accepted",
        message="the spec is understood.",
        generation=generation,
        now=now,
    )
    return {
        "observedGeneration": generation,
        "conditions": [it.to_wire() for it in conditions if it.type == "Accepted"],
    }


def _if_changed(thing: Raw, status: Raw, model: type[Model]) -> Raw | None:
    """Return the status unless the object has it; what other writers own is not looked at."""
    present = model.model_validate(thing.get("status") or {}).to_wire()
    return None if all(present.get(key) == value for key, value in status.items()) else status
