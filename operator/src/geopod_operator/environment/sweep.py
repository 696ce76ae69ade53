"""Which builder objects of a namespace nobody needs: no environment names their key."""

from __future__ import annotations

from collections.abc import Iterable

from geopod.api import names

from geopod_operator.environment.observed import Raw, Ref
from geopod_operator.environment.outcome import Delete

INSTANCE = "app.kubernetes.io/instance"


def sweep_builds(objects: Iterable[Raw], environments: Iterable[Raw]) -> tuple[Delete, ...]:
    """Return what to delete among the builder's Jobs and ConfigMaps of one namespace.

    `objects`: those with the labels of `names.child_labels(…, "builder")`; `environments`: all
    ComputeEnvironments of the namespace. With a Job goes its Secret. An environment that has not
    told its key yet (no status) keeps everything: it may be about to use any of them.
    """
    named: set[str] = set()
    for environment in environments:
        runtime = (environment.get("status") or {}).get("runtime")
        if runtime is None:
            return ()
        named.add(str(runtime.get("bundleKey", ""))[:16])
    deletes: list[Delete] = []
    for found in objects:
        metadata, kind = found["metadata"], found["kind"]
        instance = (metadata.get("labels") or {}).get(INSTANCE, "")
        if kind not in {"Job", "ConfigMap"} or instance in named or not _is_ours(found, instance):
            continue
        deletes.append(Delete(ref=Ref(kind, metadata["name"]), uid=metadata.get("uid")))
        if kind == "Job":
            deletes.append(Delete(ref=Ref("Secret", metadata["name"])))
    return tuple(sorted(deletes, key=lambda it: it.ref))


def _is_ours(found: Raw, instance: str) -> bool:
    """Say whether name and labels agree, so that no namesake of a user's is swept."""
    return bool(instance) and found["metadata"]["name"] in {
        names.build_name(instance),
        names.bundle_name(instance),
    }
