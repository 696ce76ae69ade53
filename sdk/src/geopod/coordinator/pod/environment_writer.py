"""Writes the coordinator's half of its environment's status, and covers runs with it.

A run that says Queued or Running has left the operator's sight (it watches new and finished runs
alone): before that the environment must say that it is in use, or it might be put to sleep.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from geopod.api.control import EnvironmentUpdate, RunUpdate
from geopod.api.environment_resource import CoordinatorReport, coordinator_status
from geopod.api.runs import EnvironmentState
from geopod.cluster.kinds import ENVIRONMENTS
from geopod.cluster.problems import ConflictApiError, InvalidApiError
from geopod.coordinator.pod.epochs import epoch_in
from geopod.coordinator.pod.office import Object, Office, later_version
from geopod.coordinator.pod.throttle import ACTIVITY_EVERY_S, COUNTS_EVERY_S, environment_pause

log = logging.getLogger(__name__)
Describe = Callable[[], tuple[EnvironmentState, CoordinatorReport]]
"""Returns how the environment is, and what its status says beside that."""


class EnvironmentWriter:
    """The writer of one environment's status. A Watcher."""

    def __init__(self, office: Office, describe: Describe) -> None:
        self._office = office
        self._describe = describe
        self._written: EnvironmentState | None = None
        self._told: tuple[object, ...] = ()
        """What of the report was written."""
        self._wrote_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0
        self._writing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self.is_gone = False
        self._version = ""
        """resourceVersion that was seen last."""

    def observe(self, manifest: Object) -> None:
        """Take the environment as it is now, or was a moment ago."""
        self._version = later_version(
            self._version, manifest["metadata"].get("resourceVersion", "")
        )

    def send(self, message: RunUpdate | EnvironmentUpdate) -> None:
        """The environment has changed: write it when its time has come."""
        del message  # what is written is read at that time
        self.changed()

    def changed(self) -> None:
        """Write soon what has changed: at once, or when it is not too soon after the last time."""
        due = self._due()
        if due is None or self.is_gone:
            return
        if self._timer is not None:
            if self._due_at <= due:
                return
            self._timer.cancel()
        self._due_at = max(due, self._loop.time())
        self._timer = self._loop.call_at(self._due_at, self._start)

    async def cover(self, phase: str) -> None:
        """Return when the environment's status keeps it awake for a run of this phase."""
        if phase == "Queued":
            while self._written is None or not self._written.queued_runs:
                if not self._describe()[0].queued_runs or self.is_gone:
                    return  # it waits no more: what it says next is covered on its own
                await self._write()
        elif phase == "Running" and not self._is_fresh():
            await self._write()

    def _is_fresh(self) -> bool:
        written = self._written
        if written is None:
            return False
        return bool(written.active_runs) or (time.time() - written.last_activity < ACTIVITY_EVERY_S)

    def _due(self) -> float | None:
        """Return when the state of now shall be written; None: it is."""
        state, report = self._describe()
        written = self._written
        if written is None:
            return self._loop.time()
        pause = environment_pause(state, written)
        if _told(report) != self._told:
            pause = COUNTS_EVERY_S if pause is None else min(pause, COUNTS_EVERY_S)
        return None if pause is None else self._wrote_at + pause

    def _start(self) -> None:
        self._timer = None
        if not self.is_gone:
            self._office.spawn(self._write())

    async def _write(self) -> None:
        async with self._writing:
            state, report = self._describe()
            if state == self._written and _told(report) == self._told:
                return
            try:
                written = await self._put(coordinator_status(state, report), epoch=state.epoch)
            except InvalidApiError as error:
                log.error("The environment's status is refused: %s", error)  # noqa: TRY400  # its sentence says all
                written = {}
            self.is_gone = written is None
            self.observe(written or {"metadata": {}})
            self._written, self._told = state, _told(report)
            self._wrote_at = self._loop.time()
        self.changed()

    async def _put(self, status: Object, *, epoch: int) -> Object | None:
        """Write on the very version that was seen; None: the environment is not ours any more.

        So a coordinator that was cut off never writes over what a newer one has said meanwhile.
        """
        pod = self._office.pod
        while True:
            try:
                return await self._office.write_status(
                    ENVIRONMENTS,
                    pod.environment,
                    status,
                    uid=pod.environment_uid,
                    version=self._version,
                )
            except ConflictApiError:
                seen = await self._office.read(ENVIRONMENTS, pod.environment)
            if seen is None or seen["metadata"]["uid"] != pod.environment_uid:
                return None
            if epoch_in(seen) > epoch:
                log.warning("A newer coordinator tells of the environment.")
                return None
            self.observe(seen)


def _told(report: CoordinatorReport) -> tuple[object, ...]:
    return (report.generation, report.drained, report.outdated)
