"""What every level of the tests shares."""

from __future__ import annotations

import signal

import geopod
import pytest
from hypothesis import HealthCheck, settings

# A loaded machine draws slowly: how long examples take says nothing about the code.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and tests of Ctrl-C would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
