"""Long things in little room: index ranges as text, sentences cut to bytes of JSON."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


def join_ranges(indexes: Iterable[int]) -> str:
    """Return indexes as `0-3,9`, in the order given: neighbours that ascend become one range."""
    parts: list[tuple[int, int]] = []
    for index in indexes:
        if parts and index == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], index)
        else:
            parts.append((index, index))
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in parts)


def parse_ranges(text: str, *, limit: int) -> list[int]:
    """Return the indexes of `0-3,9`, at most `limit` of them; raises ValueError on other text."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        span = range(int(first), int(last or first) + 1)
        if len(found) + len(span) > limit:
            raise ValueError(f"{text[:40]!r} names more than {limit} indexes.")
        found.extend(span)
    return found


def in_ranges(text: str, index: int) -> bool:
    """Say whether `0-3,9` names an index, without listing what it names."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if int(first) <= index <= int(last or first):
            return True
    return False


def shorten(text: str, limit: int) -> str:
    """Return `text`, cut at the end so that it takes at most `limit` bytes inside JSON."""
    if len(text) * 6 <= limit or (len(text) <= limit and json_bytes(text) <= limit):
        return text
    kept = text[:limit]
    while kept and json_bytes(kept) > limit - 3:  # the ellipsis is 3 bytes
        kept = kept[: len(kept) * 7 // 8]
    return kept + "…"


def json_bytes(text: str) -> int:
    """Return how many bytes a text takes inside JSON."""
    return len(msgspec.json.encode(text)) - 2  # without the quotes
