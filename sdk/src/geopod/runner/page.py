"""One shared page per child: what it is doing, written by it and read by the template.

A page instead of a frame per task: the template knows the running task and its start even when
the child can no longer speak, and a task of a few microseconds pays no system call for it.
"""

from __future__ import annotations

import mmap

LOADING = -1
"""In place of a task's index: the function is being loaded."""

_INDEX, _START, _SEQUENCE, _OUT, _ERR = range(5)
_WORDS = 5


class Page:
    """Task index, monotonic start in ns (0: idle), sequence, and both streams' start offsets."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._words = memoryview(self._memory).cast("q")[:_WORDS]

    def begin(self, index: int, start_ns: int, out: int, err: int) -> None:
        """Say which task runs from now on, and where its output begins."""
        words = self._words
        words[_START] = 0
        words[_INDEX] = index
        words[_OUT] = out
        words[_ERR] = err
        words[_SEQUENCE] += 1
        words[_START] = start_ns

    def rest(self) -> None:
        """Say that nothing runs."""
        self._words[_START] = 0

    @property
    def start_ns(self) -> int:
        """When the running task began; 0: nothing runs."""
        return self._words[_START]

    @property
    def index(self) -> int | None:
        """The running task's index, LOADING, or None."""
        return self._words[_INDEX] if self._words[_START] else None

    @property
    def sequence(self) -> int:
        """How many tasks (and loads) have begun."""
        return self._words[_SEQUENCE]

    @property
    def offsets(self) -> tuple[int, int]:
        """Bytes that stdout and stderr held when the running task began."""
        return self._words[_OUT], self._words[_ERR]

    def close(self) -> None:
        """Give the page back."""
        self._words.release()
        self._memory.close()
