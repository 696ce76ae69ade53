"""Environment variables of one task, in the child that runs it."""

from __future__ import annotations

import os

import pytest
from geopod.runner.variables import task_variables


def test_variables_are_as_before_when_one_of_them_cannot_be_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEOPOD_TEST_KNOWN", "before")
    monkeypatch.delenv("GEOPOD_TEST_NEW", raising=False)
    wanted = {"GEOPOD_TEST_KNOWN": "1", "GEOPOD_TEST_NEW": "2", "GEOPOD_TEST_ODD": "\ud800"}
    with pytest.raises(UnicodeEncodeError), task_variables(wanted):
        pass
    assert os.environ["GEOPOD_TEST_KNOWN"] == "before"
    assert "GEOPOD_TEST_NEW" not in os.environ
