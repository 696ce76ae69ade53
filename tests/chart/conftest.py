"""Without Helm these tests are skipped with the reason; in CI that is a failure."""

from __future__ import annotations

import os

import pytest
from chart_builders import find_helm


@pytest.fixture(autouse=True, scope="session")
def helm_is_there():
    if find_helm() is None:
        words = "no helm on PATH and none built: `python -m cluster.testcluster build helm`"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
