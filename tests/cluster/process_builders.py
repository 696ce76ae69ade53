"""A coordinator, agents and runners as processes of this machine, against a real API server.

They read what pods read (variables, mounted files below a root) and no image is needed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopod
from cluster.testcluster.kubectl import Kubectl
from geopod.api import deployment, tokens
from geopod.process.pod import ENV_ROOT
from port_builders import free_port

MINOR = "{}.{}".format(*sys.version_info)
SHARED_GROUP = deployment.AGENT_UID
SIGNING_KEY = bytes(range(32))
SYSTEM_PYTHON = "/usr/bin/python3"
"""One that every user may run: the tests' own may lie in a home folder."""


def a_environment(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": "ComputeEnvironment",
        "metadata": {"name": name},
        "spec": {"nodes": 2, "interpreter": f"python{MINOR}", **spec},
    }


def a_function(text: str, entry: str = "f") -> dict[str, Any]:
    """A function as source: a text that defines `entry`."""
    piece = {"filename": "f.py", "firstLine": 1, "text": text}
    bundle = {"entry": entry, "constants": {}, "imports": [], "pieces": [piece]}
    payload = json.dumps(bundle).encode()
    return {
        "format": "source",
        "name": entry,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "pythonVersion": MINOR,
        "inline": base64.b64encode(payload).decode(),
    }


def a_run(environment: str, text: str, *, name: str = "", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": "ComputeRun",
        "metadata": {"name": name or f"run-{uuid.uuid4().hex[:8]}"},
        "spec": {"environment": environment, "function": a_function(text), **spec},
    }


def results_of(run: dict[str, Any]) -> dict[int, Any]:
    """The JSON results that ride in a run's status, by task."""
    copies = run["status"]["results"].get("inline", ())
    return {it["index"]: json.loads(base64.b64decode(it["data"])) for it in copies}


def condition_of(resource: dict[str, Any], kind: str) -> tuple[str, str]:
    found = [it for it in resource["status"]["conditions"] if it["type"] == kind]
    return (found[0]["status"], found[0]["reason"]) if found else ("", "")


@dataclass
class Stage:
    """The folders and variables of one environment's processes."""

    kubectl: Kubectl
    environment: dict[str, Any]
    home: Path
    two_users: bool = False
    """Agents and runners are the two users that they are in pods."""
    has_gateway: bool = False
    """Bytes go through a gateway, with tokens; else all share a folder."""
    port: int = field(default_factory=free_port)
    gateway_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.environment["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.environment["metadata"]["uid"])

    @property
    def store(self) -> str:
        if self.has_gateway:
            return f"http://127.0.0.1:{self.gateway_port}"
        return str(self.home / "store")

    def start_gateway(self) -> subprocess.Popen[bytes]:
        key = self.home / "signing-key"
        key.write_bytes(SIGNING_KEY)
        key.chmod(0o644)
        variables = self._variables(self.home) | {
            "GEOPOD_GATEWAY_STORAGE": str(self.home / "store"),
            "GEOPOD_GATEWAY_PORT": str(self.gateway_port),
            "GEOPOD_GATEWAY_RESERVE_BYTES": "0",
            "GEOPOD_GATEWAY_SPOOL": str(self.home / "spool"),
            "GEOPOD_SIGNING_KEY_FILE": str(key),
        }
        return self._start([self._python, "-m", "geopod_gateway"], variables, "gateway")

    def start_coordinator(self) -> subprocess.Popen[bytes]:
        root = self.home / "coordinator"
        self._mount_link(root)
        variables = self._variables(root) | {
            "GEOPOD_COORDINATOR_PORT": str(self.port),
            "GEOPOD_METRICS_PORT": str(self.metrics_port),
            "KUBECONFIG": str(self._kubeconfig(root)),
        }
        command = [self._python, "-m", "geopod.coordinator", "--pod"]
        return self._start(command, variables, "coordinator")

    def start_node(self, index: int) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        """Start an agent and its runner; the runner waits for its zipapp, as in a pod."""
        root = self.home / f"node-{index}"
        self._mount_link(root)
        for mount in (deployment.SCRATCH_DIR, deployment.SOCKET_DIR, deployment.BIN_DIR):
            self._shared_folder(root / mount.lstrip("/"))
        self._shared_folder((root / deployment.STARTED_FILE.lstrip("/")).parent)
        variables = self._variables(root) | {
            deployment.ENV_POD_UID: str(uuid.uuid4()),
            deployment.ENV_NODE: str(index),
            deployment.ENV_COORDINATOR: f"ws://127.0.0.1:{self.port}/v1",
        }
        if not self.two_users:
            variables["GEOPOD_RUNNER_UID"] = str(os.geteuid())
        python = self._python
        agent = self._start([python, "-m", "geopod.agent", "--pod"], variables, "agent")
        zipapp = root / deployment.RUNNER_FILE.lstrip("/")
        wait = (
            deployment.runner_command(python)[-1]
            .replace(deployment.RUNNER_FILE, str(zipapp))
            .replace(deployment.RUNNER_SOCKET, str(root / deployment.RUNNER_SOCKET.lstrip("/")))
        )
        runner = self._start([python, "-c", wait], {"PATH": os.environ["PATH"]}, "runner")
        return agent, runner

    def node_root(self, index: int) -> Path:
        return self.home / f"node-{index}"

    def end(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def submit(self, manifest: dict[str, Any]) -> str:
        name = str(manifest["metadata"]["name"])
        self.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
        return name

    def wait_run(self, name: str, phase: str, timeout_s: int = 180) -> dict[str, Any]:
        self.kubectl.wait(
            f"computerun/{name}", f"jsonpath={{.status.phase}}={phase}", timeout_s=timeout_s
        )
        return self.kubectl.get("computerun", name)

    def wait_ready(self, nodes: int, timeout_s: int = 180) -> None:
        self.kubectl.wait(
            f"computeenvironment/{self.name}",
            f"jsonpath={{.status.nodes.ready}}={nodes}",
            timeout_s=timeout_s,
        )

    @property
    def _python(self) -> str:
        return SYSTEM_PYTHON if self.two_users else sys.executable

    def _kubeconfig(self, root: Path) -> Path:
        """A copy that the process's user may read."""
        copy = root / "kubeconfig"
        shutil.copyfile(self.kubectl.kubeconfig, copy)
        copy.chmod(0o644)
        return copy

    def _variables(self, root: Path) -> dict[str, str]:
        source = Path(geopod.__file__).parent.parent
        operator = source.parent.parent / "operator" / "src"
        packages = [path for path in sys.path if path.endswith("site-packages")]
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(source), str(operator), *packages]),
            "PYTHONDONTWRITEBYTECODE": "1",
            ENV_ROOT: str(root),
            deployment.ENV_NAMESPACE: self.kubectl.namespace,
            deployment.ENV_ENVIRONMENT: self.name,
            deployment.ENV_ENVIRONMENT_UID: self.uid,
            deployment.ENV_STORE: self.store,
        }

    def _mount_link(self, root: Path) -> None:
        folder = root / deployment.LINK_DIR.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        key = tokens.environment_key(SIGNING_KEY, self.uid)
        (folder / deployment.ENVIRONMENT_KEY_FILE).write_text(key.hex())
        (folder / deployment.LINK_KEY_FILE).write_text(tokens.link_key(key).hex())
        now = time.time()
        token = tokens.mint(
            key,
            key_id=self.uid,
            path=f"{self.uid}/",
            may=tokens.PERMISSIONS,
            now=now,
            lifetime_s=3600,
        )
        (folder / deployment.STORE_TOKEN_FILE).write_text(token)
        shared = f"shared/{self.kubectl.namespace}"
        token = tokens.mint(
            tokens.shared_key(SIGNING_KEY, self.kubectl.namespace),
            key_id=shared,
            path=f"{shared}/",
            may=("get",),
            now=now,
            lifetime_s=3600,
        )
        (folder / deployment.SHARED_TOKEN_FILE).write_text(token)

    def _shared_folder(self, folder: Path) -> None:
        """A folder as an emptyDir with fsGroup is."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.two_users:
            os.chown(folder, 0, SHARED_GROUP)
            folder.chmod(0o2777)

    def _start(
        self, command: list[str], variables: dict[str, str], part: str
    ) -> subprocess.Popen[bytes]:
        users: dict[str, Any] = {}
        if self.two_users:
            uid = deployment.RUNNER_UID if part == "runner" else deployment.AGENT_UID
            users = {"user": uid, "group": uid, "extra_groups": [SHARED_GROUP]}
        log = (self.home / f"{part}-{len(self.children)}.log").open("wb")
        with log:
            child = subprocess.Popen(
                command, env=variables, stdout=log, stderr=log, cwd="/", **users
            )
        self.children.append(child)
        return child


@contextlib.contextmanager
def a_stage(
    kubectl: Kubectl, *, two_users: bool = False, has_gateway: bool = False, **spec: Any
) -> Iterator[Stage]:
    """A fresh environment of which no process runs yet; all of them end with the block."""
    name = f"env-{secrets.token_hex(4)}"
    kubectl.apply(a_environment(name, **spec))
    home = Path(tempfile.mkdtemp(prefix="geopod-process-"))
    home.chmod(0o755)
    stage = Stage(kubectl, kubectl.get("computeenvironment", name), home, two_users, has_gateway)
    for folder in (home / "store", home / "spool"):
        folder.mkdir()
        if two_users:
            os.chown(folder, deployment.AGENT_UID, SHARED_GROUP)
    try:
        yield stage
    finally:
        stage.end()
        if sys.exc_info()[0] is not None:
            for log in sorted(home.glob("*.log")):
                sys.stderr.write(f"---- {log.name}\n{log.read_text('utf-8', 'replace')[-4000:]}\n")
        shutil.rmtree(home, ignore_errors=True)


def until(condition: Any, *, timeout_s: float = 180.0) -> None:
    """Look until a condition of other processes holds; kubectl takes them 0.1 s of a processor."""
    began = time.monotonic()
    end = began + timeout_s
    while not condition():
        assert began < end, "the condition never came true"
        time.sleep(max(0.05, 2 * (time.monotonic() - began)))  # noqa: TID251  # others make it true
        began = time.monotonic()
