"""What every level of the tests shares."""

from __future__ import annotations

import geopod
import pytest


@pytest.fixture
def geopod_home(monkeypatch, tmp_path_factory):
    """Give the test a state folder of its own, and end what is still running in it afterwards."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GEOPOD_HOME", str(home))
    monkeypatch.setenv("GEOPOD_PROGRESS", "0")
    yield home
    if any(home.iterdir()):
        with geopod.connect("local") as client:
            client.terminate_all()
