"""What stands beside the cluster: package index, S3 store, policy analyser."""

import os
import subprocess

import numpy as np
import pytest
import rasterio
from cluster.testcluster import binaries
from cluster.testcluster.control import S3_PASSWORD, S3_USER
from cluster.testcluster.image_contexts import uv
from cluster.testcluster.index import PASSWORD, USER
from cluster.testcluster.places import Places
from cluster.testcluster.policies import Connection, Peer, allowed
from cluster.testcluster.process_cluster import fill_index
from cluster.testcluster.readiness import wait_until
from rasterio.transform import from_origin


@pytest.fixture(scope="session")
def index(process_cluster, addresses):
    fill_index(Places.of(process_cluster), lambda _: None)
    return addresses


def resolve(url, tmp_path, python="3.13"):
    """uv's answer to a real set of requirements, from nowhere but `url`."""
    wanted = tmp_path / "requirements.in"
    wanted.write_text("geopandas\nrasterio\n", "utf-8")
    how = ["--quiet", "--no-config", "--no-cache", "--python-version", python, "--generate-hashes"]
    where = ["--default-index", url, "--only-binary", ":all:"]
    return subprocess.run(
        [uv(), "pip", "compile", *how, *where, str(wanted)],
        capture_output=True,
        text=True,
        env={**os.environ, "UV_HTTP_RETRIES": "0", "UV_PYTHON_DOWNLOADS": "never"},
        check=False,
    )


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_requirements_resolve_from_the_index_alone(index, tmp_path, python):
    answer = resolve(index.index, tmp_path, python)
    assert answer.returncode == 0, answer.stderr
    assert "geopandas==" in answer.stdout
    assert "sha256:" in answer.stdout


def test_private_index_wants_a_password(index, tmp_path):
    assert "401" in resolve(index.private_index, tmp_path).stderr
    known = index.private_index.replace("http://", f"http://{USER}:{PASSWORD}@")
    assert resolve(known, tmp_path).returncode == 0


def test_index_can_be_switched_off(index, process_cluster, tmp_path):
    off = Places.of(process_cluster).index_off
    off.touch()
    try:
        wait_until(lambda: "refused" in resolve(index.index, tmp_path).stderr, timeout_s=180)
    finally:
        off.unlink()
    wait_until(lambda: resolve(index.index, tmp_path).returncode == 0, timeout_s=180)


def test_rasterio_reads_from_s3_what_it_wrote_there(process_cluster, addresses, monkeypatch):
    (Places.of(process_cluster).data("s3") / "layers").mkdir(exist_ok=True)
    access = {
        "AWS_ACCESS_KEY_ID": S3_USER,
        "AWS_SECRET_ACCESS_KEY": S3_PASSWORD,
        "AWS_S3_ENDPOINT": addresses.s3.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE": "YES",
    }
    profile = {"driver": "GTiff", "width": 8, "height": 4, "count": 1, "dtype": "uint8"}
    profile |= {"crs": "EPSG:4326", "transform": from_origin(5, 52, 0.1, 0.1)}
    for name, value in access.items():
        monkeypatch.setenv(name, value)
    with rasterio.Env():
        with rasterio.open("/vsis3/layers/dem.tif", "w", **profile) as written:
            written.write(np.full((1, 4, 8), 7, np.uint8))
        with rasterio.open("/vsis3/layers/dem.tif") as read:
            assert read.read(1).tolist() == [[7] * 8] * 4


@pytest.fixture(scope="session")
def cyclonus():
    return str(binaries.build("cyclonus", lambda _: None) / "cyclonus")


NODE = Peer("10.244.0.7", "tenant", {"app": "node"})
COORDINATOR = Peer("10.244.0.8", "tenant", {"app": "coordinator"})
STRANGER = Peer("10.244.1.9", "other", {"app": "node"})
WORLD = Peer("203.0.113.5")
METADATA = Peer("169.254.169.254")

NODES_REACH_THEIR_COORDINATOR = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "nodes", "namespace": "tenant"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "node"}},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [
            {
                "to": [{"podSelector": {"matchLabels": {"app": "coordinator"}}}],
                "ports": [{"port": 7420, "protocol": "TCP"}],
            }
        ],
    },
}


def test_analyser_says_what_a_policy_allows_and_what_it_refuses(cyclonus):
    expected = [
        (Connection(NODE, COORDINATOR, 7420), True),
        (Connection(NODE, COORDINATOR, 22), False),
        (Connection(NODE, STRANGER, 7420), False),
        (Connection(STRANGER, NODE, 8080), False),
        (Connection(NODE, WORLD, 443), False),
        (Connection(NODE, METADATA, 80), False),
        (Connection(COORDINATOR, WORLD, 443), True),
    ]
    questions = [question for question, _ in expected]
    answers = allowed(cyclonus, [NODES_REACH_THEIR_COORDINATOR], questions)
    assert list(zip(questions, answers, strict=True)) == expected


def test_every_policy_counts(cyclonus):
    denies = {**NODES_REACH_THEIR_COORDINATOR, "metadata": {"name": "none", "namespace": "other"}}
    denies["spec"] = {"podSelector": {}, "policyTypes": ["Egress"]}
    question = [Connection(STRANGER, WORLD, 443)]
    assert allowed(cyclonus, [NODES_REACH_THEIR_COORDINATOR], question) == [True]
    assert allowed(cyclonus, [NODES_REACH_THEIR_COORDINATOR, denies], question) == [False]
