"""Errors of a whole run: some of its tasks failed, its parts do not fit, or waiting ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from geopod.errors.base import GeopodError
from geopod.errors.remote import RemoteFunctionError
from geopod.errors.returned import ResultTooLargeError
from geopod.errors.tasks import TaskError
from geopod.errors.wording import items_text, span_text

TIMES = "\N{MULTIPLICATION SIGN}"
GROUPS_SHOWN = 5
"""Kinds of failure named in the sentence; `.exceptions` has every one."""


MESSAGE_CHARACTERS = 200
"""So much of a message stands in the sentence."""


class RunFailedError(GeopodError):
    """Some tasks of a run failed; what the others returned is kept, here and in the store.

    Also an instance of the class that all its failures share, so that `except OutOfMemoryError`
    or `except ValueError` works; its `__cause__` is the first failure.
    """

    code = "E309"

    def __init__(
        self,
        fact: str,
        *,
        fixes: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
        run: Any = None,
        task: Any = None,
    ) -> None:
        """Make an error without failures; `failed` fills them in."""
        # Not super(): mixed with a user's class, that one would be next.
        GeopodError.__init__(self, fact, fixes=fixes, details=details, run=run, task=task)
        self.exceptions: dict[int, GeopodError] = {}
        """Task index -> why it failed, in task order."""
        self.completed: list[Any] = []
        """One element per task, in task order; None where it failed."""
        self.counts: dict[str, int] = {}
        """total, succeeded, failed"""

    @classmethod
    def failed(
        cls,
        *,
        exceptions: Mapping[int, GeopodError],
        completed: Sequence[Any],
        total: int,
        reasons: Mapping[int, str] | None = None,
        run: Any = None,
    ) -> RunFailedError:
        """Return the error of a run with failed tasks.

        A value over the size limit fails its task and is kept all the same.

        `exceptions`: task index -> its error; `completed`: results in task order, None where
        failed; `reasons`: task index -> the manifest's word, for failures that are no exception.
        """
        ordered = dict(sorted(exceptions.items()))
        succeeded = total - len(ordered)
        over = sum(isinstance(error, ResultTooLargeError) for error in ordered.values())
        kept = succeeded + over
        noun = "task" if total == 1 else "tasks"
        error = cls._sharing(
            list(ordered.values()),
            f"{len(ordered)} of {total} {noun} failed: {_grouped(ordered, reasons or {})}. "
            f"{kept} {'result' if kept == 1 else 'results'} kept.",
        )
        reached = ("run.download(folder)",) if over else ()
        error.fixes, error.run = ("run.results(errors='return')", *reached), run
        error._keep(ordered, completed, total=total)  # noqa: SLF001  # its own class
        return error

    @classmethod
    def stopped(
        cls,
        *,
        why: str,
        exceptions: Mapping[int, GeopodError],
        completed: Sequence[Any],
        run: Any = None,
    ) -> Self:
        """A deadline ended the run as a whole; `why` is quoted, and what was done is kept."""
        error = cls(why, fixes=("run.explain()", 'run.rerun(tasks="all")'), run=run)
        error._keep(dict(sorted(exceptions.items())), completed, total=len(completed))
        return error

    def _keep(
        self, exceptions: dict[int, GeopodError], completed: Sequence[Any], *, total: int
    ) -> None:
        """Hold what every task came to."""
        self.exceptions, self.completed = exceptions, list(completed)
        failed = len(exceptions)
        self.counts = {"total": total, "succeeded": total - failed, "failed": failed}
        self.__cause__ = next(iter(exceptions.values()), None)

    @classmethod
    def ended(cls, *, run: str, reason: str, message: str) -> Self:
        """The run as a whole ended with a condition (DeadlineExceeded, …); `message` is quoted."""
        return cls(message or f"Run {run!r} ended: {reason}.", details={"reason": reason}, run=run)

    @classmethod
    def _sharing(cls, failures: Sequence[GeopodError], fact: str) -> RunFailedError:
        """Return an error of this class mixed with the classes that all failures share."""
        shared = _shared_classes(failures)
        namespace = {"__module__": cls.__module__, "__init__": cls.__init__}
        try:
            return type(cls.__name__, (cls, *shared), namespace)(fact) if shared else cls(fact)
        except TypeError:  # no common layout, or a constructor of its own: the plain class says it
            return cls(fact)


class InconsistentPartsError(RunFailedError):
    """The nodes' results cannot become one layer."""

    code = "E312"

    @classmethod
    def differ(
        cls, *, wrong: int, total: int, node: int, has: Mapping[str, Any], first: Mapping[str, Any]
    ) -> Self:
        """Node `node` has `has` (dtype, nodata, bands, crs or schema), node 0 has `first`."""
        return cls(
            f"{wrong} of {total} parts differ: node {node} has {_traits(has)}, "
            f"node 0 has {_traits(first)}.",
            fixes=("make f return one type",),
            details={"node": node, "has": dict(has), "first": dict(first)},
        )

    @classmethod
    def cut_anew(cls, *, base: str, run: str = "", so: str) -> Self:
        """The nodes' parts are others now than those of `base`; `run`: its rerun, if it ran."""
        until = f" and its rerun {run!r}" if run else " and now"
        return cls(
            f"The layers were cut anew between {base!r}{until}: tasks of the same number are of "
            f"different partitions; {so}.",
            fixes=("env.submit(f)",),
            details={"base": base, "run": run},
        )


class WaitTimeoutError(GeopodError, TimeoutError):
    """The waiting ended, not the run."""

    code = "E501"

    @classmethod
    def stopped_waiting(
        cls, *, after_s: float, run: str, done: int, total: int, remaining_s: float | None = None
    ) -> Self:
        """`remaining_s`: the estimate, if there is one yet."""
        left = "" if remaining_s is None else f", about {span_text(remaining_s)} left"
        return cls(
            f"Stopped waiting after {after_s:g} s; run {run!r} goes on "
            f"({done} of {total} done{left}).",
            fixes=("run.wait()", "run.cancel()"),
            run=run,
        )


def _shared_classes(failures: Sequence[GeopodError]) -> tuple[type, ...]:
    """Return the most derived classes that every failure is an instance of."""
    if not failures:
        return ()
    too_wide = {*TaskError.__mro__, RunFailedError}
    first, *others = failures
    common = [
        found
        for found in type(first).__mro__
        if found not in too_wide and all(isinstance(other, found) for other in others)
    ]
    return tuple(
        found
        for found in common
        if not any(other is not found and issubclass(other, found) for other in common)
    )


def _grouped(failures: Mapping[int, GeopodError], reasons: Mapping[int, str]) -> str:
    """Return the kinds of failure, most frequent first, and the tasks of each."""
    labels = {index: _label(error, reasons.get(index)) for index, error in failures.items()}
    groups = [
        f"{count} {TIMES} {label} ({_task_list([i for i in labels if labels[i] == label])})"
        for label, count in Counter(labels.values()).most_common()
    ]
    return items_text(groups, limit=GROUPS_SHOWN)


def _label(error: GeopodError, reason: str | None) -> str:
    if isinstance(error, RemoteFunctionError) and error.remote is not None:
        message = _cut(error.remote.message.strip().partition("\n")[0])
        return f'{error.remote.type} "{message}"' if message else error.remote.type
    return reason or str(error.details.get("reason") or type(error).__name__)


def _cut(message: str) -> str:
    """Return the beginning of a long message; the exception itself has all of it."""
    shown = message[:MESSAGE_CHARACTERS]
    return message if message == shown else f"{shown.rstrip()} …"


def _task_list(indexes: Sequence[int]) -> str:
    noun = "task" if len(indexes) == 1 else "tasks"
    return f"{noun} {items_text(indexes)}"


def _traits(traits: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in traits.items())
