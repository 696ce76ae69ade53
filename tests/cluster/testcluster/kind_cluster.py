"""A cluster of kind's, where a Docker daemon answers. Its CNI enforces network policies."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import binaries
from .errors import ClusterError
from .objects import gpu_patch
from .probe_image import probe_image, write_archive
from .process_cluster import Wishes

Say = Callable[[str], None]

NODE_IMAGE = "GEOPOD_TEST_KIND_IMAGE"
"""Environment variable: the node image, by digest if you like; kind's own default otherwise."""

GROUPS = ("kind", "probe")


@dataclass(frozen=True, slots=True)
class KindCluster:
    """Containers of a Docker daemon as nodes."""

    cluster: str
    name: str = "kind"
    kubectl: str = "kubectl"

    @property
    def kind_name(self) -> str:
        return f"geopod-test-{self.cluster}"

    @property
    def kubeconfig(self) -> Path:
        return Path(tempfile.gettempdir()) / f"{self.kind_name}.kubeconfig"

    def up(self, wishes: Wishes, say: Say) -> None:
        """Create the cluster if it is not there, and load the probe image.

        Raises:
            ClusterError: kind failed, or what is asked for is the process cluster's alone.
        """
        if wishes.simulated or wishes.kubernetes:
            raise ClusterError(
                "simulated nodes and --kubernetes are the process cluster's",
                fix=f"leave them out, or choose the version by {NODE_IMAGE}",
            )
        built = {group: binaries.build(group, say) for group in GROUPS}
        if self.kind_name not in self._kind("get", "clusters"):
            config = json.dumps(kind_config(wishes.nodes))
            image = os.environ.get(NODE_IMAGE)
            chosen = ["--image", image] if image else []
            place = ["--name", self.kind_name, "--kubeconfig", str(self.kubeconfig)]
            self._kind(
                "create",
                "cluster",
                *place,
                "--wait",
                "180s",
                "--config",
                "-",
                *chosen,
                stdin=config,
            )
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "probe.tar"
            write_archive(archive, probe_image(built["probe"] / "probe"))
            self._kind("load", "image-archive", str(archive), "--name", self.kind_name)
        if wishes.gpus:
            patch = json.dumps(gpu_patch(wishes.gpus))
            target = f"node/{self.kind_name}-control-plane"
            self._kubectl("patch", target, "--subresource=status", "--type=json", "-p", patch)

    def down(self) -> bool:
        """Delete the cluster, if there is one."""
        if self.kind_name not in self._kind("get", "clusters"):
            return False
        self._kind("delete", "cluster", "--name", self.kind_name)
        self.kubeconfig.unlink(missing_ok=True)
        return True

    def status(self) -> list[str]:
        """Its nodes; nothing if it is not running."""
        if self.kind_name not in self._kind("get", "clusters"):
            return []
        return self._kubectl("get", "nodes", "-o", "wide")

    def environment(self) -> list[str]:
        return [f"export KUBECONFIG={self.kubeconfig}"]

    def _kind(self, *arguments: str, stdin: str = "") -> list[str]:
        command = str(binaries.build("kind", lambda _: None) / "kind")
        return _run([command, *arguments], stdin)

    def _kubectl(self, *arguments: str) -> list[str]:
        node = f"{self.kind_name}-control-plane"
        inside = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", *arguments]
        return _run(["docker", "exec", node, *inside], "")


def kind_config(nodes: int) -> dict[str, Any]:
    """The first node is the control plane and takes pods too."""
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane"}, *[{"role": "worker"}] * (nodes - 1)],
    }


def _run(command: list[str], stdin: str) -> list[str]:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(
            f"`{' '.join(command[:3])}` failed: {done.stderr.strip().splitlines()[-1:]}",
            fix="see what `docker ps` and `docker info` say",
        )
    return done.stdout.splitlines()
