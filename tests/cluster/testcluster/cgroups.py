"""Control groups of a cluster: one folder per hierarchy, below which the kubelets make theirs."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
REMOVAL_S = 60.0
"""A killed process leaves its group a moment after it is gone from /proc; under load, seconds."""

COPIED = ("cpuset.cpus", "cpuset.mems")
"""Empty in a fresh version 1 cpuset, into which no process may then be moved."""


def group_name(cluster: str) -> str:
    return f"geopod-test-{cluster}"


def is_version_2() -> bool:
    """Whether the unified hierarchy is the only one."""
    return (MOUNT / "cgroup.controllers").exists()


def hierarchies() -> Iterator[Path]:
    """The root of each hierarchy on this machine."""
    if is_version_2():
        yield MOUNT
        return
    for path in sorted(MOUNT.iterdir()):
        if path.is_dir() and not path.is_symlink() and (path / "cgroup.procs").exists():
            yield path


def make_groups(cluster: str, node: int) -> str:
    """Make a node's group in every hierarchy and return its path, as the kubelet wants it."""
    for root in hierarchies():
        for path in (root / group_name(cluster), root / group_name(cluster) / f"node-{node}"):
            path.mkdir(exist_ok=True)
            for name in COPIED:
                if (path / name).exists() and not (path / name).read_text("ascii").strip():
                    (path / name).write_text((path.parent / name).read_text("ascii"), "ascii")
            if is_version_2():
                _delegate(path)
    return f"/{group_name(cluster)}/node-{node}"


def _delegate(path: Path) -> None:
    for controller in (path / "cgroup.controllers").read_text("ascii").split():
        try:
            (path.parent / "cgroup.subtree_control").write_text(f"+{controller}", "ascii")
        except OSError as error:
            if error.errno not in {errno.EBUSY, errno.ENOTSUP, errno.EINVAL}:
                raise


def remove_groups(cluster: str) -> None:
    """Remove a dead cluster's groups, depth first, waiting for the kernel to empty them."""
    deadline = time.monotonic() + REMOVAL_S
    for root in hierarchies():
        top = root / group_name(cluster)
        folders = [Path(path) for path, _, _ in os.walk(top, topdown=False)]
        for path in folders:
            _remove(path, deadline)


def _remove(path: Path, deadline: float) -> None:
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            os.sched_yield()
        else:
            return


def leftovers(cluster: str) -> list[Path]:
    """Groups of a cluster that still exist."""
    return [
        root / group_name(cluster)
        for root in hierarchies()
        if (root / group_name(cluster)).exists()
    ]
