"""Fetched objects as local files, named by their sha256; the oldest go when the folder is full."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

FILE_MODE = 0o444
LIMIT_BYTES = 4 << 30
"""Of a machine that is no pod. A file that goes while somebody reads it stays readable for them."""
PART = ".part-"


class FileCache:
    """One folder; several processes may share it."""

    def __init__(self, folder: Path, *, limit_bytes: int | None = None) -> None:
        self._folder = folder
        self._limit = LIMIT_BYTES if limit_bytes is None else limit_bytes
        self._known: dict[str, tuple[str, str]] = {}

    def recall(self, key: str) -> tuple[str, Path] | None:
        """Return the ETag and the file that were last fetched for `key`, if they are still here."""
        if key not in self._known:
            return None
        etag, digest = self._known[key]
        path = self._folder / digest
        try:
            os.utime(path)
        except OSError:
            del self._known[key]
            return None
        return etag, path

    def new_part(self) -> Path:
        """Return the name of a file to download to."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{PART}{secrets.token_hex(8)}"

    def keep(self, part: Path, *, key: str, digest: str, etag: str) -> Path:
        """Give a whole file its name and return it; makes room first."""
        size = part.stat().st_size
        self._make_room(size)
        part.chmod(FILE_MODE)
        path = self._folder / digest
        part.replace(path)
        self._known[key] = (etag, digest)
        return path

    def _make_room(self, wanted: int) -> None:
        found: list[tuple[float, int, str]] = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if not entry.name.startswith(PART):
                        found.append((status.st_mtime, status.st_size, entry.path))
        excess = sum(size for _, size, _ in found) + wanted - self._limit
        for _, size, path in sorted(found):
            if excess <= 0:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108  # paths of scandir are strings
                excess -= size


def remove_file(path: Path) -> None:
    """Remove a file that may be gone."""
    path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Return a file's size in bytes."""
    return path.stat().st_size
