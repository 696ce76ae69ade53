"""The container's memory limit, and how near its processes are to it (cgroup v1 and v2).

Kubelets set `memory.oom.group`: a kernel kill would end the whole container, so the template
ends the largest child a little before.
"""

from __future__ import annotations

from pathlib import Path

MARGIN_BYTES = 128 << 20
"""Kept for the template and for what a child adds between two looks."""
UNLIMITED_BYTES = 1 << 60
"""cgroup v1 says a number near 2**63 where there is no limit."""


STAT_FIELDS = (("anon", "shmem"), ("total_rss", "total_shmem"), ("rss", "shmem"), ("",))
"""Anonymous and shared memory in v2; in v1 with and without the groups below."""


class MemoryGroup:
    """This process's memory cgroup, if it has a limit."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._stat = folder / "memory.stat"
        self.limit_bytes = limit_bytes

    @property
    def ceiling_bytes(self) -> int:
        """What anonymous and shared memory may reach; half of a limit too small for the margin."""
        return max(self.limit_bytes - MARGIN_BYTES, self.limit_bytes // 2)

    def is_full(self) -> bool:
        """Say whether the largest child has to go before the kernel ends the container."""
        return self.used_bytes() >= self.ceiling_bytes

    def used_bytes(self) -> int:
        """Return anonymous and shared memory, which the kernel cannot drop; 0 if unreadable."""
        try:
            return parse_stat(self._stat.read_text("ascii"))
        except OSError:
            return 0


def parse_stat(text: str) -> int:
    """Return anonymous and shared bytes of a `memory.stat`; 0 for one that has neither."""
    values = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    fields = next(names for names in STAT_FIELDS if names[0] in values or not names[0])
    return sum(int(values.get(name, "0")) for name in fields)


def find_memory_group(root: Path = Path("/sys/fs/cgroup")) -> MemoryGroup | None:
    """Return the limited memory cgroup that a container sees at the root of its mount, or None."""
    for folder, name in ((root, "memory.max"), (root / "memory", "memory.limit_in_bytes")):
        try:
            text = (folder / name).read_text("ascii").strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < UNLIMITED_BYTES:
            return MemoryGroup(folder, int(text))
    return None


def kernel_kills(path: Path = Path("/proc/vmstat")) -> int:
    """Return how many processes the kernel has killed for memory since the machine started."""
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
