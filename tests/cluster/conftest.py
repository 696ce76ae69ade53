"""One cluster for the whole session: the one that runs already, or one that is ended afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from cluster.bucket_builders import ObjectStore
from cluster.namespace_builders import client_within, fresh_namespace, small_environment
from cluster.stages import Stage, begun_with, group_of, place_of, stage_of, turns_of
from cluster.testcluster import providers
from cluster.testcluster.deploy import deploy
from cluster.testcluster.errors import NoClusterHereError
from cluster.testcluster.image_contexts import PROJECT
from cluster.testcluster.kubectl import Kubectl
from cluster.testcluster.machine import check_machine
from cluster.testcluster.places import Addresses, Places, cluster_name
from cluster.testcluster.probe_image import probe_image, push
from cluster.testcluster.process_cluster import Wishes
from cluster.testcluster.spec import read_spec
from cluster.trouble_builders import open_ward
from xdist.scheduler import LoadScopeScheduling

POLICIES = {
    "process": "evaluated by cyclonus: this cluster's pod network enforces none",
    "kind": "enforced by kind's pod network",
    "given": "as the given cluster treats them; nobody checked whether it enforces them",
}
"""Kind of cluster → what became of NetworkPolicies in these tests."""

CHOSEN = pytest.StashKey[str]()

WISHES = Wishes(nodes=2, simulated=10, gpus=4, fast_failure=True, fast_controllers=True)

TIMEOUT_S = 900
"""Of a test that names none: it may start the cluster, and the machine may be busy."""

SHARING = "PYTEST_XDIST_WORKER" in os.environ
"""Whether other processes of this session have tests on the same cluster."""


def pytest_addoption(parser):
    parser.addoption("--stage", choices=list(Stage), help="only the files that run then")


def pytest_ignore_collect(collection_path, config):
    stage = config.getoption("--stage")
    if stage and collection_path.suffix == ".py" and stage_of(collection_path) != stage:
        return True
    return None


class Groups(LoadScopeScheduling):
    """Each file, or all that are alone, to one worker."""

    def _split_scope(self, nodeid):
        return group_of(Path(nodeid.partition("::")[0]))


def pytest_xdist_make_scheduler(config, log):
    return Groups(config, log)


def pytest_collection_modifyitems(items, config):
    if config.getoption("--stage"):
        items.sort(key=lambda item: place_of(item.path))
    elif not SHARING:
        turns = turns_of(item.path.stem for item in items)
        items.sort(key=lambda item: turns.index(item.path.stem))
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker(
            "timeout"
        ):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def pytest_terminal_summary(terminalreporter, config):
    name = config.stash.get(CHOSEN, None)
    if name is not None:
        terminalreporter.write_line(f"network policies: {POLICIES[name]}")


@pytest.fixture(scope="session")
def provider(pytestconfig):
    chosen = providers.choose(lambda line: sys.stderr.write(f"{line}\n"))
    try:
        if chosen.name == "process":
            check_machine()
    except NoClusterHereError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no cluster here, and in CI that is a failure: {error}")
        pytest.skip(f"no cluster here: {error}")
    pytestconfig.stash[CHOSEN] = chosen.name
    return chosen


@pytest.fixture(scope="session")
def cluster(provider):
    was_running = bool(provider.status())
    if SHARING and not was_running:
        pytest.fail("who of -n would end the cluster? Start it first, as make test-cluster does")
    wishes = WISHES if provider.name == "process" else Wishes(nodes=2)
    provider.up(wishes, lambda line: sys.stderr.write(f"{line}\n"))
    yield provider
    if not was_running:
        provider.down()


@pytest.fixture(scope="session")
def process_cluster(cluster):
    if cluster.name != "process":
        pytest.skip(f"only the process cluster can do this, and this is {cluster.name}")
    return cluster_name()


@pytest.fixture(scope="session")
def spec(process_cluster):
    return read_spec(Places.of(process_cluster).spec)


@pytest.fixture(scope="session")
def addresses(spec):
    return Addresses(spec.slot)


@pytest.fixture(scope="session")
def object_store(process_cluster, addresses):
    """The cluster's S3 server, whose buckets are folders of this machine."""
    return ObjectStore(Places.of(process_cluster).data("s3"), addresses.s3)


@pytest.fixture(scope="session")
def registry(addresses):
    return addresses.registry


@pytest.fixture(scope="session")
def pushed_image(spec, registry):
    # Another title, because the kubelet would count the preloaded image as pulled from the registry
    # and check with it each time (imagePullCredentialsVerificationPolicy).
    image = probe_image(Path(spec.binary("probe", "probe")), title="pushed")
    return push(image, registry=registry, repository="smoke/probe")


@pytest.fixture
def lose_node(process_cluster, kubectl):
    """Kills a node as a power cut would; it is back when the test has ended."""
    lost = []

    def lose(number):
        lost.append(number)
        Places.of(process_cluster).node_down(number).touch()

    yield lose
    for number in lost:
        Places.of(process_cluster).node_down(number).unlink()
        kubectl.wait(f"node/node-{number}", "condition=Ready")


@pytest.fixture(scope="session")
def kubectl(cluster):
    return Kubectl(cluster.kubectl, cluster.kubeconfig)


@pytest.fixture(scope="session")
def definitions(kubectl):
    """The custom resource definitions of this tree; they stay."""
    kubectl("apply", "--server-side", "--force-conflicts", f"--filename={PROJECT / 'crds'}")


@pytest.fixture(scope="session")
def images(process_cluster):
    """Name → reference of what `make images` built last."""
    built = Places.of(process_cluster).images
    if not built.exists():
        pytest.skip("no images were built for this cluster: make images")
    return json.loads(built.read_text("utf-8"))


@pytest.fixture(scope="session")
def installed(process_cluster, images, testrun_uid):
    """geopod itself, from these images, installed once for all processes of a session; it stays."""
    assert images
    mark = Places.of(process_cluster).root / "installed"
    with mark.open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if file.read() != testrun_uid:
            deploy(process_cluster, print)
            file.truncate(0)
            file.write(testrun_uid)


@pytest.fixture(scope="session")
def ward(installed, kubectl, addresses):
    """Environments that cannot become ready."""
    where = {"registry": addresses.registry, "host": addresses.host}
    opened = open_ward(kubectl, where)
    yield opened
    opened.end()


@pytest.fixture(scope="session")
def sleeper(installed, kubectl):
    """The namespace of an environment, `sleeper`, that falls asleep after a minute."""
    with fresh_namespace(kubectl, "sleeper") as within:
        within.apply(small_environment("sleeper", nodes=1, idle={"afterSeconds": 60}))
        yield within


@pytest.fixture(scope="module", autouse=True)
def early(request):
    """Starts what a later file would wait for; what goes wrong is told there."""
    turns = [] if SHARING else list(dict.fromkeys(item.path.stem for item in request.session.items))
    for fixture in begun_with(request.path.stem, turns):
        with suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
            request.getfixturevalue(fixture)


@pytest.fixture(scope="module")
def home(request, installed, kubectl):
    """One namespace with Restricted Pod Security for a module's environments, called after it."""
    name = request.path.stem.removeprefix("test_").replace("_", "-")
    with fresh_namespace(kubectl, name) as within:
        yield within


@pytest.fixture(scope="module")
def client(home):
    with client_within(home) as connected:
        yield connected


@pytest.fixture
def namespace(kubectl):
    """A fresh namespace with Restricted Pod Security, deleted afterwards without waiting."""
    with fresh_namespace(kubectl, "smoke") as within:
        yield within
