"""Errors of one task: what ended it, and what became of its node.

Every sentence can be built without its task (an agent does not know how the user counts): `task`
and `total` put `Task 3 of 240 ` before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from geopod.errors.base import Actor, GeopodError, RetryWord
from geopod.errors.wording import (
    option_text,
    quantity_text,
    share_text,
    size_text,
    span_text,
)

EXIT_KILLED = 137
"""128 + SIGKILL, as a shell and a container runtime report it."""


class TaskError(GeopodError):
    """One task failed; the others of its run are not touched by it."""

    names_total: ClassVar[bool] = False
    """Its sentence starts with `Task 3 of 240`, not `Task 3`."""

    @classmethod
    def subject(cls, task: int | None, total: int | None) -> str:
        """Return the start of the sentence, `Task 3 ` or `Task 3 of 240 `; empty without task."""
        if task is None:
            return ""
        return f"Task {task} of {total} " if cls.names_total and total else f"Task {task} "


class TaskTimeoutError(TaskError, TimeoutError):
    """One attempt ran past `task_timeout` and was stopped."""

    code = "E302"
    retry: ClassVar[RetryWord | None] = "timeout"
    names_total = True

    @classmethod
    def stopped(  # one value per number of the sentence
        cls,
        *,
        after_s: float,
        timeout_s: float,
        attempt: int | None = None,
        attempts: int | None = None,
        seen: Sequence[str] = (),
        task: int | None = None,
        total: int | None = None,
    ) -> Self:
        """The attempt was stopped after `after_s` seconds; `seen`: see `last_seen`."""
        counted = "" if attempt is None else f", attempt {attempt}"
        counted += f" of {attempts}" if counted and attempts else ""
        evidence = "; ".join(seen)
        evidence = f" {evidence[0].upper()}{evidence[1:]}" if evidence else ""
        return cls(
            f"{cls.subject(task, total)}was stopped after {span_text(after_s)} "
            f"(task_timeout={option_text(timeout_s)}){counted}.{evidence}",
            fixes=(
                f"run.rerun(task_timeout={option_text(timeout_s * 4)!r})",
                "task.reproduce()",
            ),
            details={"seconds": after_s, "timeout": timeout_s},
            task=task,
        )

    @staticmethod
    def counted(fact: str, *, attempt: int, attempts: int) -> str:
        """Return a node's sentence with the count of attempts, which the node does not know."""
        stopped, mark, evidence = fact.partition(").")
        return f"{stopped}), attempt {attempt} of {attempts}.{evidence}" if mark else fact

    @staticmethod
    def last_seen(
        *,
        fraction: float | None = None,
        text: str = "",
        peak: int | None = None,
        memory: int | None = None,
        cpu_percent: float | None = None,
        log_line: str = "",
    ) -> tuple[str, ...]:
        """Return what is known of a stopped task, in the order of the sentence."""
        said = f' "{text}"' if text else ""
        parts = (
            f"Last progress {fraction * 100:.0f} %{said}" if fraction is not None else "",
            f"peak {share_text(peak, memory)}" if peak and memory else "",
            f"cpu {cpu_percent:.0f} %" if cpu_percent is not None else "",
            f"last log line: {log_line}" if log_line else "",
        )
        return tuple(part for part in parts if part)


class OutOfMemoryError(TaskError, MemoryError):
    """The child was killed at its memory limit."""

    code = "E304"
    retry: ClassVar[RetryWord | None] = "oom"

    @classmethod
    def killed(
        cls,
        *,
        limit: int,
        exit_code: int = EXIT_KILLED,
        partition_bytes: int | None = None,
        task: int | None = None,
        total: int | None = None,
    ) -> Self:
        """`limit` in bytes; `partition_bytes`: what the task's partition holds on scratch."""
        holds = (
            f"; its partition holds {size_text(partition_bytes)}"
            if partition_bytes is not None
            else ""
        )
        return cls(
            f"{cls.subject(task, total)}was killed at its {size_text(limit)} memory limit "
            f"(exit {exit_code}){holds}.",
            fixes=(f"memory='{quantity_text(limit * 2)}'", "more nodes"),
            details={"limit": limit, "exit": exit_code, "partitionBytes": partition_bytes},
            task=task,
        )


class ProcessCrashedError(TaskError):
    """The child died without an exception."""

    code = "E305"
    retry: ClassVar[RetryWord | None] = "exception"

    @classmethod
    def died(
        cls,
        *,
        signal: str,
        where: str | None = None,
        task: int | None = None,
        total: int | None = None,
    ) -> Self:
        """`signal` is `SIGSEGV`; `where` the innermost frame's module, if frames were kept."""
        place = f" in {where} (frames below)" if where else ""
        return cls(
            f"{cls.subject(task, total)}died with {signal}{place}.",
            fixes=("task.reproduce()",),
            details={"signal": signal, "where": where},
            task=task,
        )

    @classmethod
    def exited(
        cls,
        *,
        exit_code: int,
        called: str = "sys.exit",
        task: int | None = None,
        total: int | None = None,
    ) -> Self:
        """The process ended by itself; `called` is `sys.exit` or `os._exit`."""
        return cls(
            f"{cls.subject(task, total)}called {called}({exit_code}) without returning.",
            fixes=("task.reproduce()",),
            details={"exit": exit_code},
            task=task,
        )

    @classmethod
    def over_limit(
        cls, *, did: str, details: dict[str, Any], task: int | None = None, total: int | None = None
    ) -> Self:
        """A limit that protects the node was passed; `did` reads `started 513 processes …`."""
        return cls(
            f"{cls.subject(task, total)}{did}.",
            fixes=("task.reproduce()",),
            details=details,
            task=task,
        )


class NodeLostError(TaskError):
    """The node went away more often than the retries allow."""

    code = "E306"
    actor: ClassVar[Actor] = "repeat"
    retry: ClassVar[RetryWord | None] = "infra"

    @classmethod
    def lost(  # one value per number of the sentence
        cls,
        *,
        times: int,
        limit: int,
        why: str = "",
        kept: int | None = None,
        task: int | None = None,
        total: int | None = None,
    ) -> Self:
        """`why` is `evicted: disk pressure`; `kept`: how many results of the run there are."""
        cause = f"; {why}" if why else ""
        results = "" if kept is None else f"; {kept} results are kept"
        return cls(
            f"{cls.subject(task, total)}lost its node {times} times (limit {limit}{cause})"
            f"{results}.",
            fixes=("run.rerun()",),
            details={"times": times, "limit": limit},
            task=task,
        )


class TaskCancelledError(TaskError):
    """Someone cancelled the task, or the failure of another one did (`FailFast`)."""

    code = "E308"

    @classmethod
    def cancelled(cls, *, by: str = "", task: int | None = None, total: int | None = None) -> Self:
        """`by`: the user, or what did it; empty: not known."""
        who = f" by {by}" if by else ""
        return cls(
            f"{cls.subject(task, total)}was cancelled{who}.", fixes=("run.rerun()",), task=task
        )
