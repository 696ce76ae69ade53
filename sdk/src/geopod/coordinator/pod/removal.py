"""Removes what an ended run has stored when its resource asks for that, and says so."""

from __future__ import annotations

import time

from geopod.api import names
from geopod.api.raw_conditions import ConditionWriter, find_raw
from geopod.api.reasons import RunCondition
from geopod.api.run_conditions import TERMINAL
from geopod.cluster.kinds import RUNS
from geopod.coordinator.pod.office import Object, Office
from geopod.store import Store

OPENS = ("token", "inline", "expiresAt")
"""Of `status.results`: what leads to results, or holds some."""


def is_removal_due(manifest: Object, environment_uid: str) -> bool:
    """Whether an ended run of this environment shall lose its results, and has not yet."""
    status = manifest.get("status") or {}
    if status.get("phase") not in TERMINAL or status.get("environmentUID") != environment_uid:
        return False
    told = find_raw(status.get("conditions", ()), RunCondition.RESULTS_AVAILABLE)
    asked = names.ANNOTATION_DELETE_RESULTS in (manifest["metadata"].get("annotations") or {})
    return asked and (told is None or told["reason"] != "Deleted")


async def remove_results(office: Office, store: Store, manifest: Object) -> None:
    """Remove everything that a run ever stored; then its status says that it is gone."""
    metadata = manifest["metadata"]
    await store.delete(names.run_prefix(office.pod.environment_uid, metadata["uid"]))
    status = without_results(manifest, now=time.time())
    await office.write_status(RUNS, metadata["name"], status, uid=metadata["uid"])


def without_results(manifest: Object, *, now: float) -> Object:
    """Return a run's status when its results are deleted."""
    metadata, status = manifest["metadata"], manifest["status"]
    before = status.get("conditions", ())
    write = ConditionWriter(before, generation=metadata.get("generation", 1), now=now)
    write.say(RunCondition.RESULTS_AVAILABLE, "Deleted", status=False)
    others = [it for it in before if it["type"] != RunCondition.RESULTS_AVAILABLE]
    results = {k: v for k, v in (status.get("results") or {}).items() if k not in OPENS}
    return {**status, "conditions": [*others, *write.done()], "results": results}
