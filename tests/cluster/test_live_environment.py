"""One environment with GPUs, and a change of its packages while a task runs."""

from __future__ import annotations

import uuid

import pytest
from cluster.kill_builders import component, pods, wait_until
from cluster.testcluster.places import Places
from geopod.api import deployment
from wheel_builders import a_wheel

GPU = "nvidia.com/gpu"
NAME = "live"
SPEC = {
    "nodes": 2, "interpreter": "python3.13", "memory": "512Mi", "cpus": 0.2, "enable_gpu": True,
    "progress": False,
}  # fmt: skip  # one line less
GATE = "/tmp/gate"  # noqa: S108  # the container's own


@pytest.fixture(scope="module")
def environment(client):
    return client.environment(NAME, **SPEC)


def test_environment_gets_its_gpus_where_they_are_offered(environment, home):
    asked = [
        (pod["spec"]["nodeName"], container["name"], container["resources"]["requests"][GPU])
        for pod in pods(home, f"app.kubernetes.io/instance={NAME}")
        for container in pod["spec"]["containers"]
        if GPU in container["resources"].get("requests", {})
    ]
    assert asked == [("node-0", "runner", "1")] * 2
    assert home.get("cenv", NAME)["status"]["gpus"] == {"resourceName": GPU, "total": 2}
    titles, line = (it.split() for it in home("get", "cenv", NAME).splitlines())
    assert line[titles.index("GPUS")] == "2"

    def hidden(params):
        import os

        return os.environ.get("NVIDIA_VISIBLE_DEVICES")

    assert environment.execute(hidden, progress=False) == [None, None]


def nodes(home):
    """By name: uid, template hash, and whether the pod is ready."""
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            next(
                it["value"]
                for container in pod["spec"]["containers"]
                for it in container["env"]
                if it["name"] == deployment.ENV_TEMPLATE_HASH
            ),
            all(it["ready"] for it in pod["status"].get("containerStatuses", [{"ready": False}])),
        )
        for pod in pods(home, component("node", environment=NAME))
    }


def test_changed_packages_reach_idle_nodes_first_and_cost_no_task(
    environment, client, home, process_cluster
):
    def hold(params):
        """Return whether somebody has opened the gate."""
        import pathlib
        import time

        end = time.monotonic() + 300
        while not pathlib.Path("/tmp/gate").exists() and time.monotonic() < end:  # noqa: S108
            time.sleep(0.1)  # noqa: TID251  # the work
        return pathlib.Path("/tmp/gate").exists()  # noqa: S108

    package = f"geopodlive{uuid.uuid4().hex[:8]}"
    a_wheel(Places.of(process_cluster).data("index"), package)
    before = nodes(home)
    run = environment.submit(hold, partitions=[0])
    home.wait(f"computerun/{run.name}", "jsonpath={.status.phase}=Running")

    client.environment(NAME, requirements=[package], wait=False, **SPEC)

    idle, busy = f"{NAME}-node-1", f"{NAME}-node-0"
    wait_until(lambda: is_new(nodes(home).get(idle), before[idle]))
    assert nodes(home)[busy][:2] == before[busy][:2]
    home("exec", busy, "--container=runner", "--", "touch", GATE)
    run.wait(120)
    assert run.results() == [True]
    assert run.counts["retried"] == 0
    home.wait(f"cenv/{NAME}", "condition=Ready")
    wanted = home.get("cenv", NAME)["status"]["templateHash"]
    wait_until(
        lambda: [(made, ready) for _, made, ready in nodes(home).values()] == [(wanted, True)] * 2
    )
    assert is_new(nodes(home)[busy], before[busy])

    def version(params):
        return __import__(package).VERSION

    assert environment.execute(version, progress=False) == ["1.0", "1.0"]


def is_new(node, before):
    """Whether a ready pod of another template has replaced one."""
    return node is not None and node[2] and node[0] != before[0] and node[1] != before[1]
