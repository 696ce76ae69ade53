"""An image that geopod did not build, and ten environments of it that need the same packages."""

from __future__ import annotations

import hashlib
import json
import uuid

import pytest
from cluster.audit_builders import Audit
from cluster.namespace_builders import client_within, fresh_namespace
from cluster.process_builders import a_environment
from cluster.testcluster.image_contexts import BASES, base_archive
from cluster.testcluster.places import Places
from cluster.testcluster.probe_image import CONFIG, Blob, Image, push
from wheel_builders import a_wheel

MINOR = "3.13"
PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
SMALL = {"cpu": "200m", "memory": "512Mi"}
ASLEEP = 9
"""Environments beside the one that runs: they have no pod but want its packages too."""


@pytest.fixture(scope="module")
def debian(registry):
    """Debian's own root file system with its own Python as an image, pushed: its reference."""
    layer = base_archive(BASES[MINOR], print).read_bytes()
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {"architecture": "amd64", "os": "linux", "rootfs": {}, "config": {"User": "nobody"}}
    config["rootfs"] = {"type": "layers", "diff_ids": [digest]}
    image = Image(Blob(PLAIN_LAYER, layer), Blob(CONFIG, json.dumps(config).encode()))
    return push(image, registry=registry, repository="team/debian")


@pytest.fixture(scope="module")
def runtime(installed, kubectl, debian):
    """A runtime of that image alone."""
    spec = json.loads(kubectl("get", "computeruntime", "default", "--output=json"))["spec"]
    offered = next(it for it in spec["interpreters"] if it["name"] == f"python{MINOR}")
    offered |= {"image": debian, "basePackages": False, "python": "/usr/bin/python3"}
    spec["interpreters"] = [offered]
    head = {"apiVersion": "geopod.dev/v1alpha1", "kind": "ComputeRuntime"}
    kubectl.apply({**head, "metadata": {"name": "debian"}, "spec": spec})
    yield "debian"
    kubectl("delete", "computeruntime", "debian", "--wait=false")


@pytest.fixture(scope="module")
def home(kubectl, runtime):
    with fresh_namespace(kubectl, "image") as within:
        yield within


@pytest.fixture(scope="module")
def package(process_cluster):
    name = f"geopodimage{uuid.uuid4().hex[:8]}"
    a_wheel(Places.of(process_cluster).data("index"), name)
    return name


@pytest.fixture(scope="module")
def audit(process_cluster, home):
    return Audit.now(Places.of(process_cluster).audit_log, home)


@pytest.fixture(scope="module")
def environment(home, runtime, package, audit):
    """The environment that is awake, of ten that were made at once."""
    wanted = {
        "runtime": runtime, "interpreter": f"python{MINOR}", "requirements": [package],
        "resources": SMALL, "nodes": 1,
    }  # fmt: skip  # one fact per line
    others = (a_environment(f"asleep-{k}", suspend=True, **wanted) for k in range(ASLEEP))
    home.apply(*others, a_environment("awake", **wanted))
    with client_within(home) as client:
        environment = client.get_environment("awake")
        environment.wait_ready(progress=False)
        yield environment


def test_function_runs_in_an_image_that_geopod_did_not_build(environment, package):
    def look(_params):
        import importlib.util
        import pathlib
        import sys

        system = pathlib.Path("/etc/os-release").read_text("utf-8").splitlines()[0]
        there = [it for it in ("geopod", "numpy") if importlib.util.find_spec(it)]
        return system, sys.executable, there, __import__(package).VERSION

    [(system, python, there, version)] = environment.execute(look, progress=False)
    assert "Debian" in system
    assert python.startswith("/usr/bin/python3")
    assert there == []
    assert version == "1.0"


def test_packages_that_ten_environments_want_at_once_are_built_once(environment, home, audit):
    sleepers = [f"computeenvironment/asleep-{k}" for k in range(ASLEEP)]
    home("wait", *sleepers, "--for=condition=DependenciesReady", "--timeout=120s")
    keys = {it["status"]["runtime"]["bundleKey"] for it in home.get("computeenvironments")["items"]}
    assert len(keys) == 1
    asked = [it for it in audit.requests() if it.is_write and it.namespace == home.namespace]
    pods = {it.name for it in asked if it.resource == "pods/binding" and "-build-" in it.name}
    assert len(pods) == 1
    applied = [it for it in asked if it.resource in {"jobs", "configmaps"} and it.verb == "patch"]
    assert [it for it in applied if it.code >= 400] == []
    [record] = [it for it in home.get("configmaps")["items"] if "bundle" in it["metadata"]["name"]]
    assert record["data"]["key"] in keys
