"""How a run ends whose results were to become a layer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from geopod.api.runs import RunOrder, RunState
from geopod.errors import GeopodError
from geopod.errors.wording import items_text

REASONS = {
    "E122": "LayerUnreachable",
    "E310": "ShapeMismatch",
    "E311": "NotAFileResult",
    "E312": "InconsistentParts",
}
"""The condition's word by the error's code, where the error has no word of its own."""
OTHER = "PublishFailed"


def becomes_layer(order: RunOrder, state: RunState) -> bool:
    """Say whether results are published now: all of them, or what there is where that is asked."""
    if order.write_to is None:
        return False
    has_some = state.phase == "Failed" and state.succeeded > 0
    return state.phase == "Succeeded" or (has_some and is_partial(order.write_to))


def is_partial(target: Mapping[str, object]) -> bool:
    """Say whether a layer is wanted that lacks what failed."""
    return target.get("partial") in {True, "true"}


def published(state: RunState, target: Mapping[str, str], missing: Sequence[int]) -> RunState:
    """Return the state of a run whose results are a layer, but for those of `missing` tasks."""
    if not missing:
        return state
    which = f"task {missing[0]} is" if len(missing) == 1 else f"tasks {items_text(missing)} are"
    layer = f"{target['pathId']}/{target['timestampId']}"
    return _with_words(state, f"Layer {layer!r} has the other results; {which} missing there.")


def refused(state: RunState, error: GeopodError) -> RunState:
    """Return the state of a run whose results this error kept from becoming a layer; they stay.

    A run whose tasks failed keeps its reason.
    """
    if state.phase == "Failed":
        return _with_words(state, error.fact)
    reason = error.details.get("reason") or REASONS.get(error.code, OTHER)
    return msgspec.structs.replace(state, phase="Failed", reason=str(reason), message=error.fact)


def _with_words(state: RunState, words: str) -> RunState:
    return msgspec.structs.replace(state, message=f"{state.message} {words}".lstrip())
