"""What the SDK promises, on this machine; tests/cluster/test_sdk.py asserts it on a cluster."""

from __future__ import annotations

import geopod
import pytest
from sdk_cases import CASES, NODES, Place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPOD_HOME", str(folder / "home"))
        patch.setenv("GEOPOD_PROGRESS", "0")
        patch.setenv("UV_OFFLINE", "1")

        def connect():
            return geopod.connect("local")

        with connect() as client:
            env = client.environment("sdk", nodes=NODES, memory="512Mi")
            yield Place(client, env, connect, folder, "local")
            client.terminate_all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sdk(place, case):
    case(place)
