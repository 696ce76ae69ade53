"""Where objects lie: a folder or a bucket, as the routes need it. No HTTP in here.

In a folder an object's sha256 and writer are extended attributes of its file, set before the file
has its name; a file system without them costs the check on the other side, nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geopod.store import KeyMissingError
from geopod.store.directory import DirectoryStore
from geopod.store.keys import PART
from geopod.store.objects import CREATE_BYTES, DIGEST, WRITER, ObjectStore

from geopod_gateway.app.asking import RefusedError
from geopod_gateway.app.tenants import tenant_of

ATTRIBUTE = "user.geopod."
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS})
_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
"""ELOOP: a link in the way; geopod writes none, and follows none."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one object without reading it."""

    size: int
    etag: str
    digest: str = ""
    """sha256; empty: unknown."""
    writer: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """One object that can be read; a file's descriptor is the reader's to close."""

    facts: Facts
    descriptor: int = -1
    """-1: it lies in a bucket."""


class Storage(Protocol):
    """What the routes need of a place for objects."""

    spool: Path
    """Folder for what is not yet an object."""

    async def open(self, key: str) -> Opened:
        """Return an object; raises KeyMissingError."""
        ...

    def chunks(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield bytes of an object of a bucket."""
        ...

    async def keep(
        self, part: Path, key: str, *, digest: str, writer: str, if_absent: bool
    ) -> None:
        """Make a whole file in `spool` the object `key`; raises KeyExistsError."""
        ...

    async def read(self, key: str) -> bytes:
        """Return a small object; raises KeyMissingError."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below a folder, sorted."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a key, or a folder that ends in `/`; missing: nothing."""
        ...

    async def usage(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of each tenant's objects, of all or below a folder."""
        ...


class FolderStorage:
    """Objects in a folder of this machine or of a volume."""

    def __init__(self, root: Path, *, fsync: bool) -> None:
        self._store = DirectoryStore(root, fsync=fsync)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path = root
        self.spool = root / PART

    async def open(self, key: str) -> Opened:
        """Return an object; raises KeyMissingError. Links are not followed."""
        folder, _, name = key.rpartition("/")
        try:
            with self._folder(folder) as parent:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(name, flags, dir_fd=parent)
        except OSError as error:
            if error.errno in _NO_OBJECT:
                raise KeyMissingError(key) from error
            raise
        try:
            return Opened(_facts(descriptor, key), descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    async def chunks(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield bytes of an object, for whom a descriptor is of no use."""
        yield await self._store.get(key, start=start, length=length)

    async def keep(
        self, part: Path, key: str, *, digest: str, writer: str, if_absent: bool
    ) -> None:
        """Make a whole file in `spool` the object `key`; raises KeyExistsError."""
        self._refuse_links(key)
        for name, value in ((DIGEST, digest), (WRITER, writer)):
            if value:
                _set_attribute(part, name, value)
        await self._store.put_file(key, part, move=True, if_absent=if_absent)

    async def read(self, key: str) -> bytes:
        """Return a small object; raises KeyMissingError."""
        opened = await self.open(key)
        try:
            return os.pread(opened.descriptor, opened.facts.size, 0)
        finally:
            os.close(opened.descriptor)

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below a folder, sorted."""
        self._refuse_links(prefix)
        return await asyncio.to_thread(self._store.list_names, prefix)

    async def delete(self, key: str) -> None:
        """Remove a key, or a folder that ends in `/`; missing: nothing."""
        self._refuse_links(key)
        await self._store.delete(key)

    async def usage(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of each tenant's objects, of all or below a folder."""
        return await asyncio.to_thread(self._count, self._path / prefix)

    def _count(self, top: Path) -> dict[str, int]:
        counted: dict[str, int] = {}
        for folder, folders, files in os.walk(top):
            if folder == str(self._path):
                folders[:] = [name for name in folders if name != PART]
            below = os.path.relpath(folder, self._path)
            tenant = tenant_of(f"{below}/")
            for name in files:
                with contextlib.suppress(OSError):
                    size = os.lstat(f"{folder}/{name}").st_size
                    counted[tenant] = counted.get(tenant, 0) + size
        return counted

    def _refuse_links(self, key: str) -> None:
        """Raise KeyMissingError if a folder above the key is a link."""
        try:
            with self._folder(key.rstrip("/").rpartition("/")[0]):
                pass
            if key.endswith("/"):
                with self._folder(key.rstrip("/")):
                    pass
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno in _NO_OBJECT:
                raise KeyMissingError(key) from error
            raise

    @contextlib.contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        """Hold a folder open, reached name by name without following a link."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        held = self._root
        try:
            for name in path.split("/") if path else ():
                below = os.open(name, flags, dir_fd=held)
                if held != self._root:
                    os.close(held)
                held = below
            yield held
        finally:
            if held != self._root:
                os.close(held)


class BucketStorage:
    """Objects in a bucket; uploads are checked on this machine before they go there."""

    def __init__(self, url: str, *, spool: Path) -> None:
        spool.mkdir(parents=True, exist_ok=True)
        self._store = ObjectStore.at(url, cache=spool)
        self.spool = spool

    async def open(self, key: str) -> Opened:
        """Return an object; raises KeyMissingError."""
        facts = await self._store.facts(key)
        etag = facts.digest or facts.etag
        return Opened(Facts(facts.size, etag, facts.digest, facts.writer))

    def chunks(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield bytes of an object."""
        return self._store.chunks(key, start=start, length=length)

    async def keep(
        self, part: Path, key: str, *, digest: str, writer: str, if_absent: bool
    ) -> None:
        """Make a whole file in `spool` the object `key`; raises KeyExistsError."""
        if if_absent and part.stat().st_size > CREATE_BYTES:  # noqa: ASYNC240  # a local file
            raise RefusedError(413, "TooLarge", f"A bucket creates {CREATE_BYTES} bytes at once.")
        facts = {DIGEST: digest, WRITER: writer} if writer else {DIGEST: digest}
        await self._store.put_file(key, part, move=True, if_absent=if_absent, facts=facts)

    async def read(self, key: str) -> bytes:
        """Return a small object; raises KeyMissingError."""
        return await self._store.get(key)

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below a folder, sorted."""
        return await self._store.names(prefix)

    async def delete(self, key: str) -> None:
        """Remove a key, or a folder that ends in `/`; missing: nothing."""
        await self._store.delete(key)

    async def usage(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of each tenant's objects, of all or below a folder."""
        counted: dict[str, int] = {}
        async for key, size, _ in self._store.entries(prefix):
            tenant = tenant_of(key)
            counted[tenant] = counted.get(tenant, 0) + size
        return counted


def _facts(descriptor: int, key: str) -> Facts:
    """Return what an open file says of itself; raises KeyMissingError for all but a file."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise KeyMissingError(key)
    digest, writer = _attribute(descriptor, DIGEST), _attribute(descriptor, WRITER)
    etag = digest or f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return Facts(status.st_size, etag, digest, writer)


def _attribute(descriptor: int, name: str) -> str:
    try:
        return os.getxattr(descriptor, ATTRIBUTE + name).decode("ascii", "replace")
    except OSError:
        return ""


def _set_attribute(path: Path, name: str, value: str) -> None:
    try:
        os.setxattr(path, ATTRIBUTE + name, value.encode())
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
