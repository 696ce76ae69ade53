"""What the SDK promises, on a cluster: the cases of tests/conformance/sdk, word for word."""

from __future__ import annotations

import time

import geopod
import pytest
from sdk_cases import CASES, NODES, Place


@pytest.fixture(scope="module")
def place(installed, kubectl, cluster, tmp_path_factory):
    name = f"sdk-{int(time.time()) % 100_000}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    kubectl.within(name).wait("serviceaccount/default", "create")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        patch.setenv("GEOPOD_PROGRESS", "0")
        patch.delenv("GEOPOD_TARGET", raising=False)

        def connect():
            return geopod.connect(namespace=name)

        with connect() as client:
            env = client.environment("sdk", nodes=NODES, memory="512Mi", cpus=0.1)
            yield Place(client, env, connect, tmp_path_factory.mktemp("sdk"))
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sdk(place, case):
    case(place)
