"""What a warm call and a result of 2 MB are made of: the machine's own prices of their parts."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from bench.functions import nothing, two_megabytes
from bench.measure import Row, interleave
from bench.peers import Geopod, running

HOPS = 3
"""Processes behind the client: coordinator, agent, child."""
MESSAGE = b"m" * 300
RECORD = b"r" * 400
RESULT = np.ones(250_000).tobytes()


def floors() -> list[Row]:
    """Both calls beside bare sockets, files, a fork, a digest and an fsync."""
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder, _relays() as ping:
        files = Files(Path(folder))
        small: dict[str, Callable[[], object]] = {
            "six hops": ping,
            "a file, once": files.create,
            "a folder": files.folder,
            "fork": _fork,
            "append, fdatasync": files.append,
        }
        large: dict[str, Callable[[], object]] = {
            "np.ones": two_megabytes,
            "sha256": lambda: hashlib.sha256(RESULT).digest(),
            "a file of 2 MB": files.write_result,
        }
        with running(Geopod, workers=1) as (geopod,):
            small["geopod"] = lambda: geopod.call(nothing)
            large["geopod"] = lambda: geopod.call(two_megabytes)
            return [
                Row("a warm call beside its floors", interleave(small, rounds=60, gap_s=0.025), {}),
                Row("2 MB beside its floors", interleave(large, rounds=30, gap_s=0.025), {}),
            ]


class Files:
    """File operations as the store does them, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._serial = 0
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        self._log = os.open(folder / "log", flags, 0o600)

    def _name(self) -> str:
        self._serial += 1
        return f"{self._folder}/{self._serial}"

    def create(self) -> None:
        """A file that appears whole, and only if it is absent."""
        name = self._name()
        self._write(f"{name}.part", RECORD)
        os.link(f"{name}.part", name)
        os.unlink(f"{name}.part")  # noqa: PTH108  # as the store does it

    def folder(self) -> None:
        """A folder."""
        os.mkdir(self._name())  # noqa: PTH102  # as the store does it

    def append(self) -> None:
        """A record on the disk: what GEOPOD_FSYNC=1 would wait for."""
        os.write(self._log, RECORD)
        os.fdatasync(self._log)

    def write_result(self) -> None:
        """2 MB into the page cache."""
        self._write(self._name(), RESULT)

    def _write(self, name: str, data: bytes) -> None:
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(descriptor, data)
        os.close(descriptor)


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@contextmanager
def _relays() -> Iterator[Callable[[], object]]:
    """Yield a ping through a chain of processes and back, over Unix sockets."""
    near, far = socket.socketpair()
    first, pids = near, []
    for number in range(HOPS):
        following = socket.socketpair() if number < HOPS - 1 else None
        pid = os.fork()
        if pid == 0:
            _relay(far, None if following is None else following[0])
        pids.append(pid)
        far.close()
        if following is not None:
            following[0].close()
            far = following[1]

    def ping() -> bytes:
        first.sendall(MESSAGE)
        return first.recv(4096)

    try:
        yield ping
    finally:
        first.shutdown(socket.SHUT_RDWR)
        for pid in pids:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        first.close()


def _relay(near: socket.socket, far: socket.socket | None) -> None:
    """Pass on what comes, and the answer back; the last one answers. Never returns."""
    while message := near.recv(4096):
        if far is not None:
            far.sendall(message)
            message = far.recv(4096)
        near.sendall(message)
    os._exit(0)
