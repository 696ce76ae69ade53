"""The parent of one environment's processes: starts them, restarts them, ends them all.

It plays on one machine what the operator and the kubelets do on a cluster. It has one thread and
no event loop, because it forks; it opens neither data nor functions.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from geopod.api.runs import EnvironmentState
from geopod.backends.local import processes
from geopod.backends.local.changes import needs_plan, needs_restart
from geopod.backends.local.crew import Crew
from geopod.backends.local.expiry import expire
from geopod.backends.local.fallback import served, take_back, with_refusal
from geopod.backends.local.front import Front
from geopod.backends.local.link import CoordinatorLink
from geopod.backends.local.packages import Build
from geopod.backends.local.presence import CONTROL_SOCKET, SUPERVISOR_SOCKET
from geopod.backends.local.rest import LAST_WORDS, Rest
from geopod.backends.local.state import Report, StateFolder, StoredEnvironment
from geopod.backends.local.unfinished import cancel_unfinished
from geopod.errors import EnvironmentStartTimeout, GeopodError

END_GRACE_S = 5.0
"""From SIGTERM to SIGKILL when the environment ends."""
STRAYS_S = 1.0
"""For so long after the end of a process may its own descendants come to us as orphans."""
STRAYS_PAUSE_S = 0.05
CONNECT_PAUSE_S = 0.005
"""Between two tries to reach a coordinator that is starting."""
NOBODY = {"connected": 0, "staged": 0, "ready": 0, "busy": 0}


class Supervisor:
    """One environment, from its start to its sleep."""

    def __init__(
        self,
        folder: StateFolder,
        record: StoredEnvironment,
        sockets: Path,
        *,
        held: Sequence[int] = (),
    ) -> None:
        """`held`: descriptors that stay open in this process alone."""
        self._folder, self._held = folder, tuple(held)
        self._wanted = record
        self._record = record = served(folder, record)
        self._sockets = sockets
        self._selector = selectors.DefaultSelector()
        self._wake = processes.signal_socket(self._selector, self._signalled)
        self._front = Front(sockets / SUPERVISOR_SOCKET, self._selector, asked=self._asked)
        self._link = CoordinatorLink(sockets / CONTROL_SOCKET, self._selector, heard=self._heard)
        self._crew = Crew(folder, record, sockets, private=self._private)
        self._build = Build(folder, self._wanted, private=self._private)
        self._rest = Rest(record.spec, now=time.time())
        self._state = EnvironmentState(uid=record.uid, name=record.name, phase="Starting")
        self._final: EnvironmentState | None = None
        self._kill_at: float | None = None
        self._strays_until, self._again = 0.0, False

    def run(self) -> None:
        """Serve until the environment sleeps, ends or fails."""
        self._tell()
        self._brief(self._record)
        self._step(time.monotonic())
        while True:
            for key, _ in self._selector.select(self._pause()):
                key.data()
            self._step(time.monotonic())
            if self._final is None or not self._crew.is_empty or self._build.is_running:
                continue
            if not self._again:
                break
            self._renew()
        self._finish()

    # ---- what happens

    def _signalled(self) -> None:
        with suppress(BlockingIOError):
            if signal.SIGTERM in self._wake.recv(64):
                self._end(*LAST_WORDS["Stopped"])

    def _asked(self, generation: int) -> None:
        """A client wants this generation served."""
        self._rest.asked(time.time())
        if generation > self._wanted.generation and not self._final:
            self._read_again()

    def _read_again(self) -> None:
        """Serve what the record says now, if that is something else."""
        try:
            record = self._folder.read_environment(self._record.name)
        except LookupError:
            self._end(*LAST_WORDS["Deleted"])
            return
        if record.uid == self._record.uid and record.generation > self._wanted.generation:
            self._serve(record)

    def _heard(self, state: EnvironmentState) -> None:
        """The coordinator says how the environment is."""
        if state.nodes == self._record.spec.get("nodes", 1):
            self._rest.heard(state, now=time.time())
            self._state = state
            self._tell()
            if state.phase == "Failed" and not state.active_runs:
                self._final = msgspec.structs.replace(state, **NOBODY)
                self._end_all()

    def _serve(self, record: StoredEnvironment) -> None:
        """Serve a record, or what was before it until the packages that it asks for are there."""
        self._wanted = record
        if self._build.key != record.requirements_key:
            self._build.stop()
            self._build = Build(self._folder, record, private=self._private)
        self._change(served(self._folder, record))

    def _change(self, record: StoredEnvironment) -> None:
        """Act on what has changed in the record."""
        before, self._record = self._record, record
        self._rest = Rest(record.spec, now=time.time(), before=self._rest)
        if record.terminated is not None:
            self._end("Terminated", "UserRequested", "the environment was terminated")
        elif needs_restart(before, record):
            self._again = True
            self._link.hold()
        else:
            self._brief(record)
            nodes, sleeps = record.spec.get("nodes", 1), record.spec.get("suspend", False)
            if (refresh := needs_plan(before, record)) or nodes != before.spec.get("nodes", 1):
                self._link.configure(nodes=nodes, refresh=refresh)  # before any client hears of it
                self._say("Updating", "the layers are planned anew")
            elif sleeps != before.spec.get("suspend", False):
                self._link.configure(nodes=None, refresh=False)
            if sleeps:
                self._crew.fit(0)  # at once: nodes that take no more work come back as new ones
        self._tell()

    def _brief(self, record: StoredEnvironment) -> None:
        """Write what the processes are told; a layer that has gone fails the environment."""
        try:
            self._crew.update(record)
        except GeopodError as error:
            self._fail(error)

    # ---- what is done

    def _step(self, now: float) -> None:
        """Do everything that is due."""
        for pid, code in processes.reap():
            if self._build.ended(pid, code):
                self._built()
            elif (hopeless := self._crew.ended(pid, code, now)) is not None:
                self._fail(EnvironmentStartTimeout(f"{hopeless}."), reason="CrashLoop")
            self._strays_until = now + STRAYS_S
        if now < self._strays_until:
            for pid in set(processes.children()) - self._crew.pids - self._build.pids:
                processes.send(pid, signal.SIGKILL)
        if self._final is None:
            self._advance(now)
        elif self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._crew.send(signal.SIGKILL)
            self._build.stop()

    def _advance(self, now: float) -> None:
        """Go on towards a running environment, or to its rest."""
        if self._again and self._rest.is_quiet:
            self._end("Starting", "Updating", "the environment ends to start again")
            return
        if self._build.is_needed:
            self._build.start()
            if self._record is self._wanted:
                self._say("Resolving", "Building dependencies")
        if self._record is not self._wanted or not self._build.is_running:
            self._crew.start_due(now, asleep=bool(self._record.spec.get("suspend")))
            was_up = self._link.is_up
            if self._crew.has_coordinator and self._link.connect() != was_up:
                self._tell()
            if not self._link.is_up and was_up:
                self._say("CoordinatorRestarting", "the coordinator is starting again")
            if (reason := self._rest.due(time.time())) and not self._build.is_running:
                self._end(*LAST_WORDS[reason])

    def _built(self) -> None:
        """The packages are there, or uv said why not."""
        failure = self._build.failure()
        if failure is None and self._record is self._wanted:
            self._say("Starting", "Starting nodes")
        elif failure is None:
            self._change(self._wanted)
        elif self._wanted.before is None:
            self._fail(failure.error, reason=failure.reason)
        else:
            self._serve(take_back(self._folder, self._wanted, failure))

    def _fail(self, error: GeopodError, *, reason: str = "") -> None:
        """End everything, for a reason that starting again would not change."""
        self._end("Failed", reason or str(error.details.get("reason", "")), error.fact)
        if self._final is not None:
            self._final = msgspec.structs.replace(
                self._final, code=error.code, fixes=list(error.fixes), details=error.details
            )

    def _end(self, phase: Any, reason: str, message: str) -> None:
        if self._final is None:
            self._final = msgspec.structs.replace(
                self._state, phase=phase, reason=reason, message=message, **NOBODY
            )
            self._end_all()

    def _end_all(self) -> None:
        """Ask every process to end; those that do not are killed after a while."""
        self._kill_at = time.monotonic() + END_GRACE_S
        self._link.close()
        self._crew.send(signal.SIGTERM)
        self._build.stop()

    def _renew(self) -> None:
        """Everything has ended and starts again, as the record now says."""
        self._again, self._final, self._kill_at = False, None, None
        self._crew = Crew(self._folder, self._record, self._sockets, private=self._private)
        self._build = Build(self._folder, self._wanted, private=self._private)
        self._rest = Rest(self._record.spec, now=time.time())
        self._say("Updating", "the environment starts again with what has changed")
        self._brief(self._record)
        self._read_again()  # nobody was listened to while everything ended
        self._step(time.monotonic())

    def _finish(self) -> None:
        """Everything has ended: clean up, and leave the last word."""
        assert self._final is not None  # noqa: S101  # the loop's condition
        processes.sweep(self._record.uid)
        if self._final.phase == "Terminated":
            cancel_unfinished(self._folder.store, self._record.uid, now=time.time())
        self._state = self._final
        # Before its socket goes: who finds none takes the stored word for the last one.
        self._folder.write_report(self._record.name, self._report())
        self._crew.clean(scratch=self._final.phase == "Terminated")
        self._tell()
        by = {"Expired": "ttl", "IdleTimeout": "idle"}.get(self._final.reason, "")
        if by == "ttl" or self._rest.deletes(self._final.reason):
            self._folder.remove_environment(self._record, by=by)
        expire(self._folder, now=time.time())
        self._front.close()

    # ---- what is said

    def _say(self, reason: str, message: str) -> None:
        self._state = msgspec.structs.replace(
            self._state, phase="Starting", reason=reason, message=message, ready=0
        )
        self._tell()

    def _tell(self) -> None:
        """Tell clients how things stand, and store it."""
        if self._front.tell(report := self._report()):
            self._folder.write_report(self._record.name, report)

    def _report(self) -> Report:
        state = self._state
        if self._record.spec.get("suspend") and state.phase in {"Starting", "Ready"}:
            state = msgspec.structs.replace(state, phase="Suspended", reason="UserRequested")
        state = with_refusal(state, self._record)
        generation = self._record.generation - self._again
        return Report(generation=generation, control=self._link.is_up, state=state)

    def _pause(self) -> float | None:
        """Return how long nothing is due."""
        now = time.monotonic()
        if now < self._strays_until:
            return STRAYS_PAUSE_S if self._link.is_up else CONNECT_PAUSE_S
        if self._final is not None:
            return None if self._kill_at is None else max(self._kill_at - now, 0.0)
        if self._crew.has_coordinator and not self._link.is_up:
            return CONNECT_PAUSE_S
        rest = None if self._build.is_running else self._rest.wait(time.time())
        waits = [wait for wait in (rest, self._crew.wait(now)) if wait is not None]
        return max(min(waits), 0.0) if waits else None

    def _private(self) -> list[int]:
        """Return the descriptors that no child may keep."""
        return [
            *self._held,
            self._selector.fileno(),
            self._wake.fileno(),
            *self._front.descriptors,
            *self._link.descriptors,
        ]
