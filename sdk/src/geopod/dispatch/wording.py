"""Small pieces of sentences, bounded in size."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


def counted(count: int, noun: str) -> str:
    """Return `1 task`, `3 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(indexes: Sequence[int], total: int) -> str:
    """Return `task 4` or `tasks 4, 9, …` for the first of `total` indexes."""
    noun = "task" if total == 1 else "tasks"
    more = ", …" if total > len(indexes) else ""
    return f"{noun} {', '.join(map(str, sorted(indexes)))}{more}"


def shorten(text: str, limit: int) -> str:
    """Return `text`, cut at the end so that it takes at most `limit` bytes inside JSON."""
    if len(text) * 6 <= limit or (len(text) <= limit and _json_bytes(text) <= limit):
        return text
    kept = text[:limit]
    while kept and _json_bytes(kept) > limit - 3:  # the ellipsis is 3 bytes
        kept = kept[: len(kept) * 7 // 8]
    return kept + "…"


def _json_bytes(text: str) -> int:
    return len(msgspec.json.encode(text)) - 2  # without the quotes
