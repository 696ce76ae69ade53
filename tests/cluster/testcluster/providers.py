"""Which kind of cluster this machine gets, in a fixed order, said aloud in the first line."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import process_cluster
from .errors import ClusterError
from .kind_cluster import KindCluster
from .places import Addresses, Places, cluster_name
from .process_cluster import Wishes
from .spec import read_spec

Say = Callable[[str], None]

GIVEN = "GEOPOD_TEST_KUBECONFIG"


class Provider(Protocol):
    """Something that has a cluster."""

    @property
    def name(self) -> str: ...

    @property
    def kubectl(self) -> str: ...

    @property
    def kubeconfig(self) -> Path: ...

    def up(self, wishes: Wishes, say: Say) -> None: ...

    def down(self) -> bool: ...

    def status(self) -> list[str]: ...

    def environment(self) -> list[str]: ...


def choose(say: Say) -> Provider:
    """A given kubeconfig, else kind if a Docker daemon answers, else processes of this machine.

    Whether this machine can have a process cluster is found out when it is asked for one, so that
    `down` and `status` answer everywhere.
    """
    given = os.environ.get(GIVEN)
    if given:
        say(f"provider: the cluster of {GIVEN}={given}")
        return GivenCluster(Path(given))
    if docker_answers():
        say("provider: kind, because a Docker daemon answers")
        return KindCluster(cluster_name())
    say("provider: processes of this machine, because no Docker daemon answers")
    return ProcessCluster(cluster_name())


def docker_answers() -> bool:
    """Whether there is a Docker daemon; a mere client says no."""
    if shutil.which("docker") is None:
        return False
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@dataclass(frozen=True, slots=True)
class GivenCluster:
    """Somebody else's cluster: used, never started or ended."""

    kubeconfig: Path
    name: str = "given"
    kubectl: str = "kubectl"

    def up(self, wishes: Wishes, say: Say) -> None:
        """Refuse what cannot be given; otherwise ask the cluster whether it is there.

        Raises:
            ClusterError: the file is missing or the cluster does not answer.
        """
        if not self.kubeconfig.exists():
            raise ClusterError(
                f"{GIVEN} names {self.kubeconfig}, which does not exist",
                fix=f"unset or correct {GIVEN}",
            )
        if wishes.simulated or wishes.gpus or wishes.kubernetes:
            raise ClusterError(
                "simulated nodes, GPUs and versions cannot be added to a given cluster",
                fix=f"unset {GIVEN}",
            )
        for line in self.status():
            say(line)

    def down(self) -> bool:
        """Leave it alone."""
        return False

    def status(self) -> list[str]:
        """Its nodes, by the `kubectl` on PATH."""
        return kubectl(self.kubectl, self.kubeconfig, "get", "nodes")

    def environment(self) -> list[str]:
        return [f"export KUBECONFIG={self.kubeconfig}"]


@dataclass(frozen=True, slots=True)
class ProcessCluster:
    """A cluster made of processes in namespaces of their own."""

    cluster: str
    name: str = "process"

    @property
    def kubectl(self) -> str:
        return str(Places.of(self.cluster).commands / "kubectl")

    @property
    def kubeconfig(self) -> Path:
        return Places.of(self.cluster).kubeconfig

    def up(self, wishes: Wishes, say: Say) -> None:
        """Start it, or give a running one what it lacks."""
        process_cluster.up(self.cluster, wishes, say)

    def down(self) -> bool:
        """End it and remove every trace."""
        return process_cluster.down(self.cluster)

    def status(self) -> list[str]:
        """Its nodes and addresses; nothing if it is not running."""
        if not process_cluster.is_running(self.cluster):
            return []
        places = Places.of(self.cluster)
        spec = read_spec(places.spec)
        addresses = Addresses(spec.slot)
        beside = f"registry {addresses.registry}, S3 {addresses.s3}, index {addresses.index}"
        where = f"Kubernetes {spec.kubernetes}, files {places.root}, {beside}"
        return [where, *kubectl(self.kubectl, self.kubeconfig, "get", "nodes", "-o", "wide")]

    def environment(self) -> list[str]:
        places = Places.of(self.cluster)
        return [
            f"export KUBECONFIG={places.kubeconfig}",
            f'export PATH="{places.commands}:$PATH"',
        ]


def kubectl(command: str, kubeconfig: Path, *arguments: str) -> list[str]:
    """Lines that kubectl prints.

    Raises:
        ClusterError: it failed; the sentence carries its last line.
    """
    done = subprocess.run(
        [command, f"--kubeconfig={kubeconfig}", "--request-timeout=60s", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(
            f"the cluster does not answer: {done.stderr.strip().splitlines()[-1:]}",
            fix="run `make cluster-down` and `make cluster-up`",
        )
    return done.stdout.splitlines()
