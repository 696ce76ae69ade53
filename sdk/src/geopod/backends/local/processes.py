"""Start processes that end with their parent, and find those that an earlier parent left behind.

Only a process with one thread may use `fork_child`: the child goes on with the parent's imports.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

MARKER = "GEOPOD_ENVIRONMENT"
"""Environment variable of every process of an environment: its uid."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SENTINEL_GRACE_S = 3.0
LOCK_PATIENCE_S = 30
"""An earlier supervisor that is ending holds the lock no longer than this."""


def _prctl(option: int, value: int) -> None:
    """Ask the Linux kernel for `option`; elsewhere nothing happens (see `start_sentinel`)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def adopt_descendants() -> None:
    """Make this process the parent of every descendant whose own parent dies (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def fork_child(
    act: Callable[[], None], *, log: Path, close: Sequence[int], death_signal: signal.Signals
) -> int:
    """Fork a child that runs `act` and exits, and return its pid.

    `close`: descriptors of the parent that the child must not keep. `death_signal` reaches the
    child when the parent dies, however that happens.
    """
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _be_child(act, parent=parent, log=log, close=close, death_signal=death_signal)
    return pid


def _be_child(
    act: Callable[[], None],
    *,
    parent: int,
    log: Path,
    close: Sequence[int],
    death_signal: signal.Signals,
) -> NoReturn:
    """Run `act` as a process of its own; never returns into the parent's code."""
    status = 70
    try:
        _prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            os._exit(status)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for descriptor in close:
            with suppress(OSError):
                os.close(descriptor)
        _write_to(log)
        act()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def execute(argv: Sequence[str], environment: Mapping[str, str]) -> Callable[[], None]:
    """Return what a child does to become another program."""

    def become() -> None:
        os.execve(argv[0], list(argv), dict(environment))  # noqa: S606  # no shell is wanted

    return become


def _write_to(log: Path) -> None:
    """Send standard output and error to a log, and read nothing."""
    sink = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    os.close(empty)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone is no error."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def reap() -> list[tuple[int, int]]:
    """Return (pid, exit code or negative signal) of every child that has ended."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def children() -> list[int]:
    """Return the pids of this process's children, adopted ones too (Linux; elsewhere none)."""
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii")
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def signal_socket(selector: selectors.BaseSelector, act: Callable[[], None]) -> socket.socket:
    """Return the end of a socket pair on which signals arrive as bytes."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)  # noqa: FBT003  # the standard library's signature
    writing.setblocking(False)  # noqa: FBT003  # the standard library's signature
    signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    selector.register(reading, selectors.EVENT_READ, act)
    return reading


def hold_lock(path: Path) -> None:
    """Hold this environment's lock for life; an earlier supervisor that ends is waited for.

    A POSIX record lock: forked children do not inherit it, and it goes with the process.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    signal.alarm(LOCK_PATIENCE_S)
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    signal.alarm(0)


def find_marked(uid: str) -> list[int]:
    """Return the pids of all processes of an environment but this one (Linux: reads /proc)."""
    needle = f"{MARKER}={uid}".encode()
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or belongs to somebody else
            if needle in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def sweep(uid: str) -> list[int]:
    """Kill whatever an earlier supervisor of this environment left behind; return the pids."""
    swept: list[int] = []
    while left := [pid for pid in find_marked(uid) if _is_alive(pid)]:
        for pid in left:
            send(pid, signal.SIGKILL)
        fresh = set(left) - set(swept)
        swept.extend(fresh)
        if not fresh:
            break
    return swept


def _is_alive(pid: int) -> bool:
    """Say whether a process is there and not merely waiting for its parent to reap it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def start_sentinel() -> list[int]:
    """Where the kernel tells no child of its parent's death, let one process wait for it.

    It holds the reading end of a pipe whose other end only the supervisor has, and ends the
    supervisor's process group when that end closes. Returns the supervisor's end, if there is one.
    """
    if sys.platform == "linux":
        return []
    group = os.getpgrp()
    watch, hold = os.pipe()
    os.set_inheritable(hold, False)  # noqa: FBT003  # positional only
    if os.fork():
        os.close(watch)
        return [hold]
    os.setpgid(0, 0)
    os.close(hold)
    os.read(watch, 1)
    import select  # only here

    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(group, number)
        select.select([], [], [], _SENTINEL_GRACE_S)
    os._exit(0)
