"""The commands of the guides, as they are printed there, on a cluster with geopod in it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess

import numpy as np
import pytest
import rasterio
import yaml
from cluster.testcluster.image_contexts import PROJECT
from rasterio.transform import from_origin

GUIDE = PROJECT / "docs" / "guides" / "kubectl.md"
EXAMPLES = PROJECT / "examples" / "kubernetes"
HEIGHTS = np.arange(96 * 128, dtype="float32").reshape(96, 128)


def commands(guide):
    """The first block of commands."""
    block = re.search(r"\n\n((?:    .*\n)+)", guide.read_text("utf-8")).group(1)
    return [line.strip() for line in block.splitlines()]


@pytest.fixture
def files(tmp_path, installed, object_store, namespace):
    """The examples, with a layer that lies beside the cluster: no data come from the internet."""
    bucket = object_store.bucket("guides")
    profile = {"driver": "GTiff", "width": 128, "height": 96, "count": 1, "dtype": "float32"}
    profile |= {"crs": "EPSG:4326", "transform": from_origin(10, 47, 0.01, 0.01)}
    with rasterio.open(
        bucket / "dem.tif", "w", tiled=True, blockxsize=16, blockysize=16, **profile
    ) as written:
        written.write(HEIGHTS[np.newaxis])
    literals = [f"--from-literal={name}={value}" for name, value in object_store.keys.items()]
    namespace("create", "secret", "generic", "bucket", *literals)
    folder = tmp_path / "examples" / "kubernetes"
    folder.mkdir(parents=True)
    for name in ("environment.yaml", "run.yaml"):
        (folder / name).write_text((EXAMPLES / name).read_text("utf-8"), "utf-8")
    layer = yaml.safe_load((EXAMPLES / "layer.yaml").read_text("utf-8"))
    layer["spec"]["timestamps"][0]["uri"] = f"s3://{bucket.name}/dem.tif"
    layer["spec"]["endpoints"] = [object_store.address]
    layer["spec"]["credentials"] = {"secretName": "bucket"}
    (folder / "layer.yaml").write_text(yaml.safe_dump(layer), "utf-8")
    return tmp_path


def run(command, namespace, folder):
    """Standard output of one line of the guide."""
    program, *arguments = shlex.split(command)
    assert program == "kubectl"
    done = subprocess.run(
        [namespace.command, f"--namespace={namespace.namespace}", *arguments],
        cwd=folder,
        env={**os.environ, "KUBECONFIG": str(namespace.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}\n{trouble(namespace)}"
    return done.stdout


def trouble(namespace):
    """What the objects say for themselves."""
    found = namespace.get("computeenvironments,computeruns")["items"]
    conditions = [
        f"{it['kind']} {entry['type']}={entry['status']} {entry['reason']}: {entry['message']}"
        for it in found
        for entry in it.get("status", {}).get("conditions", ())
    ]
    return "\n".join([*conditions, namespace("get", "pods", "--output=wide")])


def test_kubectl_alone_leads_from_nothing_to_a_result(files, namespace):
    printed = [run(command, namespace, files) for command in commands(GUIDE)]
    results = dict(line.split(" ", 1) for line in printed[-1].splitlines())
    parts = [json.loads(results[index]) for index in ("0", "1")]
    assert sum(part["pixels"] for part in parts) == HEIGHTS.size
    assert min(part["lowest"] for part in parts) == HEIGHTS.min()
    assert max(part["highest"] for part in parts) == HEIGHTS.max()
