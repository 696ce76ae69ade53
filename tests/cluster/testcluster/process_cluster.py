"""Brings a process cluster up and down, seen from the machine that it runs on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from . import binaries, cgroups, network, settings
from .certificates import write_certificates, write_node_certificate
from .errors import ClusterError
from .machine import check_machine
from .namespaces import NamespaceError, kill_group, start_in_namespaces
from .places import MAX_NODES, MAX_SLOTS, Addresses, Places, state_folder
from .probe_image import probe_image, write_archive
from .readiness import last_words, wait_until_ready
from .spec import Spec, read_spec, write_spec
from .wheels import wheel_folder

BASE_GROUPS = ("etcd", "containerd", "coredns", "registry", "versitygw", "probe")
"""Beside Kubernetes; kwok with simulated nodes, Helm and cyclonus when asked for."""

Say = Callable[[str], None]

_started: dict[int, subprocess.Popen[bytes]] = {}
"""Clusters that this very process started and must therefore reap."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller asked for; `None` and zero leave a running cluster as it is."""

    kubernetes: str | None = None
    nodes: int = 1
    simulated: int = 0
    gpus: int = 0
    fast_failure: bool = False
    fast_controllers: bool = False
    index: bool = False
    """Wheels in the package index; they are downloaded once."""


def up(name: str, wishes: Wishes, say: Say) -> Spec:
    """Start a cluster, or give a running one what it lacks, and wait until it is ready.

    Raises:
        ClusterError: in one sentence, and nothing is left behind by a cluster that did not start.
    """
    check_name(name)
    if wishes.nodes > MAX_NODES:
        raise ClusterError(
            f"{wishes.nodes} real nodes are asked for and {MAX_NODES} fit",
            fix="use --simulated for more",
        )
    check_machine()
    built = build_commands(wishes, say)
    with exclusive():
        if not is_running(name):
            remove(name)
            start(name, wishes, built)
        places = Places.of(name)
        spec = merged(read_spec(places.spec), wishes, built)
        for number in range(spec.nodes):
            if not (places.certificates / f"node-{number}.crt").exists():
                write_node_certificate(places.certificates, number, Addresses(spec.slot))
        link_commands(places, spec)
        if wishes.index:
            fill_index(places, say)
        write_spec(places.spec, spec)
    try:
        wait_until_ready(places, spec, alive=lambda: is_running(name))
    except ClusterError:
        with exclusive():
            remove(name)
        raise
    return spec


def build_commands(wishes: Wishes, say: Say) -> dict[str, str]:
    """Group → folder, for everything that a cluster of this kind runs."""
    minor = wishes.kubernetes or binaries.kubernetes_minors()[0]
    binaries.kubernetes_version(minor)
    wanted = [f"kubernetes-{minor}", *BASE_GROUPS, *(("kwok",) if wishes.simulated else ())]
    return {group: str(binaries.build(group, say)) for group in wanted}


def start(name: str, wishes: Wishes, built: dict[str, str]) -> None:
    """Write every file of a fresh cluster and start its process 1."""
    minor = wishes.kubernetes or binaries.kubernetes_minors()[0]
    spec = Spec(name=name, slot=free_slot(), kubernetes=minor, binaries=built, nodes=0)
    places, addresses = Places.of(name), Addresses(spec.slot)
    try:
        for folder in (places.settings, places.logs, *map(places.data, ("etcd", "s3", "index"))):
            folder.mkdir(parents=True)
        places.data("etcd").chmod(0o700)
        write_certificates(places.certificates, addresses)
        shutil.copyfile(places.certificates / "admin.kubeconfig", places.kubeconfig)
        places.kubeconfig.chmod(0o600)
        (places.settings / "audit.json").write_text(settings.audit_policy(), "utf-8")
        (places.settings / "registry.json").write_text(
            settings.registry(places.data("registry")), "utf-8"
        )
        (places.settings / "Corefile").write_text(
            settings.corefile(addresses, places.certificates / "admin.kubeconfig"), "utf-8"
        )
        write_archive(places.root / "probe.tar", probe_image(Path(built["probe"]) / "probe"))
        write_spec(places.spec, spec)
        launch(name, addresses)
    except BaseException as error:
        words = last_words(places, "control")
        remove(name)
        if isinstance(error, NamespaceError):
            raise ClusterError(
                f"the cluster's process 1 did not start: {words}",
                fix="root with CAP_SYS_ADMIN and CAP_NET_ADMIN is needed",
            ) from error
        raise


def launch(name: str, addresses: Addresses) -> None:
    """Start process 1 in its namespaces and note its id with the time at which it was born."""
    places = Places.of(name)
    tests = Path(__file__).parents[2]
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    with (places.logs / "control.log").open("ab") as log:
        process = start_in_namespaces(
            [sys.executable, "-m", "cluster.testcluster.control", name],
            {**os.environ, "PYTHONPATH": str(tests), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            log,
            connect=lambda pid: network.connect_host(addresses, pid),
        )
    _started[process.pid] = process
    noted = {"pid": process.pid, "born": born(process.pid)}
    places.running.write_text(json.dumps(noted), "utf-8")


def merged(spec: Spec, wishes: Wishes, built: dict[str, str]) -> Spec:
    """A running cluster grows to what is asked for and never shrinks."""
    if wishes.kubernetes not in {None, spec.kubernetes}:
        raise ClusterError(
            f"cluster {spec.name} runs Kubernetes {spec.kubernetes}, not {wishes.kubernetes}",
            fix="run `make cluster-down` first, or set GEOPOD_TEST_CLUSTER to another name",
        )
    return replace(
        spec,
        binaries={**built, **spec.binaries},
        nodes=max(spec.nodes, wishes.nodes),
        simulated=max(spec.simulated, wishes.simulated),
        gpus=max(spec.gpus, wishes.gpus),
        fast_failure=spec.fast_failure or wishes.fast_failure,
        fast_controllers=spec.fast_controllers or wishes.fast_controllers,
    )


def down(name: str) -> bool:
    """End a cluster and remove every trace; say whether there was one."""
    check_name(name)
    if not state_folder().exists() and not cgroups.leftovers(name):
        return False
    with exclusive():
        existed = Places.of(name).root.exists()
        remove(name)
    return existed


def remove(name: str) -> None:
    """One SIGKILL ends all processes, interfaces, mounts and rules; then files and groups go."""
    places = Places.of(name)
    process = running_process(places)
    if process is not None:
        kill_group(process)
        wait_for_end(process)
    if places.spec.exists():
        # The kernel clears a dead network namespace when it pleases; the name is free at once.
        network.disconnect_host(Addresses(read_spec(places.spec).slot))
    cgroups.remove_groups(name)
    if places.root.exists():
        # Three times as fast as shutil over the files of unpacked images.
        network.run("rm", "-rf", "--one-file-system", str(places.root))


def is_running(name: str) -> bool:
    """Whether the cluster's process 1 is alive."""
    return running_process(Places.of(name)) is not None


def running_process(places: Places) -> int | None:
    """Process id of a live cluster; a recycled id is told apart by its time of birth."""
    try:
        noted = json.loads(places.running.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return noted["pid"] if born(noted["pid"]) == noted["born"] else None


def born(pid: int) -> int | None:
    """Clock ticks after boot at which a live process started (field 22 of proc(5) stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def wait_for_end(pid: int) -> None:
    """Return when a killed process and with it its namespaces are gone."""
    if pid in _started:
        _started.pop(pid).wait()
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([handle], [], [], 60)
    finally:
        os.close(handle)


def free_slot() -> int:
    """The lowest slot that neither a cluster nor this machine's own networks occupy."""
    used = {read_spec(path).slot for path in state_folder().glob("*/spec.json")}
    taken = network.taken_networks()
    blocked: list[str] = []
    for slot in range(MAX_SLOTS):
        interface = network.conflict(Addresses(slot), taken)
        if slot not in used and interface is None:
            return slot
        blocked.append(f"{Addresses(slot).network} ({interface or 'another cluster'})")
    raise ClusterError(
        f"all {MAX_SLOTS} networks are taken, {blocked[0]} to {blocked[-1]}",
        fix="end a cluster with `make cluster-down` or remove the interface",
    )


def link_commands(places: Places, spec: Spec) -> None:
    """Put kubectl and the rest into one folder for PATH."""
    places.commands.mkdir(exist_ok=True)
    for folder in map(Path, spec.binaries.values()):
        for command in folder.iterdir():
            link = places.commands / command.name
            if os.access(command, os.X_OK) and not link.exists():
                link.symlink_to(command)


def fill_index(places: Places, say: Say) -> None:
    """Put the pinned wheels into the package index of a running cluster."""
    for wheel in wheel_folder(say).glob("*.whl"):
        target = places.data("index") / wheel.name
        if not target.exists():
            shutil.copyfile(wheel, target)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """One `up` or `down` at a time; the folder itself is the lock, and goes when it is empty."""
    state_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(state_folder(), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        state_folder().mkdir(mode=0o700, exist_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            state_folder().rmdir()
        os.close(handle)


def check_name(name: str) -> None:
    """A name becomes a folder, a cgroup and a host name."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name):
        raise ClusterError(
            f"GEOPOD_TEST_CLUSTER is {name!r}",
            fix="use at most 20 of a-z, 0-9 and -, beginning with a letter",
        )
