"""What this machine offers and how its environments' processes are, for people who ask why."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator

from geopod.backends import Capacity, Finding, Machine
from geopod.backends.local.interpreters import find_uv, offered
from geopod.backends.local.presence import is_alive
from geopod.backends.local.state import StateFolder
from geopod.errors import ConfigError
from geopod.errors.wording import size_text

LITTLE_DISK_BYTES = 1 << 30
"""Less than this and staging or a result will soon fail."""
ANSWER_S = 10.0


def capacity() -> Capacity:
    """Return this machine, and the interpreters that are found on it."""
    machine = Machine(
        name=platform.node() or "this machine",
        cpus=float(len(os.sched_getaffinity(0))),
        memory_bytes=memory_bytes(),
        gpus={"nvidia.com/gpu": count} if (count := _gpus()) else {},
    )
    return Capacity(machines=(machine,), interpreters=tuple(offered()))


def memory_bytes() -> int:
    """Return this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def diagnose(folder: StateFolder, environment: str | None) -> list[Finding]:
    """Look at this machine, or at the processes of one environment."""
    if environment is not None:
        return [_processes(folder, environment), _disk(folder)]
    return [_disk(folder), _memory(), _uv(), *_environments(folder)]


def _processes(folder: StateFolder, environment: str) -> Finding:
    record = folder.read_environment(environment)
    if is_alive(folder, record.name):
        return Finding(about="processes", ok=True, fact="its supervisor runs.")
    fact = "none of its processes runs; the next run starts them."
    return Finding(about="processes", ok=None, fact=fact)


def _disk(folder: StateFolder) -> Finding:
    usage = shutil.disk_usage(folder.root)
    fact = f"{size_text(usage.free)} free of {size_text(usage.total)} at {folder.root}."
    enough = usage.free >= LITTLE_DISK_BYTES
    return Finding(
        about="disk", ok=enough, fact=fact, fixes=("free some space", "GEOPOD_HOME=/larger/disk")
    )


def _memory() -> Finding:
    return Finding(about="memory", ok=True, fact=f"{size_text(memory_bytes())}.")


def _uv() -> Finding:
    try:
        return Finding(about="uv", ok=True, fact=f"{find_uv()} builds packages.")
    except ConfigError as error:
        return Finding(about="uv", ok=False, fact=error.fact, fixes=error.fixes)


def _environments(folder: StateFolder) -> Iterator[Finding]:
    records = folder.environments()
    alive = [record.name for record in records if is_alive(folder, record.name)]
    fact = f"{len(records)} known, {len(alive)} running ({', '.join(alive) or 'none'})."
    yield Finding(about="environments", ok=True, fact=fact)


def _gpus() -> int:
    """Return how many GPUs the driver lists; 0 without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        listed = subprocess.run(  # noqa: S603  # found on PATH a line above
            [tool, "-L"], capture_output=True, text=True, check=True, timeout=ANSWER_S
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
