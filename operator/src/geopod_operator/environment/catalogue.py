"""Status of Layers and ComputeRuntimes: the spec alone; whether data can be read is told elsewhere.

Both functions return the operator's half of the status, or None if it is that already.
"""

from __future__ import annotations

from datetime import datetime

from geopod.api.common import Model, invalid_input
from geopod.api.conditions import Condition, set_condition
from geopod.api.layer import LayerSpec, LayerStatus
from geopod.api.reasons import EnvironmentCondition
from geopod.api.runtime import ComputeRuntimeSpec, ComputeRuntimeStatus
from pydantic import ValidationError

from geopod_operator.environment.observed import Raw


def plan_layer(layer: Raw, now: datetime) -> Raw | None:
    """Return the status of a Layer: Accepted, and how many timestamps it has."""
    before = LayerStatus.model_validate(layer.get("status") or {}, extra="ignore")
    status = _accepted(layer, before.conditions, now, _refusal(layer, LayerSpec))
    status |= {"timestampCount": len(layer["spec"].get("timestamps", []))}
    return _if_changed(layer, status, LayerStatus)


def plan_runtime(runtime: Raw, now: datetime) -> Raw | None:
    """Return the status of a ComputeRuntime: Accepted, Pythons and GPUs for printing."""
    spec = runtime["spec"]
    before = ComputeRuntimeStatus.model_validate(runtime.get("status") or {}, extra="ignore")
    minors = [it["name"].removeprefix("python") for it in spec.get("interpreters", [])]
    gpus = sorted({it["resourceName"] for it in spec.get("gpuProfiles", [])})
    status = _accepted(runtime, before.conditions, now, _refusal(runtime, ComputeRuntimeSpec))
    status |= {"pythons": ",".join(minors)[:256], "gpu": ",".join(gpus)[:256]}
    return _if_changed(runtime, status, ComputeRuntimeStatus)


def _refusal(thing: Raw, model: type[Model]) -> str:
    """Return why a spec cannot be read, empty if it can."""
    try:
        model.model_validate(thing["spec"])
    except ValidationError as error:
        return invalid_input(error).fact
    return ""


def _accepted(thing: Raw, before: tuple[Condition, ...], now: datetime, refusal: str) -> Raw:
    generation = thing["metadata"]["generation"]
    conditions = set_condition(
        before,
        EnvironmentCondition.ACCEPTED,
        status=not refusal,
        reason="InvalidSpec" if refusal else "Accepted",
        message=refusal or "the spec is understood.",
        generation=generation,
        now=now.replace(microsecond=0),
    )
    return {
        "observedGeneration": generation,
        "conditions": [it.to_wire() for it in conditions if it.type == "Accepted"],
    }


def _if_changed(thing: Raw, status: Raw, model: type[Model]) -> Raw | None:
    """Return the status unless the object has it; what other writers own is not looked at."""
    present = model.model_validate(thing.get("status") or {}, extra="ignore").to_wire()
    return None if all(present.get(key) == value for key, value in status.items()) else status
