"""The processes of one environment: coordinator, runner, agents; each started as it must be."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from geopod.backends.local import processes
from geopod.backends.local.members import Member
from geopod.backends.local.orders import Orders, runner_environment
from geopod.backends.local.state import StateFolder, StoredEnvironment

COORDINATOR = "coordinator"


class Crew:
    """Which processes there must be, and which there are."""

    def __init__(
        self,
        folder: StateFolder,
        record: StoredEnvironment,
        sockets: Path,
        *,
        private: Callable[[], list[int]],
    ) -> None:
        """`private`: descriptors of the supervisor that no child may keep."""
        self._home = folder.environment(record.name)
        self._sockets = sockets
        self._private = private
        self._record = record
        self._orders = Orders(folder, sockets, link_key=secrets.token_hex(32))
        self._logs = self._home / "logs"
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._members: dict[str, Member] = {}
        self._leaving: set[int] = set()
        self._rows: list[range] = []

    @property
    def is_empty(self) -> bool:
        """No process runs."""
        return not self._leaving and all(member.pid is None for member in self._members.values())

    @property
    def has_coordinator(self) -> bool:
        """The coordinator runs, though it may not listen yet."""
        member = self._members.get(COORDINATOR)
        return member is not None and member.pid is not None

    def update(self, record: StoredEnvironment) -> None:
        """Write what the processes are told; `start_due` brings their number into line.

        Raises GeopodError when a layer that the record names has gone meanwhile.
        """
        self._record = record
        self._orders.write(record)

    def start_due(self, now: float, *, asleep: bool) -> None:
        """Start what must run and does not, and let go of what is not wanted any more.

        `asleep`: only the coordinator, which keeps the queue. The order counts: what becomes
        another program comes first and starts beside the imports that the agents wait for.
        """
        nodes = 0 if asleep else int(self._record.spec.get("nodes", 1))
        self.fit(nodes)
        for member in tuple(self._members.values()):
            if member.pid is None and member.due <= now:
                member.run(now)

    def ended(self, pid: int, code: int, now: float) -> str | None:
        """Note the end of a process; return words about it when starting it again is hopeless."""
        self._leaving.discard(pid)
        for member in self._members.values():
            if member.pid == pid:
                member.ended(code, now)
                if member.is_hopeless:
                    return (
                        f"the {member.name} ended ({member.end_text()}); {self._last_line(member)}"
                    )
        return None

    @property
    def pids(self) -> set[int]:
        """The processes that belong here."""
        running = {member.pid for member in self._members.values() if member.pid is not None}
        return running | self._leaving

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every process."""
        for pid in self.pids:
            processes.send(pid, number)

    def wait(self, now: float) -> float | None:
        """Return in how many seconds a process is to be started again; None: all run."""
        dues = [member.due for member in self._members.values() if member.pid is None]
        return max(min(dues) - now, 0.0) if dues else None

    def clean(self, *, scratch: bool) -> None:
        """Remove what only living processes need; `scratch`: staged partitions too."""
        shutil.rmtree(self._sockets, ignore_errors=True)
        if scratch:
            shutil.rmtree(self._home / "scratch", ignore_errors=True)

    def fit(self, nodes: int) -> None:
        """Make the members those of an environment with so many nodes; who is too many goes.

        One runner process serves a row of nodes, so that its imports are made once; nodes that
        come later get another one, and it goes when none of its nodes is left.
        """
        covered = self._rows[-1].stop if self._rows else 0
        if covered < nodes:
            self._rows.append(range(covered, nodes))
        self._rows = [row for row in self._rows if row.start < nodes]
        wanted = {COORDINATOR: self._start_coordinator}
        for row in self._rows:
            wanted[f"runner {row.start}-{row.stop - 1}"] = partial(self._start_runner, row)
        for node in range(nodes):
            wanted[f"agent {node}"] = partial(self._start_agent, node)
        for name in self._members.keys() - wanted.keys():
            self._let_go(self._members.pop(name))
        for name, start in wanted.items():
            if name not in self._members:
                self._members[name] = Member(name, start)

    def _let_go(self, member: Member) -> None:
        if member.pid is not None:
            self._leaving.add(member.pid)
            processes.send(member.pid, signal.SIGTERM)

    def _start_coordinator(self) -> int:
        become = processes.execute(self._orders.coordinator_command(), dict(os.environ))
        return self._fork(become, "coordinator")

    def _start_runner(self, nodes: range) -> int:
        for node in nodes:
            (self._sockets / str(node)).mkdir(mode=0o700, exist_ok=True)
        command = self._orders.runner_command(self._record, nodes)
        become = processes.execute(command, runner_environment(self._record))
        # SIGTERM, not SIGKILL: it ends what users' functions have started before it goes.
        return self._fork(become, "runner", death_signal=signal.SIGTERM)

    def _start_agent(self, node: int) -> int:
        (self._sockets / str(node)).mkdir(mode=0o700, exist_ok=True)
        self._orders.load_agent()
        return self._fork(lambda: self._orders.be_agent(node), f"agent-{node}")

    def _fork(
        self,
        act: Callable[[], None],
        log: str,
        *,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> int:
        return processes.fork_child(
            act, log=self._logs / f"{log}.log", close=self._private(), death_signal=death_signal
        )

    def _last_line(self, member: Member) -> str:
        kind, _, which = member.name.partition(" ")
        log = self._logs / (f"agent-{which}.log" if kind == "agent" else f"{kind}.log")
        try:
            lines = log.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return f"its last words: {lines[-1]}" if lines else f"it left no words in {log}"
