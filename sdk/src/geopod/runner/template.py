"""The warm process that forks one child per run and partition, watches its limits and reaps it.

It has one thread and never runs or unpickles what users send. It dials the agent, again after
the agent has gone; without an agent there are no children.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import select
import signal
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

from . import processes
from .cgroup import find_memory_group, kernel_kills
from .child import serve_child
from .dialing import dial
from .ending import LastWords, end_now
from .frames import FrameReader, pack_json
from .page import Page
from .preloading import preload
from .streams import open_output
from .watch import MAX_DESCENDANTS, NS, WatchedChild

LOOK_S = 0.05
"""How often a running child's memory and processes are looked at."""
SHARED_UMASK = 0o007
"""Agent and runner are two users of one group: the agent takes over the files of children."""
STANDBY_S = 0.02
"""A taken child is left alone this long before the next one is forked: fork costs up to 5 ms."""
READ_BYTES = 1 << 16


class Template:
    """Serves one agent: messages in, children out."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._children: dict[int, WatchedChild] = {}
        self._prctl = processes.load_prctl()
        self._group = find_memory_group()
        self._kernel_kills = kernel_kills()
        self._number = 0
        self._fork_at_ns: int | None = None
        self._looked_ns = 0
        self._scratch = Path()
        self._agent: socket.socket | None = None
        self._wake_in, self._wake_out = os.pipe()

    def serve(self) -> NoReturn:
        """Dial, serve, and dial again for ever."""
        processes.adopt_orphans(self._prctl)
        for descriptor in (self._wake_in, self._wake_out):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_ignored: None)
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        self._last_words = LastWords(lambda: self._agent is not None)
        while True:
            agent = dial(self._socket_path)
            self._agent = agent
            try:
                self._greet(agent)
                self._serve_agent(agent)
            except (OSError, ValueError, KeyError) as broken:
                print(f"geopod.runner: lost its agent: {broken!r}", file=sys.stderr)  # noqa: T201  # the container's log
            self._hang_up(agent)
            if self._last_words.end_ns is not None:
                end_now()

    def _greet(self, agent: socket.socket) -> None:
        cloudpickle = importlib.import_module("cloudpickle")
        ready = {
            "t": "READY",
            "pid": os.getpid(),
            "python": "{}.{}".format(*sys.version_info),
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "cloudpickle": cloudpickle.__version__,
        }
        agent.sendall(pack_json(ready))

    def _serve_agent(self, agent: socket.socket) -> None:
        reader = FrameReader(joins_parts=True)
        while True:
            watched = [agent.fileno(), self._wake_in]
            readable, _, _ = select.select(watched, [], [], self._pause_s())
            if self._wake_in in readable:
                self._drain_wake_up()
            if watched[0] in readable:
                received = agent.recv(READ_BYTES)
                if not received:
                    return
                for header, _ in reader.feed(received):
                    self._obey(json.loads(header))
            self._reap()
            self._watch()
            if self._last_words.are_said():
                return

    def _pause_s(self) -> float | None:
        """Return how long nothing can be due; None: until a message or a death."""
        now_ns = time.monotonic_ns()
        due: list[float] = []
        if self._last_words.end_ns is not None:
            due.append((self._last_words.end_ns - now_ns) / NS)
        if self._fork_at_ns is not None:
            due.append((self._fork_at_ns - now_ns) / NS)
        for child in self._children.values():
            if child.is_taken:
                due.append(LOOK_S)
            moments = (child.deadline_ns(), child.kill_at_ns)
            due.extend((moment - now_ns) / NS for moment in moments if moment is not None)
        return max(min(due), 0.0) if due else None

    def _obey(self, message: dict[str, Any]) -> None:
        kind = message["t"]
        if kind == "SETUP":
            self._scratch = Path(message["scratch"])
            if message.get("shared"):
                os.umask(SHARED_UMASK)
            self._preload(message["modules"])
        elif kind == "PRELOAD":
            self._preload(message["modules"])
        elif kind == "SPAWN":
            self._fork()
        elif (child := self._by_number(message["id"])) is None:
            return  # it has died meanwhile; the agent reads EXITED next
        elif kind == "WATCH":
            self._watch_from_now(child, message)
        elif kind == "KILL":
            _end(child, message)

    def _preload(self, modules: list[str]) -> None:
        processes.rank_with_children()
        preload(modules)
        self._fork()

    def _by_number(self, number: int) -> WatchedChild | None:
        found = (child for child in self._children.values() if child.number == number)
        return next(found, None)

    def _watch_from_now(self, child: WatchedChild, message: dict[str, Any]) -> None:
        child.timeout_s = message["timeout"]
        child.memory_bytes = message["memory"]
        child.is_taken = True
        processes.outrank_children()
        if all(one.is_taken for one in self._children.values()):
            self._fork_at_ns = time.monotonic_ns() + int(STANDBY_S * NS)

    def _watch(self) -> None:
        now_ns = time.monotonic_ns()
        if self._fork_at_ns is not None and now_ns >= self._fork_at_ns:
            self._fork()
        for child in self._children.values():
            child.look(now_ns)
        if now_ns - self._looked_ns < LOOK_S * NS / 2:
            return
        self._looked_ns = now_ns
        busy = [
            child for child in self._children.values() if child.is_taken and child.page.start_ns
        ]
        for child in busy:
            child.measure()
        if busy and self._group is not None and self._group.is_full():
            max(busy, key=lambda child: child.peak_bytes).kill("memory")

    def _fork(self) -> None:
        """Fork a standby child unless one waits, and hand its three descriptors to the agent."""
        self._fork_at_ns = None
        ours, childs = socket.socketpair()
        page = Page()
        self._number += 1
        streams = [
            open_output(self._scratch / f".{os.getpid()}-{self._number}.{name}")
            for name in ("out", "err")
        ]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        parent = os.getpid()
        with warnings.catch_warnings():
            # A preloaded library may have threads; they hold no lock that a child needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                self._become_child(parent, ours)
                serve_child(childs, page, (streams[0][0], streams[1][0]))
            finally:
                os._exit(70)  # whatever happens, a child never becomes a second template
        childs.close()
        for writing, _ in streams:
            os.close(writing)
        reading = (streams[0][1], streams[1][1])
        self._children[pid] = WatchedChild(self._number, pid, page, reading)
        self._send_with({"t": "CHILD", "id": self._number, "pid": pid}, [ours.fileno(), *reading])
        ours.close()

    def _become_child(self, parent: int, agents_end: socket.socket) -> None:
        """Drop in the child all that is the template's."""
        os.setsid()
        processes.die_with_parent(self._prctl, parent)
        processes.prefer_for_oom()
        processes.limit_processes(2 * MAX_DESCENDANTS)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        agents_end.close()
        if self._agent is not None:
            self._agent.close()
        os.close(self._wake_in)
        os.close(self._wake_out)
        for other in self._children.values():
            other.release()

    def _send_with(self, message: dict[str, object], descriptors: list[int]) -> None:
        if self._agent is None:
            raise OSError("no agent to hand a child to")
        frame = pack_json(message)
        sent = socket.send_fds(self._agent, [frame], descriptors)
        if sent < len(frame):
            self._agent.sendall(frame[sent:])

    def _drain_wake_up(self) -> None:
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            return

    def _reap(self) -> None:
        """Reap what has died, at the children's rank.

        A reaper that outranks a dying process spins in the kernel until that one has left its
        processor, and keeps it from leaving: a second lost, the scheduler's throttle of real time.
        """
        processes.rank_with_children()
        self._reap_all()
        if any(child.is_taken for child in self._children.values()):
            processes.outrank_children()

    def _reap_all(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._bury(child, status, usage.ru_utime + usage.ru_stime)

    def _bury(self, child: WatchedChild, status: int, cpu_s: float) -> None:
        """End what the child left behind, then tell the agent."""
        processes.kill_left_over(child.pid, living=self._children)
        kills = kernel_kills()
        if child.reason is None and status == signal.SIGKILL and kills > self._kernel_kills:
            child.reason = "memory"
        self._kernel_kills = kills
        report = child.exit_report(status, cpu_s)
        child.release()
        if self._agent is not None:
            self._agent.sendall(pack_json(report))

    def _hang_up(self, agent: socket.socket) -> None:
        """End all children: without the agent nobody waits for what they do."""
        self._agent = None
        agent.close()
        for child in self._children.values():
            child.kill("killed")
        while self._children:
            pid, _, _ = os.wait4(-1, 0)
            child_gone = self._children.pop(pid, None)
            if child_gone is not None:
                processes.kill_left_over(pid, living=self._children)
                child_gone.release()
        self._fork_at_ns = None


def _end(child: WatchedChild, message: dict[str, Any]) -> None:
    indexes, grace_s = message["indexes"], message["grace"]
    if indexes is not None and child.page.index not in indexes:
        child.cancelled = (child.cancelled or frozenset()) | frozenset(indexes)
        child.grace_s = grace_s
    elif grace_s > 0:
        child.terminate(grace_s)
    else:
        child.kill("killed")
