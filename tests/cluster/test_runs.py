"""Runs on a real Kubernetes, through the SDK. Kills: test_chaos; API writes: test_budgets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid

import geopod
import pytest
import rasterio
from cluster.bucket_builders import SECRET
from cluster.process_builders import a_run
from cluster.testcluster.places import Places
from matplotlib import cbook
from rasterio.transform import from_origin
from wheel_builders import a_wheel

ELEVATION_SUM = 73_617_913
"""Of all pixels of the elevation model that matplotlib carries."""
MINOR = "python3.13"
NODES_OF_MOUNTED = "app.kubernetes.io/component=node,app.kubernetes.io/instance=mounted"
TASKS = 240
"""Of half a second each: more than are done before anybody can cancel them."""


def total(params):
    """Return the sum and the count of this node's own pixels."""
    layer = params["srtm"]
    rows, cols = layer["core"]
    own = layer["raster"][0, rows, cols]
    return [int(own.sum(dtype="int64")), int(own.size)]


def slow_square(number):
    """Return the square of a number, after half a second."""
    import time

    time.sleep(0.5)  # noqa: TID251  # the work
    return number * number


def nothing(_=None):
    return


def mount_of(path):
    """Return how a folder is mounted, as the kernel tells it, and what lies in it."""
    import os

    with open("/proc/self/mountinfo") as file:  # noqa: PTH123  # its text travels alone
        [line] = [it for it in file if it.split()[4] == path]
    return line.split()[5].split(",")[0], sorted(os.listdir(path))  # noqa: PTH208


@pytest.fixture(scope="module")
def environment(client):
    """Two nodes without layers."""
    return client.environment(
        "plain", nodes=2, interpreter=MINOR, memory="512Mi", cpus=0.3, progress=False
    )


@pytest.fixture(scope="module")
def elevation(object_store, home, tmp_path_factory):
    """The elevation model as a COG in a bucket, and its Layer with the keys in a Secret."""
    heights = cbook.get_sample_data("jacksboro_fault_dem.npz")
    corner = [float(heights[key]) for key in ("xmin", "ymin", "dx", "dy")]  # ymin is the upper one
    path = tmp_path_factory.mktemp("elevation") / "elevation.tif"
    rows, cols = heights["elevation"].shape
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=cols, count=1, dtype="int16",
        crs="EPSG:4326", transform=from_origin(*corner), nodata=-32768, tiled=True,
        blockxsize=128, blockysize=128, compress="deflate",
    ) as target:  # fmt: skip
        target.write(heights["elevation"], 1)
    bucket = object_store.bucket("runs")
    shutil.copy(path, bucket)
    home.apply(
        object_store.secret(),
        {
            "apiVersion": "geopod.dev/v1alpha1",
            "kind": "Layer",
            "metadata": {"name": "elevation"},
            "spec": {
                "type": "raster",
                "timestamps": [{"id": "srtm", "uri": f"s3://{bucket.name}/elevation.tif"}],
                "credentials": {"secretName": SECRET},
                "endpoints": [object_store.address],
            },
        },
    )
    return ("elevation", "srtm")


def test_nodes_read_their_parts_of_a_layer_in_a_bucket(client, elevation):
    environment = client.environment(
        "relief", layers=[elevation], nodes=2, interpreter=MINOR, memory="512Mi", cpus=0.3,
        overlap=1, progress=False,
    )  # fmt: skip
    parts = environment.execute(total, progress=False)
    assert sum(part[0] for part in parts) == ELEVATION_SUM
    assert sum(part[1] for part in parts) == 344 * 403
    assert all(part[1] > 60_000 for part in parts)
    environment.delete()


def test_failed_task_keeps_the_others_results(environment):
    def odd(number):
        if number % 2 == 0:
            raise ValueError(f"{number} is even")
        return number

    run = environment.submit_map(odd, [(number,) for number in range(6)])
    run.wait(120)
    values = run.results(errors="return")
    assert [value for value in values if isinstance(value, int)] == [1, 3, 5]
    assert "4 is even" in str(values[4])


def test_run_is_found_by_name_with_kubectl_and_from_another_client(environment, client, home):
    run = environment.submit(nothing, tags=["found"])
    run.wait(120)
    found = home.get("computerun", run.name)
    assert found["status"]["phase"] == "Succeeded"
    assert found["status"]["tasks"]["succeeded"] == 2
    assert client.get_run(run.name).results() == [None, None]


def test_run_written_by_hand_is_found_by_the_command(environment, home, cluster):
    manifest = a_run("plain", "def f(params, ctx):\n    return ctx.index * 42\n")
    name = manifest["metadata"]["name"]
    home("create", "-f", "-", stdin=json.dumps(manifest))
    home.wait(f"computerun/{name}", "jsonpath={.status.phase}=Succeeded")
    context = home("config", "current-context").strip()
    command = ("--target", context, "--namespace", home.namespace, "runs", "results", name)
    done = subprocess.run(
        [sys.executable, "-c", "from geopod.cli import main; main()", *command, "--output=json"],
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [0, 42]


def test_cancelled_run_ends_and_keeps_what_is_done(environment):
    run = environment.submit_map(slow_square, [(number,) for number in range(TASKS)])
    done = next(iter(run.as_completed(timeout=120)))
    run.cancel()
    run.wait(120)
    assert run.phase == "Cancelled"
    values = run.results(errors="return")
    assert values[done.index] == done.index**2
    assert any(isinstance(value, geopod.errors.TaskCancelledError) for value in values)


@pytest.fixture
def runtime_with_a_registry(kubectl, addresses):
    """The chart's own runtime, but for its bundles' registry."""
    spec = json.loads(kubectl("get", "computeruntime", "default", "--output=json"))["spec"]
    spec["bundleRegistry"] = f"http://{addresses.registry}/geopod/bundles"
    head = {"apiVersion": "geopod.dev/v1alpha1", "kind": "ComputeRuntime"}
    kubectl.apply({**head, "metadata": {"name": "mounted"}, "spec": spec})
    yield "mounted"
    kubectl("delete", "computeruntime", "mounted", "--wait=false")


def test_packages_are_mounted_from_a_registry_and_not_unpacked(
    client, home, runtime_with_a_registry, process_cluster, addresses
):
    name = f"geopodmounted{uuid.uuid4().hex[:8]}"
    a_wheel(Places.of(process_cluster).data("index"), name)
    spec = {
        "runtime": runtime_with_a_registry, "nodes": 1, "interpreter": MINOR,
        "requirements": [name], "resources": {"cpu": "200m", "memory": "512Mi"},
    }  # fmt: skip  # one fact per line
    head = {"apiVersion": "geopod.dev/v1alpha1", "kind": "ComputeEnvironment"}
    home.apply({**head, "metadata": {"name": "mounted"}, "spec": spec})
    environment = client.get_environment("mounted")
    environment.wait_ready(progress=False)

    def look(params):
        return __import__(name).VERSION, *mount_of("/geopod/env")

    assert environment.execute(look, progress=False) == [["1.0", "ro", ["site-packages"]]]
    (pod,) = json.loads(home("get", "pods", f"--selector={NODES_OF_MOUNTED}", "--output=json"))[
        "items"
    ]
    [volume] = [it for it in pod["spec"]["volumes"] if it["name"] == "bundle"]
    assert volume["image"]["reference"].startswith(f"{addresses.registry}/geopod/bundles@sha256:")
