"""What a process cluster needs of this machine, and one sentence per thing that is missing."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from .errors import ClusterError, NoClusterHereError
from .node import PLUGINS
from .places import state_folder

PACKAGES = {
    "unshare": "util-linux",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "mount": "mount",
    "mkfs.ext4": "e2fsprogs",
    "runc": "runc",
    "openssl": "openssl",
}
"""Command → the Debian package that has it."""

DISK_FOR_RUNNING_GIB = 3
"""Images of the tests unpacked on two nodes."""


def check_machine() -> None:
    """Refuse a machine that cannot have a process cluster.

    Raises:
        NoClusterHereError: not Linux, not root, or Debian packages or Go missing.
        ClusterError: the disk is too full.
    """
    if platform.system() != "Linux":
        raise NoClusterHereError(
            f"a process cluster needs Linux and this is {platform.system()}",
            fix="start Docker, then kind is used, or set GEOPOD_TEST_KUBECONFIG",
        )
    if os.geteuid() != 0:
        raise NoClusterHereError(
            f"a process cluster needs root and this is user {os.geteuid()}",
            fix="run it as root, start Docker, or set GEOPOD_TEST_KUBECONFIG",
        )
    missing = missing_packages()
    if missing:
        raise NoClusterHereError(
            f"{len(missing)} Debian packages are missing: {' '.join(missing)}",
            fix="run `make cluster-packages` (apt-get install)",
        )
    if shutil.which("go") is None:
        raise NoClusterHereError(
            "Go is not on PATH, and the cluster is built from Go modules",
            fix="install Go 1.26 or newer",
        )
    check_disk(state_folder())


def missing_packages() -> list[str]:
    """Debian packages whose commands are not there."""
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = {
        package for command, package in PACKAGES.items() if not shutil.which(command, path=search)
    }
    if not (Path(PLUGINS) / "bridge").exists():
        absent.add("containernetworking-plugins")
    return sorted(absent)


def check_disk(folder: Path) -> None:
    """Refuse a disk on which images could not be unpacked."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gib = shutil.disk_usage(existing).free / 2**30
    if free_gib < DISK_FOR_RUNNING_GIB:
        raise ClusterError(
            f"{existing} has {free_gib:.1f} GiB free, a cluster needs {DISK_FOR_RUNNING_GIB} GiB",
            fix="free some space on that disk",
        )
