"""Users' exceptions seen from the client, and a failed run as what all its failures are."""

# ruff: noqa: RUF001  # the sentence's own multiplication sign

from __future__ import annotations

import json
import sys

import pytest
from error_builders import a_failure, a_remote, memory_failure, public, remote_error
from geopod import errors
from geopod.api.environment_resource import CoordinatorReport, coordinator_status
from geopod.api.results import TaskReason
from geopod.api.runs import EnvironmentState

# ---- the user's exceptions


class PickyError(Exception):
    """Takes two arguments and keeps them."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(code, words)
        self.code_of_mine = code


class RefusingError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, *, only_by_keyword: str) -> None:
        super().__init__(only_by_keyword)


def test_remote_exception_is_also_the_users_class():
    error = remote_error(a_remote())
    assert isinstance(error, ValueError)
    assert str(error) == "GP-E307 empty geometry (task 4 of 240, node 1, attempt 1)"
    assert error.args == ("empty geometry",)
    assert error.__notes__[0] == "seen in tile 7"
    assert "Traceback of task 4 on node 1:\nTraceback (most recent call last)" in error.__notes__[1]


@pytest.mark.parametrize(
    "error_type", [KeyError, FileNotFoundError, ZeroDivisionError, ImportError, MemoryError]
)
def test_remote_exception_of_the_standard_library(error_type):
    error = remote_error(a_remote(error_type))
    assert isinstance(error, error_type)
    assert error.fact.startswith("empty geometry (task 4")


def test_users_class_keeps_its_own_attributes(monkeypatch):
    module = type(sys)("field_errors")
    module.PickyError = PickyError
    monkeypatch.setitem(sys.modules, "field_errors", module)
    error = remote_error(a_remote(PickyError, 7, "cloudy", module="field_errors"))
    assert isinstance(error, PickyError)
    assert (error.code_of_mine, error.args) == (7, (7, "cloudy"))


@pytest.mark.parametrize(
    "remote",
    [
        pytest.param(a_remote(module="no_such_module"), id="module is not here"),
        pytest.param(a_remote(type="NoSuchError"), id="class is not there"),
        pytest.param(a_remote(type="open"), id="not a class"),
        pytest.param(a_remote(SystemExit, 3), id="would end the client"),
        pytest.param(a_remote(StopIteration), id="would end a coroutine"),
        pytest.param(a_remote(args=None), id="arguments are not JSON"),
        pytest.param(a_remote(UnicodeDecodeError, "one"), id="arguments do not fit"),
    ],
)
def test_class_that_cannot_be_built_leaves_the_text(remote):
    error = remote_error(remote)
    assert type(error) is errors.RemoteFunctionError
    assert str(error).startswith("GP-E307 empty geometry (task 4 of 240")


def test_class_that_refuses_its_arguments_leaves_the_text(monkeypatch):
    module = type(sys)("field_errors")
    module.RefusingError = RefusingError
    monkeypatch.setitem(sys.modules, "field_errors", module)
    error = remote_error(a_remote(RefusingError, "x", module="field_errors"))
    assert type(error) is errors.RemoteFunctionError
    assert "TypeError" in error.details["classRefused"]


# ---- the run


def failed_run(*failures: errors.GeopodError, total: int = 240) -> errors.RunFailedError:
    exceptions = {error.task: error for error in failures}
    completed = [None if index in exceptions else index for index in range(total)]
    return errors.RunFailedError.failed(
        exceptions=exceptions, completed=completed, total=total, run="ndvi-7f3"
    )


def test_run_failure_groups_its_tasks():
    error = failed_run(
        remote_error(a_remote(), task=4),
        remote_error(a_remote(), task=9),
        public(a_failure(), task=17),
    )
    assert str(error) == (
        'GP-E309 3 of 240 tasks failed: 2 × ValueError "empty geometry" (tasks 4, 9), '
        "1 × Timeout (task 17). 237 results kept.\nfix: 1) run.results(errors='return')"
    )
    assert list(error.exceptions) == [4, 9, 17]
    assert error.counts == {"total": 240, "succeeded": 237, "failed": 3}
    assert error.completed[3:5] == [3, None]
    assert (error.run, error.__cause__) == ("ndvi-7f3", error.exceptions[4])


def test_values_over_the_limit_count_as_kept():
    error = failed_run(
        public(a_failure(reason=TaskReason.RESULT_TOO_LARGE, code="E301", fact="is 3 MiB."), task=4)
    )
    assert str(error) == (
        "GP-E309 1 of 240 tasks failed: 1 × ResultTooLarge (task 4). 240 results kept.\n"
        "fix: 1) run.results(errors='return') 2) run.download(folder)"
    )
    assert error.counts["succeeded"] == 239


NOT_JSON = ("Expecting value", "nan", 0)


@pytest.mark.parametrize(
    ("failures", "shared", "not_shared"),
    [
        pytest.param(
            [memory_failure(0), memory_failure(1)],
            (errors.OutOfMemoryError, MemoryError),
            (errors.TaskTimeoutError,),
            id="all out of memory",
        ),
        pytest.param(
            [memory_failure(0), remote_error(a_remote(MemoryError), task=1)],
            (MemoryError,),
            (errors.OutOfMemoryError, errors.RemoteFunctionError),
            id="killed and raised, both MemoryError",
        ),
        pytest.param(
            [remote_error(a_remote(), task=0), remote_error(a_remote(), task=1)],
            (ValueError, errors.RemoteFunctionError),
            (),
            id="all ValueError",
        ),
        pytest.param(
            [remote_error(a_remote(KeyError), task=0), remote_error(a_remote(IndexError), task=1)],
            (LookupError, errors.RemoteFunctionError),
            (KeyError, IndexError),
            id="two kinds of LookupError",
        ),
        pytest.param(
            [remote_error(a_remote(json.JSONDecodeError, *NOT_JSON), task=0)],
            (json.JSONDecodeError, ValueError),
            (),
            id="a class that takes three arguments",
        ),
        pytest.param(
            [memory_failure(0), public(a_failure(), task=1)],
            (),
            (MemoryError, TimeoutError, errors.TaskError),
            id="nothing in common",
        ),
    ],
)
def test_run_failure_is_what_all_its_failures_are(failures, shared, not_shared):
    error = failed_run(*failures, total=4)
    assert isinstance(error, errors.RunFailedError)
    assert type(error).__name__ == "RunFailedError"
    assert all(isinstance(error, it) for it in shared)
    assert not any(isinstance(error, it) for it in not_shared)


def test_one_of_one():
    error = failed_run(memory_failure(0), total=1)
    assert error.fact == "1 of 1 task failed: 1 × OutOfMemory (task 0). 0 results kept."


def test_long_message_is_cut_and_the_failure_has_all_of_it():
    error = failed_run(remote_error(a_remote(message="x" * 9000), task=0), total=1)
    assert error.fact == (
        f'1 of 1 task failed: 1 × ValueError "{200 * "x"} …" (task 0). 0 results kept.'
    )
    assert "x" * 9000 in str(error.exceptions[0])


# ---- conditions


def test_condition_quotes_its_message_and_takes_the_fixes_in_it():
    whole = str(
        errors.PartitionError.too_large(partition=3, need=9 << 30, limit=4 << 30, fitting_nodes=12)
    )
    error = errors.from_condition("PartitionTooLarge", whole, during="start")
    assert str(error) == whole
    assert error.fixes == ("nodes=12 fits", "memory='9Gi'")


@pytest.mark.parametrize("reason", sorted(errors.CONDITION_REASONS))
def test_every_condition_ends_in_something_to_do(reason):
    error = errors.from_condition(reason, "it is so.", during="start")
    assert isinstance(error, errors.CONDITION_REASONS[reason])
    assert error.fact == "it is so."
    assert error.fixes


def test_unknown_reasons_belong_to_the_start_or_the_run():
    start = errors.from_condition("CrashLoop", "e/runner exited 1.", during="start")
    run = errors.from_condition("DeadlineExceeded", "", during="run")
    assert (type(start), start.fixes) == (errors.EnvironmentStartTimeout, ("env.explain()",))
    assert (type(run), run.fact) == (errors.RunFailedError, "DeadlineExceeded")


def test_layers_that_cannot_be_cut_reach_the_client_with_the_number_that_fits():
    error = errors.PartitionError.overlap_too_large(
        overlap=256, node=3, smallest=(300, 512), largest_overlap=150, fitting_nodes=2
    )
    state = EnvironmentState(
        uid="u",
        name="e",
        phase="Failed",
        reason="OverlapTooLarge",
        message=error.fact,
        fixes=list(error.fixes),
    )
    report = CoordinatorReport(now=0.0, generation=1)
    (condition,) = coordinator_status(state, report)["conditions"]
    read = errors.from_condition(condition["reason"], condition["message"], during="start")
    assert str(read) == str(error)


def test_traceback_gets_the_lines_that_only_this_client_can_read(tmp_path):
    script = tmp_path / "analysis.py"
    script.write_text("def ndvi(params):\n    raise ValueError('empty geometry')\n")
    text = (
        "Traceback (most recent call last):\n"
        f'  File "{script}", line 2, in ndvi\n'
        '  File "/gone/helpers.py", line 7, in clean\n'
        '  File "/lib/json/decoder.py", line 9, in decode\n'
        "    its own line\n"
        "ValueError: empty geometry\n"
    )

    error = remote_error(a_remote(text=text))

    (note,) = [note for note in error.__notes__ if "Traceback" in note]
    assert note.splitlines()[2:] == [
        f'  File "{script}", line 2, in ndvi',
        "    raise ValueError('empty geometry')",
        '  File "/gone/helpers.py", line 7, in clean',
        '  File "/lib/json/decoder.py", line 9, in decode',
        "    its own line",
        "ValueError: empty geometry",
    ]
