"""Bytes by key: the protocol that every store keeps, its two errors, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit


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


def open_store(
    target: str,
    *,
    token_file: Path | Callable[[], str] | None = None,
    cache: Path | None = None,
    cache_bytes: int | None = None,
) -> Store:
    """Return the store at `target`: `http(s)://` a gateway, `s3://bucket/prefix`, else a folder.

    `token_file`, of a gateway alone: a file with the token or a function that returns it. `cache`
    is the folder of fetched files; a gateway and `s3://` need it. `cache_bytes`: how much of them
    is kept; None: as much as a user's machine has to spare. Raises ValueError.
    """
    scheme = urlsplit(target).scheme if "://" in target else ""
    if scheme in {"", "file"}:
        from geopod.store.directory import DirectoryStore

        if not scheme:
            return DirectoryStore(Path(target))
        from urllib.request import url2pathname  # 10 ms

        return DirectoryStore(Path(url2pathname(urlsplit(target).path)))
    if cache is None:
        raise ValueError(f"A store at {target!r} needs a folder for what it fetches: cache=….")
    if scheme in {"http", "https"}:
        from geopod.store.gateway import GatewayStore

        return GatewayStore(target, token=token_file, cache=cache, cache_bytes=cache_bytes)
    if scheme == "s3":
        from geopod.store.objects import ObjectStore

        return ObjectStore.at(target, cache=cache, cache_bytes=cache_bytes)
    raise ValueError(f"{target!r} is no store: http(s)://…, s3://bucket/prefix or a folder.")
