"""Bytes by key: the protocol that every store keeps, and its two errors."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class KeyMissingError(LookupError):
    """Nothing lies under this key."""


class KeyExistsError(FileExistsError):
    """`if_absent` was asked for and something lies under this key already."""


class Store(Protocol):
    """Where functions, plans, results, manifests and logs lie. Keys are `/`-separated names."""

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write all of `data` under `key`, or nothing; raises KeyExistsError with `if_absent`."""
        ...

    async def put_file(self, key: str, source: Path, *, move: bool = False) -> None:
        """Write a file's bytes under `key`; `move`: the file may be taken instead of copied."""
        ...

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes under `key`, or `length` from `start`; raises KeyMissingError."""
        ...

    async def fetch(self, key: str) -> Path:
        """Return a local, read-only file with the bytes under `key`; raises KeyMissingError."""
        ...

    async def exists(self, key: str) -> bool:
        """Say whether something lies under `key`."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below `prefix` (which ends in `/`), sorted."""
        ...

    async def delete(self, prefix: str) -> None:
        """Remove the key `prefix`, or all keys below it if it ends in `/`."""
        ...
