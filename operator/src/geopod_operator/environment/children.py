"""Whether a child is ours, and whether it is already as wanted."""

from __future__ import annotations

from collections.abc import Iterable

from geopod.api import reasons
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.hashing import stamp_of
from geopod_operator.environment.observed import Observed, Raw, Ref, ref_of
from geopod_operator.environment.resolved import Refusal


def is_ours(live: Raw, uid: str) -> bool:
    """Say whether an object's controller is the environment with this uid."""
    owners = live["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


def contested(observed: Observed, wanted: Iterable[Raw]) -> frozenset[Ref]:
    """Return the wanted names that somebody else holds: what is known of them may be old."""
    uid = observed.environment["metadata"]["uid"]
    return frozenset(
        ref_of(it)
        for it in wanted
        if (live := observed.children.get(ref_of(it))) is not None and not _may_have(it, live, uid)
    )


def is_leftover(observed: Observed, ref: Ref) -> bool:
    """Say whether a child of an earlier environment of this name is still being deleted."""
    name, uid = (observed.environment["metadata"][key] for key in ("name", "uid"))
    live = observed.children.get(ref)
    owners = (live or {}).get("metadata", {}).get("ownerReferences") or []
    return any(
        it.get("controller")
        and (it["kind"], it["name"]) == ("ComputeEnvironment", name)
        and it["uid"] != uid
        for it in owners
    )


def is_builders(live: Raw) -> bool:
    """Say whether an object without an owner is the builder's."""
    labels = live["metadata"].get("labels") or {}
    own = {"app.kubernetes.io/managed-by": "geopod", "app.kubernetes.io/component": "builder"}
    return own.items() <= labels.items()


def name_conflict(ref: Ref) -> Refusal:
    """Return the refusal of an environment whose child's name belongs to somebody else."""
    message = reasons.sentence(
        EnvironmentCondition.ACCEPTED, "NameConflict", kind=ref.kind, name=ref.name
    )
    return Refusal("NameConflict", message)


def _may_have(manifest: Raw, live: Raw, uid: str) -> bool:
    """Say whether a live object is the one that a manifest is about."""
    is_owned = bool(manifest["metadata"].get("ownerReferences"))
    return is_ours(live, uid) if is_owned else is_builders(live)


def is_current(observed: Observed, manifest: Raw) -> bool:
    """Say whether a child is as wanted: equal hash, and nobody changed it since our last apply."""
    ref = ref_of(manifest)
    live = observed.children.get(ref)
    return (
        live is not None
        and stamp_of(live) == stamp_of(manifest)
        and observed.applied.get(ref) == live["metadata"].get("generation", 0)
    )
