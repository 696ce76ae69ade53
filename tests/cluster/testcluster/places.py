"""Where a cluster keeps its files and which addresses it uses. Decides names, touches nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "tools"
"""One folder per group of pinned Go commands."""

MAX_SLOTS = 20
"""Clusters side by side; each has a /24 of its own, 172.31.100.0 to 172.31.119.0."""

MAX_NODES = 4
"""Real nodes of one cluster; routes to all of them exist from the start."""

SERVICE_NETWORK = "10.96.0.0/16"
KUBERNETES_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
POD_NETWORK = "10.244.0.0/16"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Binaries, base images and wheels: kept between clusters, safe to delete at any time."""
    home = environment.get("XDG_CACHE_HOME") or f"{environment.get('HOME', '/root')}/.cache"
    return Path(home) / "geopod" / "cluster"


def state_folder() -> Path:
    """The parent of every running cluster's folder; on a disk, for images are unpacked below it."""
    return Path("/var/tmp/geopod-testcluster")  # noqa: S108  # made 0700 and owned by root


def cluster_name(environment: Mapping[str, str] = os.environ) -> str:
    """`GEOPOD_TEST_CLUSTER`, by which clusters side by side are told apart."""
    return environment.get("GEOPOD_TEST_CLUSTER") or "main"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Every address of one cluster follows from its slot."""

    slot: int

    @property
    def network(self) -> str:
        """The /24 that joins host, control plane and nodes."""
        return f"172.31.{100 + self.slot}.0/24"

    @property
    def host(self) -> str:
        """The machine that runs the cluster, seen from inside it."""
        return f"172.31.{100 + self.slot}.1"

    @property
    def control(self) -> str:
        """API server, DNS, registry, S3 and package index."""
        return f"172.31.{100 + self.slot}.2"

    @property
    def host_link(self) -> str:
        """The cluster's only interface in the machine's own network namespace."""
        return f"geopod{self.slot}"

    @property
    def api_server(self) -> str:
        return f"https://{self.control}:6443"

    @property
    def registry(self) -> str:
        return f"{self.control}:5000"

    @property
    def s3(self) -> str:
        return f"http://{self.control}:7070"

    @property
    def index(self) -> str:
        return f"http://{self.control}:8081/simple/"

    @property
    def private_index(self) -> str:
        """The same index behind a name and a password."""
        return f"http://{self.control}:8081/private/simple/"

    def node(self, number: int) -> str:
        return f"172.31.{100 + self.slot}.{10 + number}"

    @staticmethod
    def pods(node: int) -> str:
        return f"10.244.{node}.0/24"

    @staticmethod
    def pod_gateway(node: int) -> str:
        return f"10.244.{node}.1"


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one cluster: all of them lie below `root`, which `cluster-down` removes."""

    root: Path

    @classmethod
    def of(cls, name: str) -> Places:
        return cls(state_folder() / name)

    @property
    def spec(self) -> Path:
        """What is wanted: read again by process 1 whenever it changes."""
        return self.root / "spec.json"

    @property
    def running(self) -> Path:
        """Process id of the cluster and when that process started."""
        return self.root / "running.json"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def certificates(self) -> Path:
        return self.root / "certificates"

    @property
    def settings(self) -> Path:
        return self.root / "settings"

    @property
    def registries(self) -> Path:
        """How containerd of every node reaches a registry: read again at each pull."""
        return self.root / "registries"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def images(self) -> Path:
        """Name → reference by digest of the images in the cluster's registry."""
        return self.root / "images.json"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.jsonl"

    @property
    def commands(self) -> Path:
        """Links to kubectl, helm and the others, for PATH."""
        return self.root / "bin"

    def data(self, service: str) -> Path:
        return self.root / "data" / service

    def node(self, number: int) -> Path:
        return self.root / f"node-{number}"

    def node_down(self, number: int) -> Path:
        """While this file is there, the node is off."""
        return self.root / f"node-{number}.down"

    @property
    def index_off(self) -> Path:
        """While this file is there, nothing listens on the package index's port."""
        return self.root / "index.off"
