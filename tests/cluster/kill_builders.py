"""Ways to kill what runs on a process cluster, as crashes do: SIGKILL from outside, no goodbye."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.testcluster.kubectl import Kubectl
from cluster.testcluster.places import Places

SYSTEM = "geopod-system"


def component(name: str, *, environment: str = "") -> str:
    """Return the selector of one component's pods, of one environment or of geopod itself."""
    chosen = f"app.kubernetes.io/component={name}"
    return f"{chosen},app.kubernetes.io/instance={environment}" if environment else chosen


def pods(kubectl: Kubectl, selector: str) -> list[dict[str, Any]]:
    """Return the pods of a selector that are not on their way out."""
    found: list[dict[str, Any]] = kubectl.get("pods", f"--selector={selector}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def kill_container(kubectl: Kubectl, selector: str, container: str, *, index: int = 0) -> None:
    """SIGKILL the first process of a container; the kubelet starts it again in the same pod.

    A container that is just being started is waited for.
    """
    wait_until(lambda: _kill_running(kubectl, selector, container, index))


def _kill_running(kubectl: Kubectl, selector: str, container: str, index: int) -> bool:
    found = sorted(pods(kubectl, selector), key=lambda pod: str(pod["metadata"]["name"]))
    statuses = found[index]["status"].get("containerStatuses", ()) if index < len(found) else ()
    running = {it["name"]: it["containerID"] for it in statuses if "running" in it["state"]}
    if container not in running:
        return False
    pid = first_process(running[container].partition("://")[2])
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_pod(kubectl: Kubectl, name: str) -> None:
    """Take a pod away at once; its set makes another one."""
    words = ("--grace-period=0", "--force", "--wait=false", "--ignore-not-found")
    kubectl("delete", "pod", name, *words)


def first_process(container: str) -> int | None:
    """Return the pid, on this machine, of a container's process 1; None: it has just ended."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if container not in (folder / "cgroup").read_text("utf-8"):
                continue
            (numbers,) = (
                line.split()[1:]
                for line in (folder / "status").read_text("utf-8").splitlines()
                if line.startswith("NSpid:")
            )
            if numbers[-1] == "1":
                return int(folder.name)
    return None


def api_server(cluster: str) -> int:
    """Return the pid of a process cluster's API server."""
    authority = f"--client-ca-file={Places.of(cluster).certificates}/ca.crt".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"kube-apiserver") and authority in words:
                return int(folder.name)
    raise LookupError(f"cluster {cluster} has no API server")


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process stand still, its connections open, until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until(holds: Any, *, timeout_s: float = 120.0) -> None:
    """Look again and again until something about the cluster holds; fails at the deadline."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.2)  # noqa: TID251  # kubectl cannot wait for this
