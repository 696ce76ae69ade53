"""A store that is opened when it is first asked: what carries it takes long to load."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from geopod.store import Store


class LaterStore:
    """A Store; closed by `async with`, whether it was ever opened or not."""

    def __init__(self, opener: Callable[[], Store]) -> None:
        self._opener = opener
        self._opened: Store | None = None
        self._stack = AsyncExitStack()

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write all of `data` under `key`, or nothing; raises KeyExistsError with `if_absent`."""
        await (await self._store()).put(key, data, if_absent=if_absent)

    async def put_file(self, key: str, source: Path, *, move: bool = False) -> None:
        """Write a file's bytes under `key`; `move`: the file may be taken instead of copied."""
        await (await self._store()).put_file(key, source, move=move)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes under `key`, or `length` from `start`; raises KeyMissingError."""
        return await (await self._store()).get(key, start=start, length=length)

    async def fetch(self, key: str) -> Path:
        """Return a local, read-only file with the bytes under `key`; raises KeyMissingError."""
        return await (await self._store()).fetch(key)

    async def exists(self, key: str) -> bool:
        """Say whether something lies under `key`."""
        return await (await self._store()).exists(key)

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below `prefix` (which ends in `/`), sorted."""
        return await (await self._store()).names(prefix)

    async def delete(self, prefix: str) -> None:
        """Remove the key `prefix`, or all keys below it if it ends in `/`."""
        await (await self._store()).delete(prefix)

    async def _store(self) -> Store:
        if self._opened is None:
            self._opened = opened = self._opener()
            if isinstance(opened, AbstractAsyncContextManager):  # one that holds connections
                await self._stack.enter_async_context(opened)
        return self._opened

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
