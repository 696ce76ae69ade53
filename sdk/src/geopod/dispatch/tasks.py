"""Where every task of a run stands: one byte each, and more only for those tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from geopod.dispatch.retry import Attempts, RetryClass

ABSENT, PENDING, LEASED, SUCCEEDED, FAILED, CANCELLED = range(6)
"""A task's byte; ABSENT: an index outside the run's subset of partitions."""

_PENDING_BYTE = bytes([PENDING])


class TaskTable:
    """The tasks of one run, by index in `range(span)`.

    Tasks that were never handed out are the PENDING bytes from `_cursor` on, so that a million of
    them cost a megabyte and handing out a range costs one slice.
    """

    __slots__ = ("_again", "_cursor", "attempts", "counts", "retried", "status")

    def __init__(self, span: int, indexes: Iterable[int] | None = None) -> None:
        """All of `range(span)`, or a subset of it."""
        self.status = bytearray(span) if indexes is not None else bytearray(_PENDING_BYTE * span)
        for index in indexes or ():
            self.status[index] = PENDING
        self.counts = [self.status.count(code) for code in range(6)]
        """How many tasks stand at each code."""
        self.attempts: dict[int, Attempts] = {}
        """Of open tasks that did not end at their first attempt."""
        self.retried = 0
        """Attempts that failed and were followed by another one."""
        self._cursor = 0
        self._again: deque[int] = deque()

    @property
    def total(self) -> int:
        """How many tasks the run has."""
        return len(self.status) - self.counts[ABSENT]

    @property
    def pending(self) -> int:
        """How many wait to be handed out."""
        return self.counts[PENDING]

    @property
    def open(self) -> int:
        """How many have no record yet."""
        return self.counts[PENDING] + self.counts[LEASED]

    def is_pending(self, index: int) -> bool:
        """Tell whether the index is a task that waits to be handed out."""
        return 0 <= index < len(self.status) and self.status[index] == PENDING

    def attempt(self, index: int) -> int:
        """Return the number of the task's attempt: at hand, or next; 1 is the first."""
        attempts = self.attempts.get(index)
        return 1 if attempts is None else attempts.number

    def pending_indexes(self) -> Iterator[int]:
        """Yield the indexes that wait, ascending; their status may be changed meanwhile."""
        index = self.status.find(PENDING)
        while index >= 0:
            yield index
            index = self.status.find(PENDING, index + 1)

    def take(self, limit: int) -> list[tuple[int, int]]:
        """Hand out at most `limit` tasks, those to be tried again first; (index, attempt)."""
        batch: list[tuple[int, int]] = []
        while self._again and len(batch) < limit:
            index = self._again.popleft()
            if self.status[index] == PENDING:
                batch.append(self.take_one(index))
        while len(batch) < limit:
            start = self.status.find(PENDING, self._cursor)
            if start < 0:
                self._cursor = len(self.status)
                break
            window = self.status[start : start + limit - len(batch)]
            length = len(window) - len(window.lstrip(_PENDING_BYTE))
            self._cursor = start + length
            batch += self._take_range(start, length)
        return batch

    def _take_range(self, start: int, length: int) -> list[tuple[int, int]]:
        self.status[start : start + length] = bytes([LEASED]) * length
        self.counts[PENDING] -= length
        self.counts[LEASED] += length
        if self.attempts:
            return [(index, self.attempt(index)) for index in range(start, start + length)]
        return [(index, 1) for index in range(start, start + length)]

    def take_one(self, index: int) -> tuple[int, int]:
        """Hand out this pending task."""
        self._move(index, LEASED)
        return index, self.attempt(index)

    def adopt(self, index: int, attempt: int) -> None:
        """Take over a pending task that a node already has at this attempt."""
        self._move(index, LEASED)
        if attempt > 1:
            self.attempts[index] = Attempts(attempt)

    def put_back(self, index: int, *, charge: RetryClass | None, same_attempt: bool) -> None:
        """Let a task wait again; `same_attempt` only if no node can have begun with it."""
        if not same_attempt:
            attempts = self.attempts.setdefault(index, Attempts())
            attempts.number += 1
            if charge is not None:
                attempts.charges[charge] = attempts.charges.get(charge, 0) + 1
                self.retried += 1
        self._move(index, PENDING)
        self._again.append(index)

    def finish(self, index: int, code: int) -> None:
        """Set a task's final code: SUCCEEDED, FAILED or CANCELLED."""
        self._move(index, code)
        if self.attempts:
            self.attempts.pop(index, None)

    def _move(self, index: int, code: int) -> None:
        counts = self.counts
        counts[self.status[index]] -= 1
        counts[code] += 1
        self.status[index] = code
