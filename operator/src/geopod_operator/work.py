"""The queue: one key at a time, debounced, a few in parallel, failures backed off.

`Agenda` decides and is pure: the clock is an argument. `WorkQueue` runs what is due.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from geopod.errors import (
    AuthError,
    ClusterUnreachableError,
    GeopodError,
    RateLimitedError,
)

Key = tuple[str, str, str]
"""Kind, namespace and name of what is worked on."""
NOT_REACHED = frozenset({502, 503, 504})
"""So answers what stands before a server that is away."""
_UNANSWERED = (AuthError, ClusterUnreachableError, RateLimitedError)
logger = logging.getLogger(__name__)


def is_unanswered(error: Exception) -> bool:
    """Whether the server did not get to the request; every other error is about one object."""
    return isinstance(error, _UNANSWERED) or getattr(error, "status", None) in NOT_REACHED


@dataclass(frozen=True, slots=True)
class Pace:
    """How the queue is worked through."""

    debounce_s: float = 0.2
    """One change of a spec is several events: its children answer within this time."""
    parallel: int = 8
    backoff_s: float = 1.0
    backoff_max_s: float = 300.0
    unanswered_max_s: float = 30.0
    """Backoff while the API server is away: it is everybody's trouble, and over at once."""
    stuck_s: float = 120.0
    """Work that waits or runs this long while nothing is finished: the process is ill."""


class Agenda:
    """What is due when. Each key is at most once in line and at most once at work."""

    def __init__(self, pace: Pace) -> None:
        """Start empty."""
        self._pace = pace
        self._due: dict[Key, float] = {}
        self._line: list[tuple[float, int, Key]] = []
        self._again: dict[Key, float] = {}
        self._started: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._unanswered: dict[Key, int] = {}
        """Failures in a row while the server was away: they say nothing about the object."""
        self._finished_at = 0.0
        self._number = itertools.count()

    def add(self, key: Key, now: float, *, after_s: float | None = None) -> None:
        """Let a key be worked on after the debounce or `after_s`; the earlier time holds."""
        at = now + (self._pace.debounce_s if after_s is None else after_s)
        if key in self._started:
            self._again[key] = min(at, self._again.get(key, at))
        else:
            self._put(key, at)

    def take(self, now: float) -> list[Key]:
        """Return the keys to start now, the longest due first."""
        taken: list[Key] = []
        while self._line and self._line[0][0] <= now and len(self._started) < self._pace.parallel:
            at, _, key = heapq.heappop(self._line)
            if self._due.get(key) != at:
                continue  # an earlier time took its place
            del self._due[key]
            self._started[key] = now
            taken.append(key)
        return taken

    def finish(self, key: Key, now: float, *, requeue_s: float | None) -> None:
        """A key was worked on; it is due again after `requeue_s`, or when something happens."""
        self.forget(key)
        self._end(key, now, None if requeue_s is None else now + requeue_s)

    def fail(self, key: Key, now: float, *, is_answered: bool = True) -> float:
        """A key could not be worked on; return the seconds until it is tried again."""
        if is_answered:
            self._unanswered.pop(key, None)
        counts = self._failures if is_answered else self._unanswered
        failures = counts[key] = counts.get(key, 0) + 1
        pace = self._pace
        longest_s = pace.backoff_max_s if is_answered else pace.unanswered_max_s
        backoff_s = min(longest_s, pace.backoff_s * 2.0 ** min(failures - 1, 20))
        self._end(key, now, now + backoff_s)
        return backoff_s

    def forget(self, key: Key) -> None:
        """The object is well, or gone: so are its failures."""
        self._failures.pop(key, None)
        self._unanswered.pop(key, None)

    def next_at(self) -> float | None:
        """Return when `take` will give something; None: not before something happens."""
        while self._line and self._due.get(self._line[0][2]) != self._line[0][0]:
            heapq.heappop(self._line)
        if not self._line or len(self._started) >= self._pace.parallel:
            return None
        return self._line[0][0]

    def depth(self, now: float) -> int:
        """Return how many keys are due and not started."""
        return sum(at <= now for at in self._due.values())

    def oldest_s(self, now: float) -> float:
        """Return how long the oldest key waits or is worked on."""
        since = [*self._started.values(), *(at for at in self._due.values() if at <= now)]
        return max(0.0, now - min(since)) if since else 0.0

    def is_stuck(self, now: float) -> bool:
        """Whether work is too old although nothing else was finished: a long line is no illness."""
        if any(now - at > self._pace.stuck_s for at in self._started.values()):
            return True
        return (
            self.oldest_s(now) > self._pace.stuck_s and now - self._finished_at > self._pace.stuck_s
        )

    def _put(self, key: Key, at: float) -> None:
        if key in self._due and self._due[key] <= at:
            return
        self._due[key] = at
        heapq.heappush(self._line, (at, next(self._number), key))

    def _end(self, key: Key, now: float, at: float | None) -> None:
        del self._started[key]
        self._finished_at = now
        times = [each for each in (at, self._again.pop(key, None)) if each is not None]
        if times:
            self._put(key, min(times))


Work = Callable[[Key], Awaitable[float | None]]
"""Works on one key and returns after how many seconds it is due again by itself."""
Finished = Callable[[Key, str, float], None]
"""Told the key, the result (`ok`, `failed`) and the seconds it took."""


class WorkQueue:
    """Runs what the agenda says."""

    def __init__(
        self,
        work: Work,
        *,
        pace: Pace | None = None,
        on_finished: Finished | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet; `run` does."""
        self.agenda = Agenda(pace or Pace())
        self._work = work
        self._on_finished = on_finished
        self._clock = clock
        self._changed = asyncio.Event()

    def add(self, key: Key, *, after_s: float | None = None) -> None:
        """Let a key be worked on soon."""
        self.agenda.add(key, self._clock(), after_s=after_s)
        self._changed.set()

    def depth(self) -> int:
        """Return how many keys are due and not started."""
        return self.agenda.depth(self._clock())

    def oldest_s(self) -> float:
        """Return how long the oldest key waits or is worked on."""
        return self.agenda.oldest_s(self._clock())

    def is_stuck(self) -> bool:
        """Whether work is too old although nothing else was finished."""
        return self.agenda.is_stuck(self._clock())

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for key in self.agenda.take(self._clock()):
                    group.create_task(self._one(key))
                await self._until(self.agenda.next_at())

    async def _until(self, at: float | None) -> None:
        timeout_s = None if at is None else max(0.0, at - self._clock())
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _one(self, key: Key) -> None:
        started = self._clock()
        result = "failed"
        try:
            requeue_s = await self._work(key)
        except GeopodError as error:
            self._tell_failure(key, error)
        except Exception as error:  # recorded, told, tried again: one key must not end the others
            self._tell_failure(key, error)
            logger.exception("%s %s/%s met a bug", *key)
        else:
            result = "ok"
            self.agenda.finish(key, self._clock(), requeue_s=requeue_s)
        finally:
            self._changed.set()
            if self._on_finished is not None:
                self._on_finished(key, result, self._clock() - started)

    def _tell_failure(self, key: Key, error: Exception) -> None:
        is_answered = not is_unanswered(error)
        backoff_s = self.agenda.fail(key, self._clock(), is_answered=is_answered)
        fact = error.fact if isinstance(error, GeopodError) else type(error).__name__
        logger.warning("%s %s/%s is tried again in %.0f s: %s", *key, backoff_s, fact)
