"""The installed chart makes an environment and a run, with rights on all or on one namespace."""

from __future__ import annotations

import json

import pytest
from chart_builders import helm
from cluster.testcluster.deploy import NAMESPACE, RELEASE, deploy
from cluster.testcluster.places import Places

OWN = f"system:serviceaccount:{NAMESPACE}:"


@pytest.fixture
def audit(process_cluster):
    """Requests of accounts in geopod's namespace from here on."""
    log = Places.of(process_cluster).audit_log
    before = log.stat().st_size

    def requests():
        with log.open("rb") as lines:
            lines.seek(before)
            entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [it for it in entries if it["user"]["username"].startswith(OWN)]

    return requests


@pytest.fixture
def one_namespace(installed, process_cluster):
    deploy(process_cluster, print, settings=["rbac.scope=namespace"])
    yield
    deploy(process_cluster, print)


def life_cycle(cluster):
    """`helm test`: an environment, a run, its result."""
    where = [f"--namespace={NAMESPACE}", f"--kubeconfig={cluster.kubeconfig}"]
    return helm("test", RELEASE, *where, "--logs", "--timeout=240s", timeout_s=250)


def forbidden(requests):
    """What was refused, but for what a namespace that is being deleted refuses to everybody."""
    return [
        (it["user"]["username"], it["verb"], it["objectRef"])
        for it in requests
        if it["responseStatus"]["code"] == 403 and it["objectRef"].get("namespace") == NAMESPACE
    ]


@pytest.mark.timeout(600)
def test_release_makes_an_environment_and_a_run(installed, cluster, audit):
    assert "run: Succeeded" in life_cycle(cluster)
    requests = audit()
    assert len(requests) > 20
    assert forbidden(requests) == []


@pytest.mark.timeout(600)
def test_rights_on_one_namespace_are_enough(one_namespace, cluster, kubectl, audit):
    own = f"--selector=app.kubernetes.io/instance={RELEASE}"
    kinds = "clusterroles,clusterrolebindings,priorityclasses,computeruntimes"
    assert kubectl("get", kinds, own, "--output=name") == ""
    assert "run: Succeeded" in life_cycle(cluster)
    requests = audit()
    assert len(requests) > 20
    assert [it for it in requests if it["responseStatus"]["code"] == 403] == []


def test_key_and_objects_of_users_outlive_an_upgrade(installed, process_cluster, kubectl):
    within = kubectl.within(NAMESPACE)
    before = within.get("secret", "geopod-signing-key")
    definition = kubectl.get("crd", "layers.geopod.dev")
    deploy(process_cluster, print)
    assert within.get("secret", "geopod-signing-key")["data"] == before["data"]
    assert (
        kubectl.get("crd", "layers.geopod.dev")["metadata"]["uid"]
        == (definition["metadata"]["uid"])
    )
