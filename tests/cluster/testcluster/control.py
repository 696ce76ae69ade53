"""Process 1 of a cluster: the control plane beside its nodes, each in namespaces of their own.

Run as `python -m cluster.testcluster.control NAME`. It follows the spec as it changes, so that a
second node or simulated nodes come without a restart.
"""

from __future__ import annotations

import functools
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from . import network
from .disks import mount_disk
from .namespaces import wait_for_connection
from .places import POD_NETWORK, SERVICE_NETWORK, Addresses, Places
from .spec import Spec, read_spec
from .supervisor import Service, Supervisor

S3_USER, S3_PASSWORD = "geopod", "geopod-secret"  # a throw-away cluster's

READY_S = 360.0
"""For a cold API server on a busy machine; 3 s is usual."""


def main() -> None:
    """Serve until killed."""
    name = sys.argv[1]
    places = Places.of(name)
    spec = read_spec(places.spec)
    addresses = Addresses(spec.slot)
    wait_for_connection()
    network.run("mount", "--make-rprivate", "/")
    socket.sethostname(f"geopod-{name}")
    network.set_up_switch(addresses)
    supervisor = Supervisor(places.logs)
    supervisor.keep(store_services(spec, places) + side_services(spec, places))
    _wait_for_api_server(addresses, supervisor)
    with_disk = 0
    while True:
        spec = read_spec(places.spec)
        for number in range(with_disk, spec.nodes):
            mount_disk(places.node(number))
        with_disk = max(with_disk, spec.nodes)
        supervisor.keep(wanted_services(spec, places))
        supervisor.tick()


def wanted_services(spec: Spec, places: Places) -> list[Service]:
    """Everything that should run now."""
    services = store_services(spec, places) + side_services(spec, places)
    services += controller_services(spec, places)
    for number in range(spec.nodes):
        if not places.node_down(number).exists():
            services.append(node_service(spec, number))
    return services


def store_services(spec: Spec, places: Places) -> list[Service]:
    """etcd and the API server."""
    certificates = places.certificates
    etcd = Service(
        "etcd",
        (
            spec.binary("etcd", "etcd"),
            f"--data-dir={places.data('etcd')}",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--log-level=warn",
            "--unsafe-no-fsync",  # a test cluster is never recovered from disk
        ),
    )
    api_server = Service(
        "kube-apiserver",
        (
            spec.binary(spec.kubernetes_group, "kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=6443",
            f"--advertise-address={Addresses(spec.slot).control}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            f"--client-ca-file={certificates}/ca.crt",
            f"--tls-cert-file={certificates}/apiserver.crt",
            f"--tls-private-key-file={certificates}/apiserver.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={certificates}/sa.pub",
            f"--service-account-signing-key-file={certificates}/sa.key",
            f"--kubelet-certificate-authority={certificates}/ca.crt",
            f"--kubelet-client-certificate={certificates}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={certificates}/apiserver-kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={certificates}/front-proxy-ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={certificates}/front-proxy-client.crt",
            f"--proxy-client-key-file={certificates}/front-proxy-client.key",
            "--enable-aggregator-routing=true",  # no kube-proxy runs beside the API server
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--audit-policy-file={places.settings}/audit.json",
            f"--audit-log-path={places.audit_log}",
            "--audit-log-maxsize=0",  # one file: tests read on from where they began
        ),
    )
    return [etcd, api_server]


def controller_services(spec: Spec, places: Places) -> list[Service]:
    """Controller manager, scheduler, DNS and, if there are simulated nodes, kwok."""
    certificates = places.certificates
    services = [
        Service("kube-controller-manager", controller_manager(spec, certificates)),
        Service(
            "kube-scheduler",
            (
                spec.binary(spec.kubernetes_group, "kube-scheduler"),
                f"--kubeconfig={certificates}/scheduler.kubeconfig",
                f"--authentication-kubeconfig={certificates}/scheduler.kubeconfig",
                f"--authorization-kubeconfig={certificates}/scheduler.kubeconfig",
                "--leader-elect=false",
                *raised_limits(spec),
            ),
        ),
        Service(
            "coredns", (spec.binary("coredns", "coredns"), "-conf", f"{places.settings}/Corefile")
        ),
    ]
    if spec.simulated:
        services.append(Service("kwok", kwok(spec, certificates)))
    return services


def controller_manager(spec: Spec, certificates: Path) -> tuple[str, ...]:
    """Lost nodes are noticed after 15 s instead of 50 s where that was asked for."""
    fast = (
        ("--node-monitor-period=1s", "--node-monitor-grace-period=15s") if spec.fast_failure else ()
    )
    return (
        spec.binary(spec.kubernetes_group, "kube-controller-manager"),
        f"--kubeconfig={certificates}/controller-manager.kubeconfig",
        f"--authentication-kubeconfig={certificates}/controller-manager.kubeconfig",
        f"--authorization-kubeconfig={certificates}/controller-manager.kubeconfig",
        f"--root-ca-file={certificates}/ca.crt",
        f"--service-account-private-key-file={certificates}/sa.key",
        f"--cluster-signing-cert-file={certificates}/ca.crt",
        f"--cluster-signing-key-file={certificates}/ca.key",
        f"--cluster-cidr={POD_NETWORK}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        *fast,
        *raised_limits(spec),
    )


def raised_limits(spec: Spec) -> tuple[str, ...]:
    """The default of 20 requests/s is itself the limit of a scale test."""
    return ("--kube-api-qps=400", "--kube-api-burst=600") if spec.fast_controllers else ()


def kwok(spec: Spec, certificates: Path) -> tuple[str, ...]:
    """Plays the kubelet of nodes that carry its annotation, by the stages that its module ships."""
    stages = sorted(Path(spec.binaries["kwok"]).glob("*.yaml"))
    return (
        spec.binary("kwok", "kwok"),
        f"--kubeconfig={certificates}/admin.kubeconfig",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        # Renewed after a quarter of it: a slower lease would itself look like a lost node.
        f"--node-lease-duration-seconds={4 if spec.fast_failure else 40}",
        *(f"--config={path}" for path in stages),
    )


def side_services(spec: Spec, places: Places) -> list[Service]:
    """What a real cluster finds beside it: a registry, an S3 store and a package index."""
    wheels = str(places.data("index"))
    services = [
        Service(
            "registry",
            (spec.binary("registry", "registry"), "serve", f"{places.settings}/registry.json"),
            {"OTEL_TRACES_EXPORTER": "none"},
        ),
        Service(
            "versitygw",
            (
                spec.binary("versitygw", "versitygw"),
                "--port",
                ":7070",
                "posix",
                str(places.data("s3")),
            ),
            {"ROOT_ACCESS_KEY": S3_USER, "ROOT_SECRET_KEY": S3_PASSWORD},
        ),
    ]
    if not places.index_off.exists():
        command = (sys.executable, "-m", "cluster.testcluster.index", wheels)
        services.append(Service("index", command))
    return services


def node_service(spec: Spec, number: int) -> Service:
    """A node is process 1 of its own namespaces below this one."""
    command = (sys.executable, "-m", "cluster.testcluster.node", spec.name, str(number))
    return Service(
        f"node-{number}", command, connect=functools.partial(network.connect_node, number)
    )


def _wait_for_api_server(addresses: Addresses, supervisor: Supervisor) -> None:
    # Kubelets that start earlier back off and come seconds later.
    trust = ssl._create_unverified_context()  # noqa: S323  # a question without a secret
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(  # noqa: S310  # https, our own address
                f"{addresses.api_server}/readyz", context=trust, timeout=10
            ):
                return
        except (OSError, urllib.error.URLError):
            supervisor.tick()


if __name__ == "__main__":
    main()
