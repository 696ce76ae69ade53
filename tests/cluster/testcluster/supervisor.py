"""Process 1 of a namespace: starts services, starts again what dies, reaps what is orphaned.

It knows nothing of Kubernetes. Killing it ends everything it started, because the kernel ends a PID
namespace with its process 1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .namespaces import NamespaceError, kill_group, start_in_namespaces, unblock_signals

TICK_S = 0.2
"""How late a changed wish is noticed; a death is noticed at once, by SIGCHLD."""

BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Between two starts of a service that keeps dying; it starts over after a minute of life."""

HEALTHY_S = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """A command that should be running."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    stale: tuple[Path, ...] = ()
    """Files to remove before each start: a socket that a killed process left."""
    connect: Callable[[int], None] | None = field(default=None, compare=False)
    """For a command with namespaces of its own: called with its process id before it may go on."""


@dataclass(slots=True)
class Running:
    """A service, its process if it has one, and when it may be started again."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    not_before: float = 0.0


class Supervisor:
    """Keeps services running until this process is killed."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._running: dict[str, Running] = {}
        # Blocked here so that `sigtimedwait` sees it; children get the mask cleared again.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})

    def keep(self, services: list[Service]) -> None:
        """Run exactly these: start what is missing, end what is unlisted, restart what differs."""
        wanted = {service.name: service for service in services}
        for name, running in list(self._running.items()):
            if running.service != wanted.get(name):
                self._end(name)
        for name, service in wanted.items():
            if name not in self._running:
                self._running[name] = Running(service)
                self._start(self._running[name])

    def _end(self, name: str) -> None:
        running = self._running.pop(name)
        if running.process is not None:
            kill_group(running.process.pid)
            running.process.wait()

    def tick(self) -> None:
        """Wait for a death or for `TICK_S`, reap, and start again what is due."""
        signal.sigtimedwait({signal.SIGCHLD}, TICK_S)
        self._reap()
        now = time.monotonic()
        for running in list(self._running.values()):
            if running.process is None and now >= running.not_before:
                self._start(running)

    def _reap(self) -> None:
        dead: set[int] = set()
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            dead.add(pid)
        for running in self._running.values():
            if running.process is not None and running.process.pid in dead:
                running.process.returncode = -1  # reaped above: Popen must not wait for it again
                self._schedule(running)

    def _schedule(self, running: Running) -> None:
        now = time.monotonic()
        if now - running.started > HEALTHY_S:
            running.deaths = 0
        pause = BACK_OFF_S[min(running.deaths, len(BACK_OFF_S) - 1)]
        running.process, running.deaths, running.not_before = None, running.deaths + 1, now + pause

    def _start(self, running: Running) -> None:
        service = running.service
        for path in service.stale:
            path.unlink(missing_ok=True)
        log = self._logs / f"{service.name}.log"
        with log.open("ab") as stream:
            try:
                running.process = self._launch(service, stream)
            except (OSError, NamespaceError) as error:
                stream.write(f"{service.name} did not start: {error}\n".encode())
                self._schedule(running)
        running.started = time.monotonic()

    @staticmethod
    def _launch(service: Service, log: BinaryIO) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **service.environment}
        if service.connect is not None:
            return start_in_namespaces(service.command, environment, log, connect=service.connect)
        return subprocess.Popen(
            service.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            preexec_fn=unblock_signals,  # noqa: PLW1509  # no threads here
        )
