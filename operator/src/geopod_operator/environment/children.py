"""Whether a child is ours, and whether it is already as wanted."""

from __future__ import annotations

from collections.abc import Iterable

from geopod.api import reasons
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.hashing import stamp_of
from geopod_operator.environment.observed import Observed, Raw, ref_of
from geopod_operator.environment.resolved import Refusal


def is_ours(live: Raw, uid: str) -> bool:
    """Say whether an object's controller is the environment with this uid."""
    owners = live["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


def is_builders(live: Raw) -> bool:
    """Say whether an object without an owner is the builder's."""
    labels = live["metadata"].get("labels") or {}
    own = {"app.kubernetes.io/managed-by": "geopod", "app.kubernetes.io/component": "builder"}
    return own.items() <= labels.items()


def foreign(observed: Observed, wanted: Iterable[Raw]) -> Refusal | None:
    """Return the refusal NameConflict if a wanted name belongs to somebody else."""
    uid = observed.environment["metadata"]["uid"]
    for manifest in wanted:
        ref = ref_of(manifest)
        live = observed.children.get(ref)
        if live is None:
            continue
        is_owned = bool(manifest["metadata"].get("ownerReferences"))
        if not (is_ours(live, uid) if is_owned else is_builders(live)):
            message = reasons.sentence(
                EnvironmentCondition.ACCEPTED, "NameConflict", kind=ref.kind, name=ref.name
            )
            return Refusal("NameConflict", message)
    return None


def is_current(observed: Observed, manifest: Raw) -> bool:
    """Say whether a child is as wanted: equal hash, and nobody changed it since our last apply."""
    ref = ref_of(manifest)
    live = observed.children.get(ref)
    return (
        live is not None
        and stamp_of(live) == stamp_of(manifest)
        and observed.applied.get(ref) == live["metadata"].get("generation", 0)
    )
