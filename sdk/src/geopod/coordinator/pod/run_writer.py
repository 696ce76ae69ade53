"""Writes one run's status: at once when its phase changes, else as seldom as the throttle asks."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from geopod.api import names
from geopod.api.control import EnvironmentUpdate, RunUpdate
from geopod.api.run_conditions import TERMINAL
from geopod.api.run_report import RunReport, status_from_state
from geopod.api.runs import RunState
from geopod.cluster.kinds import RUNS
from geopod.cluster.problems import ConflictApiError, InvalidApiError
from geopod.coordinator.figures import RunFigures
from geopod.coordinator.patience import until_served
from geopod.coordinator.pod.office import Cover, Object, Office, later_version
from geopod.coordinator.pod.throttle import RUNNING_AFTER_S, ProgressBudget, progress_interval
from geopod.coordinator.pod.tokens import SHORTEST_RESULTS_S
from geopod.errors import GeopodError
from geopod.store import Store

SHORT = (
    "observedGeneration", "conditions", "phase", "environmentUID", "startTime", "completionTime",
)  # fmt: skip  # six names read better in one line
"""What a status says at least."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bureau:
    """What all writers of one coordinator's runs share."""

    office: Office
    cover: Cover
    budget: ProgressBudget
    keep_s: Callable[[], float]
    """How long results are kept, by the spec of now."""
    show: Callable[[RunState], RunState]
    """The state as it is told: one that waits for a suspended environment is not accepted."""
    figures: Callable[[str], tuple[RunFigures, str] | None]
    """Sums of an open run and its manifest's sha256."""
    store: Store


class RunWriter:
    """The writer of one run's status. A Watcher: it is told every state, and writes some."""

    def __init__(self, bureau: Bureau, manifest: Object) -> None:
        metadata = manifest["metadata"]
        self.uid: str = metadata["uid"]
        self.name: str = metadata["name"]
        self.cancelled = False
        """Its cancellation was passed on."""
        self.cancelled_tasks = ""
        """Ranges whose cancellation was passed on."""
        self.is_gone = False
        """The resource was deleted: nothing is written any more."""
        self.after: Callable[[RunState], Awaitable[RunState]] | None = None
        """What is done with the results before the end is told; returns the state to tell."""
        self._bureau = bureau
        self._generation: int = metadata.get("generation", 1)
        self._version: str = metadata.get("resourceVersion", "")
        self._before: Object = manifest.get("status") or {}
        self._state: RunState | None = None
        self._report: dict[str, Any] = {}
        self._expires: float | None = None
        """When what the run has stored is deleted; None: it has not ended."""
        self._written: RunState | None = None
        self._accepted: float | None = None
        self._wrote_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def has_ended(self) -> bool:
        """The run's end is known, written or not."""
        return self._state is not None and self._state.finished is not None

    def observe(self, manifest: Object) -> None:
        """Take the resource as it is now, or was a moment ago."""
        metadata = manifest["metadata"]
        self._generation = metadata.get("generation", 1)
        self._version = later_version(self._version, metadata.get("resourceVersion", ""))

    def abandon(self, environment_uid: str) -> None:
        """The resource is gone, or told by another: what the run has stored goes in its time."""
        self.forget()
        if self._expires is None:
            expires = time.time() + max(self._bureau.keep_s(), SHORTEST_RESULTS_S)
            self._bureau.office.spawn(self._note_expiry(environment_uid, expires))

    def forget(self) -> None:
        """Write nothing more."""
        self.is_gone = True
        if self._timer is not None:
            self._timer.cancel()

    def send(self, message: RunUpdate | EnvironmentUpdate) -> None:
        """Take a state; it is written when its time has come."""
        if isinstance(message, EnvironmentUpdate) or self.is_gone:
            return
        self._state = state = self._bureau.show(message.state)
        if state.phase and self._accepted is None:
            self._accepted = min(time.time(), state.started or time.time())
        if state.finished is not None:
            self._close_book(state)
        self._schedule()

    def _close_book(self, state: RunState) -> None:
        """Keep what only the open book of the run knows."""
        bureau = self._bureau
        found = bureau.figures(self.uid)
        if found is not None:
            figures, sha256 = found
            self._report |= {
                "result_bytes": figures.result_bytes,
                "p50_s": figures.quantile(0.5),
                "p99_s": figures.quantile(0.99),
                "manifest_sha256": sha256 if state.succeeded else "",
            }
        keep_s = max(bureau.keep_s(), SHORTEST_RESULTS_S)
        self._expires = (state.finished or 0.0) + keep_s
        if state.succeeded:
            token = bureau.office.mint.results_token(self.uid, keep_s=keep_s)
            self._report |= {"token": token, "expires": self._expires}
        bureau.office.counter.ended(state, self._accepted)

    def _schedule(self) -> None:
        """Have the latest state written at its time, unless a write is under way."""
        state = self._state
        if state is None or self._task is not None or state is self._written or self.is_gone:
            return
        if self._is_news(state):
            if self._timer is not None:
                self._timer.cancel()
            young_s = time.time() - (state.started or 0.0)
            if state.phase == "Running" and young_s < RUNNING_AFTER_S:
                self._timer = self._loop.call_later(RUNNING_AFTER_S - young_s, self._start)
            else:
                self._start()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._progress_at(state), self._start)

    def _is_news(self, state: RunState) -> bool:
        """Whether a state cannot wait: its phase, or why it is not accepted, is another one."""
        written = self._written
        if written is None:
            return True
        return written.phase != state.phase or (not state.phase and written.reason != state.reason)

    def _progress_at(self, state: RunState) -> float:
        elapsed = time.time() - (state.started or state.created)
        pause = progress_interval(elapsed) * random.uniform(0.8, 1.2)  # noqa: S311  # spreads writes
        now = self._loop.time()
        return self._bureau.budget.reserve(max(now, self._wrote_at + pause))

    def _start(self) -> None:
        self._timer = None
        if self._task is None and not self.is_gone:
            self._task = self._bureau.office.spawn(self._write_latest())

    async def _write_latest(self) -> None:
        """Write the latest state, and the next one if that has become due meanwhile."""
        try:
            state = self._state
            if state is not None:
                await self._write(state)
                self._written = state
                self._wrote_at = self._loop.time()
        finally:
            self._task = None
        self._schedule()

    async def _write(self, state: RunState) -> None:
        if state.phase in TERMINAL and self.after is not None:
            state = await self.after(state)
        if self._expires is not None:  # beside the write: nobody waits for it
            self._bureau.office.spawn(self._note_expiry(state.environment, self._expires))
        await self._bureau.cover(state.phase)
        report = RunReport(
            now=time.time(),
            generation=self._generation,
            before=self._before,
            accepted=self._accepted,
            **self._report,
        )
        status = status_from_state(state, report)
        try:
            written = await self._put(status, state)
        except InvalidApiError:
            log.exception("The status of run %s is refused: it is told in short.", self.name)
            short = {name: status[name] for name in SHORT if name in status}
            written = await self._put(short, state)
        if written is None:
            self.forget()
        else:
            self.observe(written)
            self._before = written.get("status") or {}

    async def _note_expiry(self, environment_uid: str, expires: float) -> None:
        """Have the store's sweep know when what the run has stored goes."""
        key = names.expiry_key(environment_uid, self.uid)
        note = partial(self._bureau.store.put, key, f"{expires:.3f}".encode())
        try:
            what = f"No end of the results of run {self.name} can be noted"
            await until_served(note, what, patience_s=math.inf)
        except (GeopodError, OSError) as error:
            log.warning("Results of run %s stay for ever: %s", self.name, error)

    async def _put(self, status: Object, state: RunState) -> Object | None:
        """Write on the very version that was seen; None: the run is not ours to tell any more.

        So a coordinator that was cut off never writes over what a newer one, or the operator, said
        meanwhile.
        """
        office = self._bureau.office
        while True:
            try:
                return await office.write_status(
                    RUNS, self.name, status, uid=self.uid, version=self._version
                )
            except ConflictApiError:
                seen = await office.read(RUNS, self.name)
            if seen is None or seen["metadata"]["uid"] != self.uid:
                return None
            told = seen.get("status") or {}
            is_ended = told.get("phase") in TERMINAL and state.finished is None
            if is_ended or told.get("coordinatorEpoch", 0) > state.epoch:
                log.warning("Run %s is told by somebody else.", self.name)
                return None
            self.observe(seen)
