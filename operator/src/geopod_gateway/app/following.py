"""Hashes and syncs the parts of an upload while later ones arrive, if they come in their order.

At its end little is left to do. What was hashed counts only while nobody writes there again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from geopod.store.spool import Digest

READ_BYTES = 1 << 20
MOST_UPLOADS = 64
"""Followed at the same time; one more takes the place of the one that waits longest for a part.

An upload that its client abandoned is told from no other: it waits longest.
"""


@dataclass(slots=True)
class _Followed:
    """What is known of one upload's bytes so far."""

    digest: Digest = field(default_factory=hashlib.sha256)
    end: int = 0
    """So many bytes from the start are hashed, or will be when `work` has ended."""
    work: asyncio.Future[None] | None = None
    is_void: bool = False
    """They could not be read."""


class Followers:
    """The uploads of one gateway whose parts come in order."""

    def __init__(self, *, fsync: bool) -> None:
        self._fsync = fsync
        self._uploads: dict[str, _Followed] = {}

    def arriving(self, upload: str, start: int) -> None:
        """A part is being written: if its bytes were hashed already, that is void."""
        known = self._uploads.get(upload)
        if known is not None and start < known.end:
            self.forget(upload)

    def arrived(self, upload: str, data: Path, *, start: int, length: int) -> None:
        """A part lies in the upload's file: hash and sync it beside what comes next."""
        if start == 0:
            self._uploads.pop(upload, None)
            while len(self._uploads) >= MOST_UPLOADS:
                self.forget(next(iter(self._uploads)))
            self._uploads[upload] = _Followed()
        known = self._uploads.get(upload)
        if known is None or known.end != start:
            return
        self._uploads[upload] = self._uploads.pop(upload)  # the last one to give way
        known.end += length
        descriptor = os.open(data, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        known.work = asyncio.ensure_future(
            self._take(known, descriptor, range(start, start + length), before=known.work)
        )

    async def digest(self, upload: str, size: int) -> str:
        """Return the sha256 of an upload's bytes; empty: not all of them were followed."""
        known = self._uploads.pop(upload, None)
        if known is None or known.end != size or known.work is None:
            return ""
        await known.work
        return "" if known.is_void else known.digest.hexdigest()

    def forget(self, upload: str) -> None:
        """An upload is given up, or written anew."""
        self._uploads.pop(upload, None)

    async def _take(
        self, known: _Followed, descriptor: int, span: range, *, before: asyncio.Future[None] | None
    ) -> None:
        try:
            if before is not None:
                await before
            await asyncio.to_thread(self._read, known.digest, descriptor, span)
        except OSError:  # the end reads again, and says so
            known.is_void = True
        finally:
            os.close(descriptor)

    def _read(self, digest: Digest, descriptor: int, span: range) -> None:
        for position in span[::READ_BYTES]:
            wanted = min(READ_BYTES, span.stop - position)
            digest.update(os.pread(descriptor, wanted, position))
        if self._fsync:
            os.fdatasync(descriptor)
