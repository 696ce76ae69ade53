"""Ask many sources at once: each answer is a round trip, and a mosaic has a thousand files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_AT_ONCE = 16

Asked = TypeVar("Asked")
Told = TypeVar("Told")


def ask_all(
    ask: Callable[[Asked], Told], asked: Iterable[Asked], *, are_remote: bool
) -> list[Told]:
    """Return the answers in the order of the questions; raises the first one's error."""
    if not are_remote:
        return [ask(one) for one in asked]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sources") as pool:
        return list(pool.map(ask, asked))
