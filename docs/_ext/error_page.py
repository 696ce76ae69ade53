"""The errors page: one section per code, from the classes and the sentences that tests compare."""

# ruff: noqa: INP001  # loaded by Sphinx, from this folder

from __future__ import annotations

import inspect
import runpy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from geopod import errors
from geopod.errors import GeopodError

SENTENCES = Path(__file__).parents[2] / "tests" / "unit" / "test_error_sentences.py"
ACTS = {
    "user": "you",
    "administrator": "an administrator",
    "repeat": "nobody, the same call may succeed later",
}


def error_text() -> str:
    """Return all sections as Markdown, in the order of the codes."""
    return "\n\n".join(_section(found) for found in coded_classes())


def coded_classes() -> list[type[GeopodError]]:
    """Return every public class with a code of its own, in the order of the codes."""
    classes = [getattr(errors, name) for name in errors.__all__]
    public = [it for it in classes if isinstance(it, type) and issubclass(it, GeopodError)]
    coded = [it for it in public if "code" in it.__dict__ and it is not GeopodError]
    return sorted(coded, key=lambda it: it.code)


def anchor(code: str) -> str:
    """Return the name of a code's section on the page."""
    return f"gp-{code.lower()}"


@cache
def examples() -> dict[str, list[GeopodError]]:
    """Return, by code, the errors whose sentences the tests compare word for word."""
    found: dict[str, list[GeopodError]] = defaultdict(list)
    for _, error, _ in runpy.run_path(str(SENTENCES))["SENTENCES"]:
        found[error.code].append(error)
    for error in _more_examples():
        found[error.code].append(error)
    return found


def _more_examples() -> Iterator[GeopodError]:
    """Yield one of each class whose sentence is all the caller's."""
    yield errors.InvalidInputError.value(
        name="memory", value="1", why="is 1 byte; a node needs at least 16 MiB", fix="memory='1Gi'"
    )
    remote = SimpleNamespace(
        type="ValueError",
        module="builtins",
        message="empty geometry",
        text="",
        args=["empty geometry"],
        notes=[],
        frames=[],
    )
    raised = [
        errors.RemoteFunctionError.raised(remote, task=task, total=240, node=1, attempt=1)
        for task in (4, 9)
    ]
    yield raised[0]
    late = errors.TaskTimeoutError("was stopped.", details={"reason": "Timeout"})
    failures = {4: raised[0], 9: raised[1], 17: late}
    yield errors.RunFailedError.failed(exceptions=failures, completed=[], total=240)


def _section(found: type[GeopodError]) -> str:
    lines = [
        f"({anchor(found.code)})=",
        f"## GP-{found.code} {found.__name__}",
        "",
        " ".join((inspect.getdoc(found) or "").split()),
        "",
        *_facts(found),
    ]
    for error in examples()[found.code]:
        lines += ["", "```text", str(error), "```"]
    return "\n".join(lines)


def _facts(found: type[GeopodError]) -> Iterator[str]:
    parents = [it for it in found.__bases__ if it is not GeopodError]
    if parents:
        yield f"* Caught as {_words([f'`{it.__name__}`' for it in parents])} too."
    yield f"* Who acts: {ACTS[found.actor]}."
    if found.retry is not None:
        yield f'* Tried again if `Retry(on=…)` names `"{found.retry}"`.'
    reasons = [word for word, it in errors.TASK_REASONS.items() if it is found]
    if reasons:
        yield f"* `task.reason`: {_words([f'`{word}`' for word in reasons])}."
    reasons = [word for word, it in errors.CONDITION_REASONS.items() if it is found]
    if reasons:
        yield f"* Reason on the resource: {_words([f'`{word}`' for word in reasons])}."


def _words(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
