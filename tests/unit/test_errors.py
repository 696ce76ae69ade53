"""The error tree as it is drawn; conditions and failures become its classes."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys

import pytest
from error_builders import a_failure, public
from geopod import errors
from geopod.api.results import TaskReason


def drawn_tree() -> list[tuple[str, str, str, list[str]]]:
    """Class, parent, code, extra bases as the docstring of `geopod.errors` draws them."""
    rows, parents = [], {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([│├└ ]*)(\w+)(?: (E\d+))?(?: [uar])?(?: \[(.*)\])?$", line)
        if match is None or not hasattr(errors, match[2]):
            continue
        depth = len(match[1]) // 2
        parents[depth] = match[2]
        extra = [it for it in (match[4] or "").split(", ") if hasattr(builtins, it)]
        rows.append((match[2], parents.get(depth - 1, "Exception"), match[3] or "", extra))
    return rows


def test_every_error_is_drawn_and_exported():
    drawn = {row[0] for row in drawn_tree()}
    exported = {
        name
        for name in errors.__all__
        if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), Exception)
    }
    assert drawn == exported
    assert len(drawn) == 55


@pytest.mark.parametrize(("name", "parent", "code", "extra"), drawn_tree())
def test_class_is_as_drawn(name, parent, code, extra):
    found = getattr(errors, name)
    assert parent in {base.__name__ for base in found.__bases__}
    assert all(issubclass(found, getattr(builtins, base)) for base in extra)
    if code:
        assert found.code == code
        assert errors.class_of_code(code) is found


def test_codes_are_unique():
    codes = [row[2] for row in drawn_tree() if row[2]]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("name", [row[0] for row in drawn_tree()])
def test_every_class_takes_a_fact_alone_and_is_caught_as_its_base(name):
    error = getattr(errors, name)("Something happened.")
    assert isinstance(error, errors.GeopodError)
    assert error.hint == ""
    assert error.args == ("Something happened.",)
    assert (error.run, error.task, error.details, error.fixes) == (None, None, {}, ())


def test_who_acts_and_which_retry_budget_pays():
    assert errors.NodeLostError.actor == "repeat"
    assert errors.UnschedulableError.actor == "administrator"
    assert errors.LayerNotFoundError.actor == "user"
    assert {name: errors.TASK_REASONS[name].retry for name in errors.TASK_REASONS} == {
        "Exception": "exception",
        "Timeout": "timeout",
        "OutOfMemory": "oom",
        "Signal": "exception",
        "NodeLost": "infra",
        "ResultTooLarge": None,
        "NotSerializable": None,
        "ShapeMismatch": None,
        "NotAFileResult": None,
        "Cancelled": None,
        "FunctionNotLoadable": "exception",
    }


def test_every_task_reason_has_a_class():
    assert set(errors.TASK_REASONS) == {reason.value for reason in TaskReason}


def test_errors_are_light():
    script = (
        "import sys, geopod.errors; "
        "heavy = {'pydantic', 'numpy', 'msgspec', 'aiohttp', 'typing_extensions'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


# ---- conditions and failures


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("InvalidRequirement", "E111"),
        ("ResolutionFailed", "E112"),
        ("RuntimeNotFound", "E113"),
        ("LayerUnreachable", "E122"),
        ("OverlapTooLarge", "E123"),
        ("MissingCRS", "E125"),
        ("InterpreterMismatch", "E101"),
        ("PayloadTooLarge", "E104"),
        ("FunctionNotAllowed", "E003"),
        ("LimitExceeded", "E403"),
        ("PodRefused", "E404"),
        ("InconsistentParts", "E312"),
        ("NotAFileResult", "E311"),
        ("ShapeMismatch", "E310"),
    ],
)
def test_condition_becomes_its_error_and_is_quoted(reason, code):
    error = errors.from_condition(reason, "the message.", during="start", fixes=["do it"])
    assert str(error) == f"GP-{code} the message.\nfix: 1) do it"
    assert error.details["reason"] == reason


def test_other_conditions_are_about_the_start_or_the_run():
    assert errors.from_condition("CrashLoop", "m", during="start").code == "E404"
    assert errors.from_condition("QueueDeadlineExceeded", "m", during="run").code == "E309"


def test_failure_is_told_with_its_task():
    error = public(a_failure(fixes=["wait"]))
    assert isinstance(error, TimeoutError)
    assert str(error) == "GP-E302 Task 4 of 240 was stopped.\nfix: 1) wait"
    assert error.task == 4


def test_stopped_task_says_which_attempt_it_was():
    fact = 'was stopped after 30m00s (task_timeout=30m). Last progress 62 % "(a)."'
    failure = a_failure(fact=fact)

    told = errors.from_failure(failure, task=3, total=240, node=1, attempt=2, attempts=3)

    assert told.fact == (
        "Task 3 of 240 was stopped after 30m00s (task_timeout=30m), attempt 2 of 3. "
        'Last progress 62 % "(a)."'
    )


def test_failures_over_the_limit_are_counted():
    fact = errors.ResultTooLargeError.returned(size=3 << 20, codec="json", limit=2 << 20).fact
    failure = a_failure(reason=TaskReason.RESULT_TOO_LARGE, code="E301", fact=fact)
    assert public(failure, over=2).fact == (
        "Task 4 of 240 returned 3.0 MiB (3,145,728 bytes as json); the limit with "
        "large_result=False is 2 MiB (2,097,152 bytes). 2 tasks are over it; all are kept until "
        "they expire."
    )


@pytest.mark.parametrize("fact", ["node 1 returned dict.", "returned dict."])
def test_failure_of_a_part_is_told_with_its_node(fact):
    failure = a_failure(reason=TaskReason.NOT_A_FILE_RESULT, code="E311", fact=fact)
    assert public(failure).fact == "node 1 returned dict."
