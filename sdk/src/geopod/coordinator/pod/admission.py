"""Whether an environment takes a run at all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from geopod.api.layer_sources import LATEST
from geopod.api.reasons import RunCondition, sentence
from geopod.api.runs import RunOrder
from geopod.coordinator.formats import FORMATS, chosen_format
from geopod.errors import GeopodError, InvalidInputError


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a run is not taken."""

    reason: str
    message: str


def refusal_of(order: RunOrder, spec: Mapping[str, Any]) -> Refusal | None:
    """Return why the environment of this spec can never run the order; None: it can.

    Bytecode runs on the Python minor that it was made on alone.
    """
    runs = spec.get("interpreter", "python3.12").removeprefix("python")
    function = order.function
    if function.format != "cloudpickle" or function.python == runs:
        return None
    made = function.python
    message = sentence(RunCondition.ACCEPTED, "InterpreterMismatch", made=made, runs=runs)
    return Refusal("InterpreterMismatch", message)


def unready(environment: str, trouble: GeopodError) -> Refusal:
    """Return why a run waits while its environment has this trouble."""
    values = {"environment": environment, "words": trouble.fact}
    reason = "EnvironmentNotReady"
    return Refusal(reason, sentence(RunCondition.ACCEPTED, reason, **values))


def complete_target(order: RunOrder, layers: Mapping[str, Mapping[str, Any]]) -> RunOrder:
    """Return the order with kind and format of the layer that its results go to.

    `layers`: pathId -> `Layer.spec`. Raises InvalidInputError for a layer that is not there or
    cannot have the format, and a timestamp that names none.
    """
    target = order.write_to
    if target is None:
        return order
    spec = layers.get(target["pathId"])
    if spec is None or spec.get("type") not in FORMATS:
        raise InvalidInputError.value(
            name="spec.writeToLayer.pathId", value=target["pathId"], why="names no Layer"
        )
    if target["timestampId"] == LATEST:
        raise InvalidInputError.value(
            name="spec.writeToLayer.timestampId", value=LATEST, why="names no timestamp"
        )
    kind = spec["type"]
    wanted = target.get("format") or (spec.get("writeTo") or {}).get("format")
    whole = {**target, "format": chosen_format(kind, wanted), "kind": kind}
    return msgspec.structs.replace(order, write_to=whole)
