"""Processes as Linux shows them: descendants, their memory, and how to end all of them.

Elsewhere (`/proc` missing) a child is still ended by its process group; memory is not watched.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Container, Iterable
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""Source: <linux/prctl.h>."""
KIBIBYTE = 1024
LEFT_OVER_PASSES = 100
"""Killing the parents frees their children for the next pass; a bomb is stopped first."""


def load_prctl() -> Any:
    """Return libc's `prctl`, or None where there is none (or no ctypes)."""
    try:
        import ctypes  # some small builds of Python lack it

        return ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):
        return None


def die_with_parent(prctl: Any, parent: int) -> None:
    """Have the kernel kill this process when its parent dies; end it if that has happened."""
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def adopt_orphans(prctl: Any) -> None:
    """Have orphaned descendants become children of this process, so that none escapes it."""
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """Return the living (or unreaped) children of a process; none if it is gone."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # strings are what is needed
            text = _read(f"/proc/{pid}/task/{thread}/children")
            children.extend(int(word) for word in text.split())
    except OSError:
        pass
    return children


def descendants_of(pid: int, *, at_most: int) -> list[int]:
    """Return a process's descendants; the search ends beyond `at_most`."""
    found: list[int] = []
    asked = [pid]
    while asked and len(found) <= at_most:
        parent = asked.pop()
        children = children_of(parent)
        found.extend(children)
        asked.extend(children)
    return found


def memory_of(pid: int) -> int:
    """Return bytes of anonymous and shared memory that a process holds; 0 if it is gone.

    Files mapped read-only (the staged partition) are not counted: the kernel can drop them.
    """
    return sum(_status_bytes(pid, "status", (b"RssAnon:", b"RssShmem:")))


def proportional_memory_of(pid: int) -> int:
    """Return the same with pages shared by several processes split between them. Slow: 1 ms."""
    return sum(_status_bytes(pid, "smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:")))


def _status_bytes(pid: int, name: str, fields: tuple[bytes, ...]) -> list[int]:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123  # hot: 20 times a second
            lines = file.read().splitlines()
    except OSError:
        return []
    return [int(line.split()[1]) * KIBIBYTE for line in lines if line.startswith(fields)]


def session_of(pid: int) -> int | None:
    """Return the session a process belongs to; None if it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def signal_group(pid: int, number: int) -> None:
    """Send a signal to the group that `pid` leads, in one step that no fork can outrun."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        signal_one(pid, number)


def signal_one(pid: int, number: int) -> None:
    """Send a signal to one process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes and all their descendants: first stop them all, so that none forks away."""
    found: list[int] = []
    for pid in pids:
        signal_one(pid, signal.SIGSTOP)
        found.append(pid)
        for descendant in descendants_of(pid, at_most=1 << 16):
            signal_one(descendant, signal.SIGSTOP)
            found.append(descendant)
    for pid in found:
        signal_one(pid, signal.SIGKILL)


def kill_left_over(session: int, *, living: Container[int]) -> None:
    """Kill and reap what a dead child, the leader of `session`, left behind.

    Its descendants have become children of this process. Those that left the session are told
    by belonging to no living child.
    """
    for _ in range(LEFT_OVER_PASSES):
        orphans = [
            pid
            for pid in children_of(os.getpid())
            if pid not in living and _is_left_over(pid, session, living)
        ]
        if not orphans:
            return
        kill_all(orphans)
        for pid in orphans:
            os.waitpid(pid, 0)


def _is_left_over(pid: int, session: int, living: Container[int]) -> bool:
    found = session_of(pid)
    return found == session or found not in living


def outrank_children() -> None:
    """Run ahead of the children where that is allowed (root): a fork bomb starves who is equal."""
    with contextlib.suppress(OSError, AttributeError):
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))


def rank_with_children() -> None:
    """Run like every other process again: for work that may wait."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def limit_processes(more: int) -> None:
    """Let this user start at most `more` processes beside all that the machine runs now.

    The kernel does not hold root to it.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        running = int(_read("/proc/loadavg").split()[3].split("/")[1])
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        limit = running + more
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def prefer_for_oom() -> None:
    """Have the kernel kill this process first when memory runs out."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123  # digits
        file.write("1000")


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123  # hot: 20 times a second
        return file.read()
