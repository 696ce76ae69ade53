"""One child as the template sees it: its limits, and which of them it has passed."""

from __future__ import annotations

import os
import signal
import time

from . import processes
from .page import LOADING, Page

MAX_DESCENDANTS = 512
MAX_OUTPUT_BYTES = 1 << 30
"""Both streams together, on the node's scratch."""
NS = 1_000_000_000


class WatchedChild:
    """A forked child: what the agent allows it, what it uses, why it was ended."""

    def __init__(self, number: int, pid: int, page: Page, streams: tuple[int, int]) -> None:
        self.number = number
        self.pid = pid
        self.page = page
        self.streams = streams
        self.timeout_s: float | None = None
        self.memory_bytes: int | None = None
        self.is_taken = False
        """The agent has given it a run."""
        self.reason: str | None = None
        """Why the template ends it: timeout, memory, processes, output, killed."""
        self.kill_at_ns: int | None = None
        """SIGTERM was sent; SIGKILL follows then."""
        self.cancelled: frozenset[int] | None = None
        """Tasks that end the child when one of them runs."""
        self.grace_s = 0.0
        self.peak_bytes = 0

    def deadline_ns(self) -> int | None:
        """Return when the running task's time is over."""
        start_ns = self.page.start_ns
        if not start_ns or self.timeout_s is None:
            return None
        return start_ns + int(self.timeout_s * NS)

    def look(self, now_ns: int) -> None:
        """End the child if its grace or its task's time is over, or a cancelled task runs."""
        if self.kill_at_ns is not None:
            if now_ns >= self.kill_at_ns:
                self.kill(self.reason or "killed")
            return
        deadline_ns = self.deadline_ns()
        if deadline_ns is not None and now_ns >= deadline_ns:
            self.kill("timeout")
        elif self.cancelled is not None and self.page.index in self.cancelled:
            self.terminate(self.grace_s)

    def measure(self) -> None:
        """End the child if its memory, its processes or its output are over their limits."""
        if self.reason == "memory" or not self.page.start_ns:
            return
        family = processes.descendants_of(self.pid, at_most=MAX_DESCENDANTS)
        if len(family) > MAX_DESCENDANTS:
            self.kill("processes")
            return
        family.append(self.pid)
        used = sum(processes.memory_of(pid) for pid in family)
        if len(family) > 1 and self.memory_bytes is not None and used > self.memory_bytes:
            used = sum(processes.proportional_memory_of(pid) for pid in family)
        self.peak_bytes = max(self.peak_bytes, used)
        if self.memory_bytes is not None and used > self.memory_bytes:
            self.kill("memory")
        elif sum(os.fstat(stream).st_size for stream in self.streams) > MAX_OUTPUT_BYTES:
            self.kill("output")

    def kill(self, reason: str) -> None:
        """End the child at once, with all of its process group."""
        self.reason = self.reason or reason
        processes.signal_group(self.pid, signal.SIGKILL)

    def terminate(self, grace_s: float) -> None:
        """Ask the child to end; after `grace_s` it is killed."""
        self.reason = self.reason or "killed"
        self.kill_at_ns = time.monotonic_ns() + int(grace_s * NS)
        processes.signal_one(self.pid, signal.SIGTERM)

    def release(self) -> None:
        """Give back what the template held for the child."""
        for stream in self.streams:
            os.close(stream)
        self.page.close()

    def exit_report(self, status: int, cpu_s: float) -> dict[str, object]:
        """Return the EXITED message of a reaped child."""
        index = self.page.index
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        out, err = self.page.offsets
        return {
            "t": "EXITED",
            "id": self.number,
            "exit": None if ended_by else os.WEXITSTATUS(status),
            "signal": ended_by,
            "reason": self.reason,
            "index": None if index in {None, LOADING} else index,
            "loading": index == LOADING,
            "ran": (time.monotonic_ns() - self.page.start_ns) / NS if index is not None else 0.0,
            "offsets": [out, err],
            "peak": self.peak_bytes,
            "cpu": cpu_s,
        }
