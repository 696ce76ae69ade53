"""What all tasks of a run came to: values and exceptions by their place, those of reruns merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from geopod.display.lists import Results
from geopod.errors import (
    GeopodError,
    InconsistentPartsError,
    ResultExpiredError,
    RunFailedError,
    from_condition,
)

if TYPE_CHECKING:
    from geopod.client.aio.run import Errors, Run


DEADLINES = frozenset({"DeadlineExceeded", "QueueDeadlineExceeded"})
"""Reasons that end a run as a whole: its tasks only say that they were cancelled."""


class Outcomes(NamedTuple):
    """Two columns and no pair per task: of a hundred thousand tasks these are megabytes."""

    names: Sequence[int]
    """The tasks' indexes, by place."""
    values: list[Any]
    """None where a task failed."""
    exceptions: dict[int, GeopodError]
    """By place."""


async def read_outcomes(run: Run, *, allow_pickle: bool) -> Outcomes:
    """Return every task's result or exception; a rerun's replace those of the run before.

    Raises InconsistentPartsError when those are of other partitions.
    """
    values: list[Any] = []
    exceptions: dict[int, GeopodError] = {}
    for place, index in enumerate(run.indexes):
        error = await run.exception(index)
        if error is not None:
            exceptions[place] = error
        is_there = error is None
        values.append(await run.value(index, allow_pickle=allow_pickle) if is_there else None)
    own = Outcomes(run.indexes, values, exceptions)
    if run.base is None:
        return own
    plans = {run.state.plan_sha256, run.base.state.plan_sha256} - {""}
    if run.order.mode == "PerNode" and len(plans) > 1:
        raise InconsistentPartsError.cut_anew(
            base=run.base.name, run=run.name, so="their results are no whole"
        )
    return _merged(await read_outcomes(run.base, allow_pickle=allow_pickle), own, run)


def _merged(first: Outcomes, own: Outcomes, run: Run) -> Outcomes:
    for nth, place in enumerate(_places(run).values()):
        first.values[place] = own.values[nth]
        first.exceptions.pop(place, None)
        if nth in own.exceptions:
            first.exceptions[place] = own.exceptions[nth]
    return first


def _places(run: Run) -> dict[int, int]:
    """Return the place of each of a run's own tasks among those of the first run."""
    if run.base is None:
        return {index: place for place, index in enumerate(run.indexes)}
    before = _places(run.base)
    return {
        own: before[index] for own, index in zip(run.indexes, run.order.rerun_tasks, strict=True)
    }


def gather_results(run: Run, outcomes: Outcomes, errors: Errors) -> Results:
    """Return what `results` returns, or raise what it raises."""
    _, values, exceptions = outcomes
    if errors == "return":
        return Results(exceptions.get(place, value) for place, value in enumerate(values))
    if errors == "skip":
        return Results(value for place, value in enumerate(values) if place not in exceptions)
    raise_failures(run, outcomes)
    return Results(values)


def stopped_error(
    run: Run, exceptions: Mapping[int, GeopodError], values: Sequence[Any]
) -> RunFailedError | None:
    """Return the error of a run that a deadline of its own ended; None: none did."""
    if run.state.reason not in DEADLINES:
        return None
    return RunFailedError.stopped(
        why=run.state.message or run.state.reason, exceptions=exceptions, completed=values, run=run
    )


def raise_failures(run: Run, outcomes: Outcomes) -> None:
    """Raise what ended the run, or nothing."""
    names, values, exceptions = outcomes
    if run.phase == "Failed" and not run.known_records and run.base is None:
        refusal = from_condition(run.state.reason, run.state.message, during="run")
        if not isinstance(refusal, RunFailedError):  # no task ever ran
            raise refusal
    for error in exceptions.values():
        if isinstance(error, ResultExpiredError):
            raise error
    named = {names[place]: error for place, error in exceptions.items()}
    if named:
        raise stopped_error(run, named, values) or RunFailedError.failed(
            exceptions=named, completed=values, total=len(values), run=run
        )
    if run.phase == "Failed":  # with all results: they are no layer
        raise from_condition(run.state.reason, run.state.message, during="run")
