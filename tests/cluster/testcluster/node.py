"""Process 1 of a node: containerd, kubelet and kube-proxy over a file system view of its own.

Run as `python -m cluster.testcluster.node NAME NUMBER` inside the cluster's namespaces.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from . import network, settings
from .cgroups import make_groups
from .namespaces import wait_for_connection
from .places import POD_NETWORK, Addresses, Places
from .spec import Spec, read_spec
from .supervisor import Service, Supervisor

PLUGINS = "/usr/lib/cni"
"""Where Debian's containernetworking-plugins puts them."""

SOCKET = Path("/run/containerd/containerd.sock")

IMPORT_TRIES = 50


def main() -> None:
    """Serve until killed."""
    name, number = sys.argv[1], int(sys.argv[2])
    places = Places.of(name)
    spec = read_spec(places.spec)
    wait_for_connection()
    socket.sethostname(f"node-{number}")
    cover_host_folders(places.node(number))
    network.set_up_node(Addresses(spec.slot), number)
    write_settings(spec, places, number)
    supervisor = Supervisor(places.logs / f"node-{number}")
    containerd = containerd_service(spec, places, number)
    supervisor.keep([containerd])
    import_probe_image(spec, places, supervisor)
    supervisor.keep([containerd, *kubernetes_services(spec, places, number)])
    while True:
        supervisor.tick()


def cover_host_folders(root: Path) -> None:
    """Give the node folders of its own where paths are fixed; the machine's stay untouched."""
    network.run("mount", "--make-rprivate", "/")
    network.run(*["mount", "-t", "tmpfs", "tmpfs", "/run"])
    for path in ("/var/lib", "/var/log"):
        upper, work = (root / f"{kind}{path.replace('/', '-')}" for kind in ("upper", "work"))
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(exist_ok=True)
        options = f"lowerdir={path},upperdir={upper},workdir={work}"
        network.run("mount", "-t", "overlay", "overlay", "-o", options, path)
    for path in ("/var/lib/kubelet", "/var/log/pods", "/var/log/containers"):
        own = root / path.strip("/").replace("/", "-")
        own.mkdir(exist_ok=True)
        Path(path).mkdir(exist_ok=True)
        network.run("mount", "--bind", str(own), path)
    network.run("mount", "--make-rshared", "/")


def write_settings(spec: Spec, places: Places, number: int) -> None:
    """Configuration files of this node."""
    root, addresses = places.node(number), Addresses(spec.slot)
    registries = places.registries
    (registries / addresses.registry).mkdir(parents=True, exist_ok=True)
    hosts = registries / addresses.registry / "hosts.toml"
    hosts.write_text(settings.registry_hosts(addresses), "utf-8")
    (root / "network").mkdir(exist_ok=True)
    (root / "network" / "pods.conflist").write_text(settings.pod_network(number), "utf-8")
    resolver = root / "resolv.conf"
    resolver.write_text(f"nameserver {addresses.control}\n", "utf-8")
    # containerd asks too: the machine's own resolver is out of reach, and asking it takes 20 s.
    network.run("mount", "--bind", str(resolver), str(Path("/etc/resolv.conf").resolve()))
    containerd = settings.containerd(
        root, registries=registries, plugins=PLUGINS, network=root / "network"
    )
    (root / "containerd.toml").write_text(containerd, "utf-8")
    kubelet = settings.kubelet(
        places.certificates,
        name=f"node-{number}",
        cgroup=make_groups(spec.name, number),
        resolver=resolver,
        fast=spec.fast_failure,
    )
    (root / "kubelet.json").write_text(kubelet, "utf-8")


def containerd_service(spec: Spec, places: Places, number: int) -> Service:
    """The container runtime; its shim is found by PATH."""
    config = f"{places.node(number)}/containerd.toml"
    path = f"{spec.binaries['containerd']}:/usr/sbin:/usr/bin:/sbin:/bin"
    command = (spec.binary("containerd", "containerd"), "--config", config, "--log-level", "warn")
    return Service("containerd", command, {"PATH": path}, stale=(SOCKET, Path(f"{SOCKET}.ttrpc")))


def kubernetes_services(spec: Spec, places: Places, number: int) -> list[Service]:
    """kubelet and kube-proxy."""
    certificates, name = places.certificates, f"node-{number}"
    kubelet = (
        spec.binary(spec.kubernetes_group, "kubelet"),
        f"--config={places.node(number)}/kubelet.json",
        f"--kubeconfig={certificates}/{name}.kubeconfig",
        f"--hostname-override={name}",
        f"--node-ip={Addresses(spec.slot).node(number)}",
        "--root-dir=/var/lib/kubelet",
    )
    proxy = (
        spec.binary(spec.kubernetes_group, "kube-proxy"),
        f"--kubeconfig={certificates}/kube-proxy.kubeconfig",
        f"--hostname-override={name}",
        f"--cluster-cidr={POD_NETWORK}",
        "--proxy-mode=iptables",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    )
    return [Service("kubelet", kubelet), Service("kube-proxy", proxy)]


def import_probe_image(spec: Spec, places: Places, supervisor: Supervisor) -> None:
    """Put the pause image into containerd's store, from where no sandbox has to pull it."""
    control = [spec.binary("containerd", "ctr"), "--address", str(SOCKET), "--namespace", "k8s.io"]
    for _ in range(IMPORT_TRIES):
        done = subprocess.run(
            [*control, "images", "import", f"{places.root}/probe.tar"],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return
        supervisor.tick()
    raise SystemExit(f"the pause image could not be imported: {done.stderr.decode()}")


if __name__ == "__main__":
    main()
