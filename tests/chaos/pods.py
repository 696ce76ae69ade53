"""What the pods of one environment are given: variables, keys, mounts; folders of this machine."""

from __future__ import annotations

import json
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from cluster.process_builders import SIGNING_KEY
from geopod.api import deployment, tokens
from geopod.backends.local.processes import MARKER
from geopod.process.pod import ENV_ROOT
from port_builders import free_port

NAME, NAMESPACE = "chaos", "geo"
HOUR_S = 3600.0


@dataclass
class Pods:
    """The pods of the environment `uid`, below `home`."""

    home: Path
    uid: str = ""
    store_url: str = ""
    gateway_port: int = field(default_factory=free_port)
    coordinator_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    """In the variables of all their processes: an orphan is known by it."""

    def prepare(self, api_url: str) -> None:
        """Write what all of them share: the signing key and a kubeconfig."""
        (self.home / "signing-key").write_bytes(SIGNING_KEY)
        context = {"cluster": "c", "user": "u", "namespace": NAMESPACE}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": api_url.rstrip("/")}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": context}],
        }
        (self.home / "kubeconfig").write_text(yaml.safe_dump(config))

    def root(self, part: str) -> Path:
        """Return where the mounts of a part lie; a runner's are its agent's."""
        return self.home / part.replace(" ", "-").replace("runner", "agent")

    def environ(self, part: str) -> dict[str, str]:
        """Return the variables of a part, its mounts made."""
        kind, _, number = part.partition(" ")
        root = self.root(part)
        (root / "tmp").mkdir(parents=True, exist_ok=True)
        common = {"PATH": os.environ["PATH"], MARKER: self.mark, "TMPDIR": str(root / "tmp")}
        match kind:
            case "gateway":
                return common | self._gateway()
            case "coordinator":
                return common | self._member(root) | self._coordinator()
            case "agent":
                return common | self._member(root) | self._agent(root, number)
            case _:
                return common | {"RUNNER": json.dumps(self._runner_command(root))}

    def _gateway(self) -> dict[str, str]:
        return {
            "GEOPOD_GATEWAY_STORAGE": str(self.home / "store"),
            "GEOPOD_GATEWAY_PORT": str(self.gateway_port),
            "GEOPOD_GATEWAY_RESERVE_BYTES": "0",
            "GEOPOD_GATEWAY_FSYNC": "0",
            "GEOPOD_SIGNING_KEY_FILE": str(self.home / "signing-key"),
        }

    def _member(self, root: Path) -> dict[str, str]:
        self._mount_link(root)
        return {
            ENV_ROOT: str(root),
            deployment.ENV_NAMESPACE: NAMESPACE,
            deployment.ENV_ENVIRONMENT: NAME,
            deployment.ENV_ENVIRONMENT_UID: self.uid,
            deployment.ENV_STORE: self.store_url,
        }

    def _coordinator(self) -> dict[str, str]:
        return {
            "GEOPOD_COORDINATOR_PORT": str(self.coordinator_port),
            "GEOPOD_METRICS_PORT": str(self.metrics_port),
            "KUBECONFIG": str(self.home / "kubeconfig"),
        }

    def _agent(self, root: Path, number: str) -> dict[str, str]:
        for mount in (deployment.SCRATCH_DIR, deployment.SOCKET_DIR, deployment.BIN_DIR):
            (root / mount.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return {
            deployment.ENV_POD_UID: str(uuid.uuid4()),
            deployment.ENV_NODE: number,
            deployment.ENV_COORDINATOR: f"ws://127.0.0.1:{self.coordinator_port}/v1",
            "GEOPOD_RUNNER_UID": str(os.geteuid()),
        }

    def _runner_command(self, root: Path) -> list[str]:
        """Return the runner's zipapp and its arguments."""
        zipapp, socket = (
            str(root / mount.lstrip("/"))
            for mount in (deployment.RUNNER_FILE, deployment.RUNNER_SOCKET)
        )
        return [zipapp, "--socket", socket]

    def _mount_link(self, root: Path) -> None:
        folder = root / deployment.LINK_DIR.lstrip("/")
        if folder.exists():
            return
        folder.mkdir(parents=True)
        key, shared = tokens.environment_key(SIGNING_KEY, self.uid), f"shared/{NAMESPACE}"
        (folder / deployment.ENVIRONMENT_KEY_FILE).write_text(key.hex())
        (folder / deployment.LINK_KEY_FILE).write_text(tokens.link_key(key).hex())
        grants = {
            deployment.STORE_TOKEN_FILE: (self.uid, key, tokens.PERMISSIONS),
            deployment.SHARED_TOKEN_FILE: (
                shared,
                tokens.shared_key(SIGNING_KEY, NAMESPACE),
                ("get",),
            ),
        }
        for name, (owner, signed, may) in grants.items():
            token = tokens.mint(
                signed,
                key_id=owner,
                path=f"{owner}/",
                may=may,
                now=time.time(),
                lifetime_s=HOUR_S,
            )
            (folder / name).write_text(token)
