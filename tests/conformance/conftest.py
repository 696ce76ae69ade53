"""Fixtures that several suites of real processes share."""

import asyncio

import pytest
from local_builders import end_everything


@pytest.fixture
def local_home(tmp_path):
    """Return a state folder of its own; nothing of it may be alive when the test is over."""
    yield tmp_path / "home"
    asyncio.run(end_everything(tmp_path / "home"))
