"""Starts a command as process 1 of its own PID, mount, network and UTS namespaces.

The process id that is returned is that of `unshare`, which shares the new network namespace and
takes process 1 with it when it is killed. `unshare` ignores SIGTERM.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

UNSHARE = (
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount",
    "--mount-proc",
    "--net",
    "--uts",
    "--",
)

HANDSHAKE_S = 120.0
"""For a Python interpreter to start on a busy machine."""


class NamespaceError(Exception):
    """Process 1 did not come up; the log that it was given says why."""


def start_in_namespaces(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: BinaryIO,
    *,
    connect: Callable[[int], None],
) -> subprocess.Popen[bytes]:
    """Start `command`; once its namespaces exist call `connect` with the process id; let it go on.

    Raises:
        NamespaceError: the command ended or said nothing within `HANDSHAKE_S`.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [*UNSHARE, *command],
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                env=dict(environment),
                start_new_session=True,
                preexec_fn=unblock_signals,  # noqa: PLW1509  # no threads here
            )
        ours.settimeout(HANDSHAKE_S)
        try:
            _await_hello(ours, command)
            connect(process.pid)
            ours.sendall(b"+")
        except BaseException:
            kill_group(process.pid)
            process.wait()
            raise
    return process


def _await_hello(child: socket.socket, command: Sequence[str]) -> None:
    try:
        hello = child.recv(1)
    except TimeoutError as error:
        raise NamespaceError(f"`{' '.join(command)}` said nothing in {HANDSHAKE_S} s") from error
    if not hello:
        raise NamespaceError(f"`{' '.join(command)}` ended before it began")


def wait_for_connection() -> None:
    """Process 1's half of the handshake: its network interface is there when this returns."""
    with socket.socket(fileno=os.dup(0)) as parent:
        parent.sendall(b"+")
        if not parent.recv(1):
            raise SystemExit("the process that started this namespace is gone")


def unblock_signals() -> None:
    """Process 1 waits for SIGCHLD with the signal blocked; what it starts must not inherit that."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def kill_group(group: int) -> None:
    """SIGKILL to a process group that may be gone already."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
