"""The installed chart makes an environment and a run, with rights on all or on one namespace."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
from dataclasses import dataclass

import geopod
import pytest
from chart_builders import helm
from cluster.audit_builders import Audit
from cluster.process_builders import until
from cluster.testcluster.deploy import NAMESPACE, RELEASE, deploy
from cluster.testcluster.places import Places

OWN = f"system:serviceaccount:{NAMESPACE}:"
TASKS = 60
"""Of half a second each: they outlast the upgrade of two nodes' coordinator."""
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


@pytest.fixture
def requests(process_cluster, kubectl):
    """What accounts in geopod's namespace have asked for since the test began."""
    audit = Audit.now(Places.of(process_cluster).audit_log, kubectl)
    return lambda: [it for it in audit.requests() if it.user.startswith(OWN)]


@dataclass(slots=True)
class Release:
    """The installed release, upgraded only to what it is not yet."""

    cluster: str
    settings: tuple[str, ...] | None = ()
    """Of the tests beside the usual values; None while it is unknown."""

    def become(self, *settings: str) -> None:
        """Upgrade the release to the usual values and these settings."""
        if self.settings != settings:
            self.settings = None
            deploy(self.cluster, print, settings=settings)
            self.settings = settings


@pytest.fixture(scope="module")
def release(installed, process_cluster):
    """As everybody expects it when these tests have ended."""
    installation = Release(process_cluster)
    yield installation
    installation.become()


@pytest.fixture
def one_namespace(release, cluster):
    if revision(cluster) == 1:  # runtimes of a first install are hooks: an upgrade owns them
        deploy(release.cluster, print)
    release.become("rbac.scope=namespace")


def revision(cluster):
    """How often the release was installed or upgraded."""
    where = [f"--namespace={NAMESPACE}", f"--kubeconfig={cluster.kubeconfig}"]
    return json.loads(helm("status", RELEASE, *where, "--output=json"))["version"]


def life_cycle(cluster):
    """`helm test`: an environment, a run, its result."""
    where = [f"--namespace={NAMESPACE}", f"--kubeconfig={cluster.kubeconfig}"]
    return helm("test", RELEASE, *where, "--logs", "--timeout=420s", timeout_s=430)


def refused(found):
    """What was refused to those who should have had the right.

    A coordinator's rights go with its environment, maybe before it has ended.
    """
    ends = [
        it.received
        for it in found
        if (it.verb, it.resource, it.code) == ("delete", "computeenvironments", 200)
    ]
    assert ends
    return [
        it
        for it in found
        if it.code == 403 and not (it.user.endswith("-coordinator") and it.received > max(ends))
    ]


def test_release_makes_an_environment_and_a_run(release, cluster, requests):
    release.become()
    assert "run: Succeeded" in life_cycle(cluster)
    # A namespace that is being deleted refuses everybody.
    found = [it for it in requests() if it.namespace == NAMESPACE]
    assert len(found) > 20
    assert refused(found) == []


def test_rights_on_one_namespace_are_enough(one_namespace, cluster, kubectl, requests):
    own = f"--selector=app.kubernetes.io/instance={RELEASE}"
    kinds = "clusterroles,clusterrolebindings,priorityclasses,computeruntimes"
    assert kubectl("get", kinds, own, "--output=name") == ""
    assert "run: Succeeded" in life_cycle(cluster)
    found = requests()
    assert len(found) > 20
    assert refused(found) == []


@pytest.fixture
def upgrade(release):
    """An earlier release is installed, of another image and values; a call upgrades it.

    Its gateway is this one's: the store of this installation ends with its pod.
    """
    agent = json.loads(Places.of(release.cluster).images.read_text("utf-8"))["agent"]
    release.become(f"images.agent.digest={other_digest(agent)}", "kubeClient.qps=20")
    yield release.become
    release.become()


def other_digest(reference):
    """The same image under another digest: its manifest, with a line more."""
    repository, _, digest = reference.partition("@")
    registry, _, path = repository.partition("/")
    with contextlib.closing(http.client.HTTPConnection(registry, timeout=30)) as connection:
        connection.request("GET", f"/v2/{path}/manifests/{digest}", headers={"Accept": MANIFESTS})
        said = connection.getresponse()
        content, head = said.read() + b"\n", {"Content-Type": said.headers["Content-Type"]}
        other = f"sha256:{hashlib.sha256(content).hexdigest()}"
        connection.request("PUT", f"/v2/{path}/manifests/{other}", content, head)
        assert connection.getresponse().status == http.HTTPStatus.CREATED
    return other


def slow_square(number):
    """Return the square of a number, after half a second."""
    import time

    time.sleep(0.5)  # noqa: TID251  # the work
    return number * number


def pods(namespace, component):
    chosen = f"--selector=app.kubernetes.io/component={component}"
    return {
        it["metadata"]["uid"]: [
            state["restartCount"] for state in it["status"].get("containerStatuses", ())
        ]
        for it in namespace.get("pods", chosen)["items"]
    }


def test_environment_and_its_run_live_through_an_upgrade(upgrade, namespace, kubectl, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(namespace.kubeconfig))
    monkeypatch.delenv("GEOPOD_TARGET", raising=False)
    system = kubectl.within(NAMESPACE)
    key = system.get("secret", "geopod-signing-key")["data"]
    definition = kubectl.get("crd", "computeruns.geopod.dev")["metadata"]["uid"]
    with geopod.connect(namespace=namespace.namespace) as client:
        environment = client.environment(
            "live", nodes=2, interpreter="python3.13", memory="256Mi", cpus=0.1, progress=False
        )
        run = environment.submit_map(slow_square, [(number,) for number in range(TASKS)])
        next(iter(run.as_completed(timeout=120)))
        nodes, coordinator = pods(namespace, "node"), pods(namespace, "coordinator")

        upgrade()

        run.wait(240)
        assert run.results() == [number * number for number in range(TASKS)]
        until(lambda: coordinator.keys().isdisjoint(pods(namespace, "coordinator")), timeout_s=120)
        namespace.wait("cenv/live", "condition=Ready", timeout_s=120)
        assert pods(namespace, "node") == nodes
    assert system.get("secret", "geopod-signing-key")["data"] == key
    assert kubectl.get("crd", "computeruns.geopod.dev")["metadata"]["uid"] == definition
