"""In which order one process runs the files of the cluster level."""

from __future__ import annotations

from cluster.stages import begun_with, turns_of

FILES = ["test_bad_input", "test_budgets", "test_chaos", "test_ellipsis", "test_guides", "test_sdk"]


def test_what_passes_the_time_runs_just_before_the_file_that_waits():
    assert turns_of([*FILES, "test_sdk"]) == [
        *("test_bad_input", "test_ellipsis", "test_guides", "test_budgets"),
        *("test_chaos", "test_sdk"),
    ]


def test_files_stay_where_they_are_if_nothing_waits():
    files = [name for name in FILES if name != "test_budgets"]
    assert turns_of(files) == files


def test_the_first_file_that_passes_the_time_begins_the_wait():
    turns = turns_of(FILES)
    assert {name: begun_with(name, turns) for name in turns if begun_with(name, turns)} == {
        "test_ellipsis": ["sleeper"]
    }
