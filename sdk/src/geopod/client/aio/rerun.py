"""A new run over chosen tasks of an ended one; its results merge with what the first had."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from geopod.api import names
from geopod.api.bundles import ArgumentPlaces, ArgumentsRef, digest, pack_arguments
from geopod.api.runs import RunOrder
from geopod.client import given
from geopod.client.aio.submission import Retry, read_retries, run_name
from geopod.client.quantities import seconds
from geopod.errors import InconsistentPartsError, InvalidInputError

if TYPE_CHECKING:
    from geopod.client.aio.run import Run
    from geopod.store import Store


async def choose_tasks(run: Run, tasks: str | Sequence[int], reasons: Sequence[str]) -> list[int]:
    """Return the tasks to run again.

    `"failed"`: those without a result, but for OutOfMemory unless `reasons` names it: the same
    memory would end them the same way. `"all"`, or a list of indexes.
    """
    if tasks == "all":
        return list(run.indexes)
    if not isinstance(tasks, str):
        return given.indexes(tasks, run.indexes, name="tasks", whole=f"run {run.name!r}")
    if tasks != "failed":
        raise InvalidInputError.value(
            name="tasks", value=tasks, why="is neither 'failed', 'all' nor a list of indexes"
        )
    chosen = []
    for index in await run.failed_indexes():
        record = await run.record(index)
        reason = record.failure.reason if record is not None and record.failure else ""
        wanted = reason in reasons if reasons else reason != "OutOfMemory"
        if wanted:
            chosen.append(index)
    return chosen


async def check_cut(run: Run) -> None:
    """Raise InconsistentPartsError when the environment's partitions are not those of the run."""
    home = await run.home()
    if run.order.mode != "PerNode" or home is None:
        return
    first = run
    while first.base is not None:
        first = first.base
    plans = {run.state.plan_sha256, home.record.state.plan_sha256} - {""}
    has_other_nodes = first.order.partitions is None and first.total not in {0, home.nodes}
    if len(plans) > 1 or has_other_nodes:
        raise InconsistentPartsError.cut_anew(base=run.name, so="nothing was run again")


async def rerun_order(
    store: Store,
    order: RunOrder,
    indexes: list[int],
    *,
    task_timeout: float | str | None,
    retries: Retry | int | None,
) -> RunOrder:
    """Return the order of a run over these tasks; raises InvalidInputError if there are none."""
    if not indexes:
        raise InvalidInputError(
            f"Run {order.name!r} has no task to run again.",
            fixes=("run.rerun(tasks='all')", "run.rerun(reasons=['OutOfMemory'])"),
        )
    uid = str(uuid.uuid4())
    changes: dict[str, object] = {
        "uid": uid,
        "name": run_name(order.function.name, uid),
        "created": time.time(),
        "rerun_of": order.name,
        "rerun_tasks": indexes,
    }
    if order.arguments is None:
        changes["partitions"] = indexes
    else:
        changes["arguments"] = await _some_arguments(store, order, order.arguments, indexes)
        changes["count"] = len(indexes)
    if task_timeout is not None:
        changes["timeout_s"] = seconds(task_timeout, name="task_timeout")
    if retries is not None:
        changes["retries"] = read_retries(retries)
    return msgspec.structs.replace(order, **changes)


async def _some_arguments(
    store: Store, order: RunOrder, arguments: ArgumentsRef, indexes: list[int]
) -> ArgumentsRef:
    whole = await store.get(names.arguments_key(order.environment, arguments.sha256))
    places, view = ArgumentPlaces(whole), memoryview(whole)
    shared = [view[slice(*span)] for span in places.shared]
    packed = pack_arguments([whole[slice(*places.span(index))] for index in indexes], shared)
    sha256 = digest(packed)
    await store.put(names.arguments_key(order.environment, sha256), packed)
    return ArgumentsRef(
        format=arguments.format, sha256=sha256, size=len(packed), count=len(indexes)
    )
