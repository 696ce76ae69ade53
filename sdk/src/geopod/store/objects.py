"""Bytes by key in an S3-compatible bucket, or what else obstore speaks. A Store."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import from_url

from geopod.store import KeyExistsError, KeyMissingError
from geopod.store.cache import FileCache, remove_file, size_of
from geopod.store.keys import check_key, check_prefix
from geopod.store.spool import Spool

CHUNK_BYTES = 4 << 20
PART_BYTES = 16 << 20
"""S3 takes 10,000 parts: objects of up to 160 GB."""
PARTS_AT_ONCE = 3
"""Held in memory at the same time."""
CREATE_BYTES = 64 << 20
"""S3 creates if absent in one request only, so larger objects cannot be."""
DELETE_BATCH = 1000
"""What one request of S3 deletes."""
DIGEST, WRITER = "sha256", "writer"
"""Names of the metadata of an object that a gateway stored."""


class BucketError(OSError):
    """The bucket did not do what it was asked: unreachable, refused, overloaded."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a bucket knows of one object."""

    size: int
    etag: str
    modified: float
    """Seconds since the epoch."""
    digest: str
    """sha256; empty: whoever stored it did not say."""
    writer: str


class ObjectStore:
    """A Store (`geopod.store.Store`) over any obstore store; `cache`: what `fetch` fills."""

    def __init__(self, store: Any, *, cache: Path, cache_bytes: int | None = None) -> None:
        self._store = store
        self._cache = FileCache(cache, limit_bytes=cache_bytes)

    @classmethod
    def at(cls, url: str, *, cache: Path, cache_bytes: int | None = None) -> Self:
        """Return the store at `s3://bucket/prefix`; credentials from the AWS_* variables."""
        if not urlsplit(url).netloc:
            raise ValueError(f"{url!r} names no bucket: s3://bucket/prefix.")
        return cls(from_url(url), cache=cache, cache_bytes=cache_bytes)

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write all of `data` under `key`, or nothing; raises KeyExistsError with `if_absent`."""
        await self._put(check_key(key), data, {}, if_absent=if_absent)

    async def put_file(
        self,
        key: str,
        source: Path,
        *,
        move: bool = False,
        if_absent: bool = False,
        facts: dict[str, str] | None = None,
    ) -> None:
        """Write a file's bytes under `key`, in parts; `facts` become the object's metadata."""
        await self._put(check_key(key), source, facts or {}, if_absent=if_absent)
        if move:
            remove_file(source)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes under `key`, or `length` from `start`; raises KeyMissingError."""
        if length == 0:
            await self.facts(key)
            return b""
        parts = [chunk async for chunk in self.chunks(key, start=start, length=length)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def fetch(self, key: str) -> Path:
        """Return a local, read-only file with the bytes under `key`; raises KeyMissingError."""
        facts = await self.facts(key)
        known = self._cache.recall(key)
        if known and known[0] == facts.etag:
            return known[1]
        spool = Spool(self._cache.new_part())
        try:
            async for chunk in self.chunks(key):
                await spool.add(chunk)
            digest = await spool.finish()
            return self._cache.keep(spool.path, key=key, digest=digest, etag=facts.etag)
        finally:
            await spool.discard()

    async def exists(self, key: str) -> bool:
        """Say whether something lies under `key`."""
        try:
            with _mapped(key):
                await self._store.head_async(check_key(key))
        except KeyMissingError:
            return False
        return True

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below `prefix` (which ends in `/`), sorted."""
        return sorted([key async for key, _, _ in self.entries(prefix)])

    async def delete(self, prefix: str) -> None:
        """Remove the key `prefix`, or all keys below it if it ends in `/`; missing: nothing."""
        if not prefix.endswith("/"):
            await self._remove([check_key(prefix)])
            return
        names = await self.names(prefix)
        for start in range(0, len(names), DELETE_BATCH):
            await self._remove(names[start : start + DELETE_BATCH])

    # ---- what a gateway needs beside

    async def facts(self, key: str) -> ObjectFacts:
        """Return size, ETag and metadata of one object; raises KeyMissingError."""
        with _mapped(key):
            found = await self._store.get_async(check_key(key), options={"head": True})
        meta, attributes = found.meta, found.attributes
        return ObjectFacts(
            size=meta["size"],
            etag=(meta["e_tag"] or "").strip('"'),
            modified=meta["last_modified"].timestamp(),
            digest=str(attributes.get(DIGEST, "")),
            writer=str(attributes.get(WRITER, "")),
        )

    async def chunks(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes under `key`, or `length` from `start`; raises KeyMissingError."""
        check_key(key)
        options = _range(start, length)
        try:
            with _mapped(key):
                found = await self._store.get_async(key, options=options)
        except BucketError:
            if options is None or start < (await self.facts(key)).size:
                raise
            return  # a range behind the end is empty
        with _mapped(key):
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    async def entries(self, prefix: str) -> AsyncIterator[tuple[str, int, float]]:
        """Yield key, bytes and time of change of every object below `prefix`, in no order."""
        with _mapped(prefix):
            async for batch in self._store.list(check_prefix(prefix) or None):
                for meta in batch:
                    if meta["path"].startswith(prefix):
                        yield meta["path"], meta["size"], meta["last_modified"].timestamp()

    async def _put(
        self, key: str, data: bytes | Path, facts: dict[str, str], *, if_absent: bool
    ) -> None:
        size = len(data) if isinstance(data, bytes) else size_of(data)
        if if_absent and size > CREATE_BYTES:
            raise ValueError(f"{key!r} has {size} bytes; a bucket creates {CREATE_BYTES} at once.")
        with _mapped(key):
            await self._store.put_async(
                key,
                data,
                attributes=facts or None,
                mode="create" if if_absent else "overwrite",
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    async def _remove(self, keys: Sequence[str]) -> None:
        with contextlib.suppress(KeyMissingError), _mapped(keys[0]):
            await self._store.delete_async(list(keys))


@contextlib.contextmanager
def _mapped(key: str) -> Iterator[None]:
    """Let what obstore raises leave as an error that every store may raise."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise KeyMissingError(key) from error
    except AlreadyExistsError as error:
        raise KeyExistsError(key) from error
    except BaseError as error:
        raise BucketError(str(error).splitlines()[0]) from error


def _range(start: int, length: int | None) -> Any:
    """Return obstore's options for a part of an object; None: all of it."""
    if length is not None:
        return {"range": (start, start + length)}
    return {"range": {"offset": start}} if start else None
