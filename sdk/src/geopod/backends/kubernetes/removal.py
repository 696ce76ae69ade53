"""Results of one run are removed by its environment's coordinator: users' tokens delete nothing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from geopod.api import names
from geopod.api.raw_conditions import find_raw
from geopod.api.reasons import RunCondition
from geopod.backends.kubernetes.manifests import FIELD_MANAGER, Manifest
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import RUNS
from geopod.errors import PermissionDeniedError

ANSWER_WITHIN_S = 60.0
"""A coordinator that is restarted meanwhile sees the wish when it is back."""


async def remove_results(api: ApiClient, name: str) -> None:
    """Return when nothing of what an ended run has stored is left.

    Raises PermissionDeniedError when no coordinator carries it out: its environment sleeps or is
    gone. The wish stays on the run, for the coordinator of the next time.
    """
    wish = {"metadata": {"annotations": {names.ANNOTATION_DELETE_RESULTS: "true"}}}
    run = await api.patch(RUNS, name, wish, field_manager=FIELD_MANAGER)
    since, chosen = run["metadata"]["resourceVersion"], f"metadata.name={name}"
    try:
        async with (
            asyncio.timeout(ANSWER_WITHIN_S),
            aclosing(api.watch(RUNS, field_selector=chosen, since=since)) as changes,
        ):
            while not _is_removed(run):
                run = (await anext(changes)).object or run
    except TimeoutError as error:
        raise PermissionDeniedError(
            f"Results of run {name!r} are not deleted yet: its environment sleeps or is gone, and "
            "no coordinator of it answers. They expire after the environment's keep_results.",
            fixes=("env.resume(), then again", "run.delete() keeps them"),
        ) from error


def _is_removed(run: Manifest) -> bool:
    conditions = (run.get("status") or {}).get("conditions", ())
    told = find_raw(conditions, RunCondition.RESULTS_AVAILABLE)
    return told is not None and told["reason"] == "Deleted"
