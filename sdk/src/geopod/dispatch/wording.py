"""Small pieces of sentences."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, noun: str) -> str:
    """Return `1 task`, `3 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(indexes: Sequence[int], total: int) -> str:
    """Return `task 4` or `tasks 4, 9, …` for the first of `total` indexes."""
    noun = "task" if total == 1 else "tasks"
    more = ", …" if total > len(indexes) else ""
    return f"{noun} {', '.join(map(str, sorted(indexes)))}{more}"
