"""Builds the pinned Go commands once and keeps them outside the tree.

A group's key is the hash of its `go.mod`, `go.sum`, sources and the Go version: whatever changes
the commands changes the key, and nothing else does.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .errors import ClusterError
from .places import TOOLS, cache_folder

TAGS = "no_btrfs no_zfs no_devmapper"
"""containerd without the snapshotters that need C libraries; no other group knows these tags."""

DISK_FOR_BUILDING_GIB = 8
"""Kubernetes alone: 0.5 GiB of binaries, 2 GiB of build cache, 1.5 GiB of module sources."""

Say = Callable[[str], None]


@functools.cache
def go_version() -> str:
    """Version of the installed Go, "1.26.8".

    Raises:
        ClusterError: Go is missing.
    """
    try:
        words = subprocess.run(
            [shutil.which("go") or "go", "env", "GOVERSION"],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClusterError(
            "Go is not installed or does not run",
            fix=f"install Go {newest_go_wanted()} or newer and put `go` on PATH",
        ) from error
    return words.stdout.strip().removeprefix("go")


def go_wanted(group: str) -> str:
    """The least Go version with which a group builds, from its `go.mod`."""
    line = re.search(r"^go (\S+)$", (TOOLS / group / "go.mod").read_text("utf-8"), re.MULTILINE)
    return line.group(1) if line else "1.26.0"


def newest_go_wanted() -> str:
    """The least Go version with which every group builds."""
    return max((go_wanted(group) for group in groups()), key=_as_numbers)


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def groups() -> list[str]:
    """Names of all groups of pinned commands."""
    return sorted(path.parent.name for path in TOOLS.glob("*/go.mod"))


def kubernetes_minors() -> list[str]:
    """Minor versions of Kubernetes that can be had, newest first."""
    minors = [
        group.removeprefix("kubernetes-") for group in groups() if group.startswith("kubernetes-")
    ]
    return sorted(minors, key=_as_numbers, reverse=True)


def kubernetes_version(minor: str) -> str:
    """The pinned version of a minor version of Kubernetes, "v1.37.2".

    Raises:
        ClusterError: no such minor version is pinned.
    """
    pinned = TOOLS / f"kubernetes-{minor}" / "go.mod"
    found = pinned.exists() and re.search(r"k8s\.io/kubernetes (v\S+)", pinned.read_text("utf-8"))
    if not found:
        raise ClusterError(
            f"Kubernetes {minor} is not pinned", fix=f"take one of {', '.join(kubernetes_minors())}"
        )
    return found.group(1)


def key(group: str) -> str:
    """Names the folder of a group's built commands."""
    digest = hashlib.sha256(f"{go_version()} {TAGS}".encode())
    for path in sorted((TOOLS / group).iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{group}-{digest.hexdigest()[:16]}"


def build(group: str, say: Say) -> Path:
    """Folder with the commands of a group, built now if it is not there.

    Raises:
        ClusterError: Go is too old, the disk too full, or the build failed (with Go's last lines).
    """
    folder = cache_folder() / "bin" / key(group)
    if folder.exists():
        return folder
    _check_can_build(group, folder.parent)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _build_into(folder, group, say)
    return folder


def _check_can_build(group: str, parent: Path) -> None:
    if _as_numbers(go_version()) < _as_numbers(go_wanted(group)):
        raise ClusterError(
            f"Go is {go_version()} and {group} needs {go_wanted(group)}",
            fix="install a newer Go and put it first on PATH",
        )
    parent.mkdir(parents=True, exist_ok=True)
    free_gib = shutil.disk_usage(parent).free / 2**30
    if free_gib < DISK_FOR_BUILDING_GIB:
        raise ClusterError(
            f"{parent} has {free_gib:.1f} GiB free and building needs {DISK_FOR_BUILDING_GIB} GiB",
            fix="free some space or set XDG_CACHE_HOME to a larger disk",
        )


def _build_into(folder: Path, group: str, say: Say) -> None:
    started = time.monotonic()
    say(f"building {group} (once per version; minutes)")
    source = TOOLS / group
    draft = folder.parent / f"{folder.name}.new"
    shutil.rmtree(draft, ignore_errors=True)
    how = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", TAGS]
    how += ["-ldflags", link_flags(group), "-o", f"{draft}/"]
    done = subprocess.run(
        ["/usr/bin/nice", "-n", "19", "go", "build", *how, *packages(source)],
        cwd=source,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        tail = " | ".join(done.stderr.strip().splitlines()[-4:])
        raise ClusterError(
            f"building {group} failed: {tail}",
            fix=f"run `go build` in tests/cluster/tools/{group} for the whole message",
        )
    if group == "etcd":  # its command is the root of the module `server`, and is named after that
        (draft / "server").rename(draft / "etcd")
    if group == "kwok":
        _copy_stages(source, draft)
    draft.rename(folder)
    say(f"built {group} in {time.monotonic() - started:.0f} s")


def _copy_stages(source: Path, target: Path) -> None:
    # Without stages kwok exits. They lie in its module, in the folders named here.
    module = subprocess.run(
        ["/usr/bin/env", "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"],
        cwd=source,
        env={**os.environ, "GOWORK": "off", "GOFLAGS": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    for part in ("node/fast", "node/heartbeat-with-lease", "pod/fast"):
        for path in (Path(module.stdout.strip()) / "kustomize" / "stage" / part).glob("*-*.yaml"):
            shutil.copyfile(path, target / path.name)


def packages(source: Path) -> list[str]:
    """Import paths that a group's `tools.go` names, or the group itself if it is source of ours."""
    tools = source / "tools.go"
    return re.findall(r'_ "([^"]+)"', tools.read_text("utf-8")) if tools.exists() else ["."]


def link_flags(group: str) -> str:
    """Stripped; and Kubernetes is told its version, else the API server reports an unusable one."""
    flags = "-s -w"
    if group.startswith("kubernetes-"):
        minor = group.removeprefix("kubernetes-")
        package = "k8s.io/component-base/version"
        values = {"gitVersion": kubernetes_version(minor), "gitMajor": "1", "gitMinor": minor[2:]}
        flags += "".join(f" -X {package}.{name}={value}" for name, value in values.items())
    return flags
