"""What the API server said when it did not take a child: a cause like those that pods tell of."""

from __future__ import annotations

from collections.abc import Mapping

from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.causes import PLACE_WORDS, Cause
from geopod_operator.environment.masking import mask, shortened
from geopod_operator.environment.observed import Ref
from geopod_operator.environment.troubles import refusals_of

NODES = frozenset({"StatefulSet", "PodDisruptionBudget"})


def refused_causes(
    refused: Mapping[Ref, str], condition: EnvironmentCondition, *, secrets: tuple[str, ...] = ()
) -> tuple[Cause, ...]:
    """Return the causes that keep this condition from holding, in the server's words."""
    return tuple(
        _cause(ref, message, secrets)
        for ref, message in sorted(refused.items())
        if _concerned(ref) is condition
    )


def _concerned(ref: Ref) -> EnvironmentCondition:
    if ref.kind == "Job":
        return EnvironmentCondition.DEPENDENCIES_READY
    if ref.kind in NODES:
        return EnvironmentCondition.NODES_READY
    return EnvironmentCondition.COORDINATOR_READY  # it starts before all others


def _cause(ref: Ref, message: str, secrets: tuple[str, ...]) -> Cause:
    trouble = refusals_of([message])[0]
    words = shortened(mask(trouble.words, secrets), PLACE_WORDS).rstrip(".")
    name = f"{ref.kind} {ref.name}"
    if trouble.reason == "QuotaExceeded":
        text = f"quota {trouble.kind} refuses {name}: {words}. Raise the quota."
    else:
        text = f"the API server refuses {name}: {words}."
    return Cause(reason=trouble.reason, message=text, count=1)
