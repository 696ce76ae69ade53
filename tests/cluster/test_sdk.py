"""What the SDK promises, on a cluster: the cases of tests/conformance/sdk, word for word."""

from __future__ import annotations

from functools import partial

import geopod
import pytest
from cluster.namespace_builders import client_within, fresh_namespace
from sdk_cases import CASES, NODES, Place


@pytest.fixture(scope="module")
def place(installed, kubectl, tmp_path_factory):
    with fresh_namespace(kubectl, "sdk") as within, client_within(within) as client:
        # It starts while the first case follows an installation.
        env = client.environment("sdk", nodes=NODES, memory="512Mi", cpus=0.1, wait=False)
        connect = partial(geopod.connect, namespace=within.namespace)
        target = kubectl("config", "current-context").strip()
        yield Place(client, env, connect, tmp_path_factory.mktemp("sdk"), target)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sdk(place, case):
    case(place)
