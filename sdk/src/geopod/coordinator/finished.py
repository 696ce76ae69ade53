"""Runs that have ended, as they are published: a rerun counts with what it left as it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from geopod.api.results import TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.coordinator.manifest import accepted_keys, read_records
from geopod.errors import InconsistentPartsError
from geopod.errors.wording import items_text
from geopod.store import Store

FindRun = Callable[[str], Awaitable[tuple[RunOrder, RunState] | None]]
"""A run by its name; None: it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run whose results are published."""

    uid: str
    name: str
    environment: str
    """The environment's uid."""
    created: float
    indexes: Sequence[int]
    """Its tasks: the chosen partitions, or all from 0."""
    plan_sha256: str = ""
    function_sha256: str = ""
    base: FinishedRun | None = None
    """The run whose chosen tasks this one ran again."""
    rerun_tasks: Sequence[int] = ()
    """Which of the base's tasks, in the order of `indexes`."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What one task came to, and the run that its last attempt was of."""

    task: int
    """Its index in the first run of all."""
    run: FinishedRun
    record: TaskRecord | None
    """None: it has none."""


async def finished_run(order: RunOrder, state: RunState, *, find: FindRun) -> FinishedRun:
    """Return an ended run over the runs that it ran chosen tasks of again, back to the first.

    Raises InconsistentPartsError when one of them is gone, or has partitions of another plan.
    """
    newest_first = [(order, state)]
    known = {order.uid}
    while order.rerun_of:
        base = await find(order.rerun_of)
        if base is None or base[0].uid in known or not _may_be_base(base[0], order):
            raise InconsistentPartsError(
                f"{order.name!r} ran tasks of {order.rerun_of!r} again, and that run is gone; "
                "nothing is published.",
                fixes=("env.submit(f), then add_to_layer",),
            )
        newest_first.append(base)
        order = base[0]
        known.add(order.uid)
    first, *reruns = reversed(newest_first)
    run = _over(*first, base=None)
    for rerun in reruns:
        run = _over(*rerun, base=run)
    return run


def _may_be_base(base: RunOrder, order: RunOrder) -> bool:
    """Say whether a run can be the one meant: its name may have gone to a later one."""
    return base.created <= order.created and base.function.sha256 == order.function.sha256


def _over(order: RunOrder, state: RunState, *, base: FinishedRun | None) -> FinishedRun:
    chosen = order.partitions
    indexes = range(state.total) if chosen is None else sorted(chosen)
    run = FinishedRun(
        uid=order.uid,
        name=order.name,
        environment=order.environment,
        created=order.created,
        indexes=indexes,
        plan_sha256=state.plan_sha256,
        function_sha256=order.function.sha256,
        base=base,
        rerun_tasks=(order.rerun_tasks or indexes) if base is not None else (),
    )
    if base is not None:
        _check_fit(run, base, is_per_node=order.mode == "PerNode")
    return run


def _check_fit(run: FinishedRun, base: FinishedRun, *, is_per_node: bool) -> None:
    """Raise InconsistentPartsError when a rerun's tasks are none of its base's."""
    strange = sorted(set(run.rerun_tasks) - set(base.indexes))
    if strange or len(run.rerun_tasks) != len(run.indexes):
        raise InconsistentPartsError(
            f"{run.name!r} has {len(run.indexes)} tasks and says that they are "
            f"{items_text(run.rerun_tasks)} of {base.name!r}, which has {len(base.indexes)}; "
            "nothing is published."
        )
    plans = {run.plan_sha256, base.plan_sha256} - {""}
    if is_per_node and len(plans) > 1:
        raise InconsistentPartsError.cut_anew(
            base=base.name, run=run.name, so="nothing is published"
        )


def first_of(run: FinishedRun) -> FinishedRun:
    """Return the run that is no rerun, whose tasks all the others ran again."""
    return _back_to_first(run)[-1]


def _back_to_first(run: FinishedRun) -> list[FinishedRun]:
    newest_first = [run]
    while newest_first[-1].base is not None:
        newest_first.append(newest_first[-1].base)
    return newest_first


async def read_results(
    store: Store, run: FinishedRun, *, partial: bool = False
) -> list[TaskResult]:
    """Return every task's result in the order of the first run; a rerun's are the last word.

    Raises InconsistentPartsError unless all tasks have one, or the layer may be `partial`.
    """
    newest_first = _back_to_first(run)
    first = newest_first[-1]
    tasks: dict[int, int] = {index: index for index in first.indexes}
    """A run's own index -> the first run's."""
    results: dict[int, TaskResult] = {}
    for each in reversed(newest_first):
        if each is not first:
            pairs = zip(each.indexes, each.rerun_tasks, strict=True)
            tasks = {own: tasks[index] for own, index in pairs}
        keys = await accepted_keys(store, each.environment, each.uid)
        records = {record.index: record for record in await read_records(store, keys)}
        for own, task in tasks.items():
            record = records.get(own)
            has_result = record is not None and record.failure is None
            results[task] = TaskResult(task, each, record if has_result else None)
    missing = [task for task, result in results.items() if result.record is None]
    if missing and not partial:
        raise InconsistentPartsError(
            f"{len(missing)} of {len(results)} tasks of {run.name!r} have no result "
            f"({items_text(missing)}); nothing is published.",
            fixes=("run.rerun().add_to_layer(…)", "write_to={…, 'partial': True}"),
            details={"missing": missing[:100]},
        )
    return [results[task] for task in first.indexes]
