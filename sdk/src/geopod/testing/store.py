"""A store that keeps everything in memory."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from hashlib import sha256
from pathlib import Path

from geopod.store import KeyExistsError, KeyMissingError


class MemoryStore:
    """A `Store` in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._fetched: Path | None = None

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Keep `data` under `key`."""
        if if_absent and key in self.objects:
            raise KeyExistsError(key)
        self.objects[key] = bytes(data)

    async def put_file(self, key: str, source: Path, *, move: bool = False) -> None:
        """Keep a file's bytes under `key`."""
        self.objects[key] = await asyncio.to_thread(source.read_bytes)
        if move:
            await asyncio.to_thread(source.unlink)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes under `key`."""
        if key not in self.objects:
            raise KeyMissingError(key)
        return self.objects[key][start : None if length is None else start + length]

    async def fetch(self, key: str) -> Path:
        """Return a file with the bytes under `key`; it is gone with the store."""
        data = await self.get(key)
        path = self._folder() / sha256(data).hexdigest()
        await asyncio.to_thread(path.write_bytes, data)
        return path

    def _folder(self) -> Path:
        """Return where fetched files lie; it goes with the store."""
        if self._fetched is None:
            self._fetched = Path(tempfile.mkdtemp(prefix="geopod-"))
            weakref.finalize(self, shutil.rmtree, self._fetched, ignore_errors=True)
        return self._fetched

    async def exists(self, key: str) -> bool:
        """Say whether something lies under `key`."""
        return key in self.objects

    async def names(self, prefix: str) -> list[str]:
        """Return the keys below `prefix`."""
        return sorted(key for key in self.objects if key.startswith(prefix))

    async def delete(self, prefix: str) -> None:
        """Remove a key, or all below it."""
        for key in await self.names(prefix) if prefix.endswith("/") else [prefix]:
            self.objects.pop(key, None)
