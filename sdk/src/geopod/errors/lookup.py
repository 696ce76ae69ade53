"""Errors of things that are not there: environments, runs, results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from geopod.errors.base import GeopodError
from geopod.errors.wording import items_text, moment_text, option_text

if TYPE_CHECKING:
    from datetime import datetime


class NotFoundError(GeopodError, LookupError, ValueError):
    """What was asked for does not exist, or no more."""


class EnvironmentNotFoundError(NotFoundError):
    """No environment has this name or id."""

    code = "E201"

    @classmethod
    def missing(
        cls, *, name: str, namespace: str, target: str, history: str = "", yours: Sequence[str] = ()
    ) -> Self:
        """`history`: what is known of it, `It was deleted 2 h ago by ttl`; `yours`: what exists."""
        return cls(
            _missing_text("environment", name, namespace, target, history, yours),
            fixes=("create it again", "client.environments()"),
            details={"name": name, "yours": list(yours)},
        )


class RunNotFoundError(NotFoundError):
    """No run has this name or id."""

    code = "E202"

    @classmethod
    def missing(
        cls, *, name: str, namespace: str, target: str, history: str = "", yours: Sequence[str] = ()
    ) -> Self:
        """`history`: what is known of it; `yours`: the runs that exist, newest first."""
        return cls(
            _missing_text("run", name, namespace, target, history, yours),
            fixes=("submit it again", "client.runs()"),
            details={"name": name, "yours": list(yours)},
        )


class ResultExpiredError(NotFoundError):
    """The run is known, its results are gone."""

    code = "E203"

    @classmethod
    def expired(cls, *, run: str, at: datetime, keep_s: float, now: datetime | None = None) -> Self:
        """The results of `run` were kept `keep_s` seconds, until `at`."""
        keep = option_text(keep_s)
        return cls(
            f"Results of {run!r} expired at {moment_text(at, now)} "
            f"(keep_results {keep[:-1]} {keep[-1]}).",
            fixes=('run.rerun(tasks="all")',),
            run=run,
        )

    @classmethod
    def gone(cls, *, run: str) -> Self:
        """The results of `run` are not in the store, and neither is its environment there."""
        return cls(
            f"Results of {run!r} are not in the store any more; its environment was deleted.",
            fixes=("submit it again",),
            run=run,
        )


class EnvironmentTerminatedError(NotFoundError):
    """The environment was ended by a person; nothing wakes it but `resume()`."""

    code = "E204"

    @classmethod
    def terminated(
        cls, *, environment: str, at: datetime, by: str, now: datetime | None = None
    ) -> Self:
        """`environment` was terminated at `at` by the user `by`."""
        return cls(
            f"Environment {environment!r} was terminated at {moment_text(at, now)} by {by}.",
            fixes=("env.resume()",),
            details={"environment": environment, "by": by},
        )


def _missing_text(  # the words of one sentence, in their order
    kind: str, name: str, namespace: str, target: str, history: str, yours: Sequence[str]
) -> str:
    past = f" {history.rstrip('.')}." if history else ""
    mine = f" Yours: {items_text(yours)}." if yours else ""
    return f"No {kind} {name!r} in namespace {namespace!r} (cluster {target!r}).{past}{mine}"
