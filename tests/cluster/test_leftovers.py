"""A cluster that was ended has never been there, and one that was killed comes back."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from cluster.testcluster import cgroups, process_cluster
from cluster.testcluster.kubectl import Kubectl
from cluster.testcluster.network import taken_networks
from cluster.testcluster.places import Addresses, Places, cluster_name, state_folder
from cluster.testcluster.process_cluster import Wishes
from cluster.testcluster.readiness import wait_until
from cluster.testcluster.spec import read_spec

NAME = f"{cluster_name()[:10]}-leftover"
"""Another session on this machine has another cluster, and other leftovers."""
PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "coredns", "containerd", "kubelet")


def quiet(_):
    return None


@pytest.fixture
def second_cluster(provider):
    """A cluster beside the session's, if that one runs."""
    if provider.name != "process":
        pytest.skip(
            f"only process clusters leave anything to look for, and this is {provider.name}"
        )
    process_cluster.up(NAME, Wishes(), quiet)
    yield Places.of(NAME)
    process_cluster.down(NAME)


def traces():
    """What a cluster could leave on this machine."""
    return {
        "processes": sorted(processes_of(NAME)),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "networks": sorted(taken_networks()),
        "mounts": sorted(mounts()),
        "rules": iptables_rules(),
        "cgroups": sorted(map(str, cgroups.leftovers(NAME))),
        "files": sorted(map(str, state_folder().glob(f"{NAME}*"))),
        "fixed folders": [Path(path).exists() for path in ("/var/lib/kubelet", "/var/log/pods")],
    }


def processes_of(name):
    marker = str(Places.of(name).root).encode()
    for _, words in commands():
        if marker in words or (b"testcluster.control" in words and name.encode() in words):
            yield words.replace(b"\0", b" ").decode()


def mounts():
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    return [line.split()[4] for line in lines if "geopod" in line or "kubelet" in line]


def disks():
    """Files of this cluster that a loop device still holds open."""
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = path.read_text("utf-8")
        except OSError:  # let go while we looked
            continue
        if f"/{NAME}/" in backing:
            yield backing


def iptables_rules():
    saved = subprocess.run(["/usr/sbin/iptables-save"], capture_output=True, text=True, check=True)
    return sorted(line for line in saved.stdout.splitlines() if line.startswith("-A"))


def test_nothing_is_left_of_an_ended_cluster(provider):
    if provider.name != "process":
        pytest.skip(
            f"only process clusters leave anything to look for, and this is {provider.name}"
        )
    before = traces()
    process_cluster.up(NAME, Wishes(), quiet)
    during = traces()
    assert process_cluster.down(NAME)
    assert traces() == before
    wait_until(lambda: not list(disks()), timeout_s=180)  # unmounted by the kernel when it pleases
    assert during["processes"]
    assert during["cgroups"]
    assert during["rules"] == before["rules"], "rules belong into the cluster's own namespaces"
    assert during["mounts"] == before["mounts"], "mounts belong into the cluster's own namespaces"
    assert during["fixed folders"] == before["fixed folders"]


def test_down_without_a_cluster_is_no_error():
    assert process_cluster.down("absent") is False


def test_up_twice_is_one_cluster(second_cluster):
    first = process_cluster.running_process(second_cluster)
    process_cluster.up(NAME, Wishes(), quiet)
    assert process_cluster.running_process(second_cluster) == first


def test_killed_cluster_comes_back(second_cluster):
    process = process_cluster.running_process(second_cluster)
    os.kill(process, signal.SIGKILL)
    process_cluster.wait_for_end(process)  # it is there until all that it holds has ended
    process_cluster.up(NAME, Wishes(), quiet)
    assert "node-0" in kubectl_of(second_cluster)("get", "nodes")


def test_killed_part_comes_back(second_cluster):
    for part in PARTS:
        os.kill(process_named(part, second_cluster), signal.SIGKILL)
    process_cluster.up(NAME, Wishes(), quiet)
    kubectl_of(second_cluster).wait("node/node-0", "condition=Ready")


def test_half_started_cluster_is_replaced(second_cluster):
    second_cluster.running.unlink()
    process_cluster.kill_group(pid_of_control(NAME))
    process_cluster.up(NAME, Wishes(), quiet)
    assert "node-0" in kubectl_of(second_cluster)("get", "nodes")


def test_two_clusters_do_not_meet(second_cluster, cluster, kubectl):
    other = kubectl_of(second_cluster)
    other("create", "namespace", "only-here")
    assert "only-here" not in kubectl("get", "namespaces")
    slots = {read_spec(Places.of(name).spec).slot for name in (NAME, cluster.cluster)}
    assert len({Addresses(slot).network for slot in slots}) == 2


def kubectl_of(places):
    return Kubectl(str(places.commands / "kubectl"), places.kubeconfig)


def commands():
    """Process id and command line of everything that runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            yield int(path.parent.name), path.read_bytes()


def pid_of_control(name):
    marker = f"control\0{name}".encode()
    return next(pid for pid, it in commands() if it.startswith(b"unshare") and marker in it)


def process_named(command, places):
    """One that is just being started again is waited for."""
    marker, found = str(places.root).encode(), []

    def is_found():
        found[:] = [
            pid
            for pid, it in commands()
            if Path(os.fsdecode(it.partition(b"\0")[0])).name == command and marker in it
        ]
        return found

    wait_until(is_found, timeout_s=180)
    return found[0]
