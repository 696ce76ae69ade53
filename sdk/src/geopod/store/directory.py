"""Bytes by key in a folder: the local backend's store, and a volume's.

Every object is one file that appears whole (written under `.part`, then renamed or linked) and is
never changed afterwards. Small operations run in the caller's thread: they cost microseconds,
a hop to another thread costs more.
"""

# ruff: noqa: PTH100, PTH101, PTH103, PTH104, PTH108, PTH113  # strings, for the reason given below
from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from geopod.store import KeyExistsError, KeyMissingError
from geopod.store.keys import PART, check_key
from geopod.store.spare import SpareFile, name_file

INLINE_BYTES = 4 << 20
"""Larger reads and writes run in a thread, so that the caller's event loop goes on."""
FILE_MODE = 0o444
"""Objects never change: `fetch` hands the file itself to readers."""


class DirectoryStore:
    """A Store (`geopod.store.Store`) over one folder that exists or can be made.

    Paths are strings in here: of a small `put`, `pathlib` alone would take a third.
    """

    def __init__(self, root: Path, *, fsync: bool = False) -> None:
        self._root = os.path.abspath(root)
        self._fsync = fsync
        self._part_prefix = f"{self._root}/{PART}/{secrets.token_hex(8)}"
        self._serial = itertools.count()
        os.makedirs(f"{self._root}/{PART}", exist_ok=True)
        self._spare = SpareFile(f"{self._root}/{PART}", FILE_MODE)

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write all of `data` under `key`, or nothing; raises KeyExistsError with `if_absent`."""
        target = self._path(key)
        if len(data) > INLINE_BYTES:
            await asyncio.to_thread(self._write, target, data, if_absent=if_absent)
        elif if_absent:
            self._create(target, data)
        else:
            self._write(target, data, if_absent=False)

    async def put_file(
        self, key: str, source: Path, *, move: bool = False, if_absent: bool = False
    ) -> None:
        """Write a file's bytes under `key`; `move`: the file itself becomes the object.

        A file on another file system is copied and, with `move`, removed afterwards.
        """
        target = self._path(key)
        if move and await self._taken(str(source), target, if_absent=if_absent):
            return
        copy = partial(self._copy, str(source), target, move=move, if_absent=if_absent)
        if _size(source) > INLINE_BYTES:
            await asyncio.to_thread(copy)
        else:
            copy()

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes under `key`, or `length` of them from `start`; raises KeyMissingError.

        A range that reaches over the end returns what there is.
        """
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise KeyMissingError(key) from error
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise KeyMissingError(key)
            rest = max(status.st_size - start, 0)
            wanted = rest if length is None else min(length, rest)
            if wanted > INLINE_BYTES:
                return await asyncio.to_thread(_read, descriptor, start, wanted)
            return _read(descriptor, start, wanted)
        finally:
            os.close(descriptor)

    async def fetch(self, key: str) -> Path:
        """Return a local, read-only file with the bytes under `key`; raises KeyMissingError."""
        path = self._path(key)
        if not _is_file(path):
            raise KeyMissingError(key)
        return Path(path)

    async def exists(self, key: str) -> bool:
        """Say whether something lies under `key`."""
        return _is_file(self._path(key))

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below `prefix` (which ends in `/`), sorted."""
        return self.list_names(prefix)

    def list_names(self, prefix: str) -> list[str]:
        """Return what `names` returns; for a caller that leaves the walk to a thread."""
        return sorted(self._walk(self._folder(prefix)))

    async def delete(self, prefix: str) -> None:
        """Remove the key `prefix`, or all keys below it if it ends in `/`; missing: nothing."""
        if prefix.endswith("/"):
            # A run of 10,000 tasks leaves as many files: too long for the caller's event loop.
            await asyncio.to_thread(shutil.rmtree, self._folder(prefix), ignore_errors=True)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(prefix))

    def _path(self, key: str) -> str:
        """Return the file of a key; raises ValueError on a key that could leave the folder."""
        return f"{self._root}/{check_key(key)}"

    def _folder(self, prefix: str) -> str:
        """Return the folder of a prefix, which ends in `/` (or is empty: everything)."""
        return self._path(prefix.removesuffix("/")) if prefix else self._root

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield the keys of all files below a folder, in no order."""
        for parent, folders, files in os.walk(folder):
            if parent == self._root:
                folders[:] = [name for name in folders if name != PART]
                yield from files
            else:
                below = parent[len(self._root) + 1 :]
                yield from (f"{below}/{name}" for name in files)

    def _part(self) -> str:
        """Return a name that no other writer of this folder uses, in any process or container."""
        return f"{self._part_prefix}-{os.getpid()}-{next(self._serial)}"

    def _create(self, target: str, data: bytes) -> None:
        """Write the file that stands by and give it its name; without one, a new file."""
        descriptor = self._spare.take()
        self._spare.make_soon()
        if descriptor is None:
            self._write(target, data, if_absent=True)
            return
        try:
            self._fill(descriptor, data)
            self._publish(partial(name_file, descriptor), target)
        finally:
            os.close(descriptor)

    def _write(self, target: str, data: bytes, *, if_absent: bool) -> None:
        """Write a new file and give it its name."""
        part = self._part()
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)
        with _removed_on_error(part):
            try:
                self._fill(descriptor, data)
            finally:
                os.close(descriptor)
            self._publish(partial(_name, part, if_absent=if_absent), target)

    def _fill(self, descriptor: int, data: bytes) -> None:
        """Write all of the bytes, and bring them to the disk if this store promises that."""
        written = os.write(descriptor, data)
        while written < len(data):  # one write takes at most 2 GiB
            written += os.write(descriptor, memoryview(data)[written:])
        if self._fsync:
            os.fsync(descriptor)

    def _copy(self, source: str, target: str, *, move: bool, if_absent: bool) -> None:
        """Copy a file and give the copy its name; `move`: the source goes."""
        part = self._part()
        with _removed_on_error(part):
            shutil.copyfile(source, part)
            os.chmod(part, FILE_MODE)
            self._sync(part)
            self._publish(partial(_name, part, if_absent=if_absent), target)
        if move:
            os.unlink(source)

    async def _taken(self, source: str, target: str, *, if_absent: bool) -> bool:
        """Take a file as `_take`; waiting for the disk is left to a thread."""
        take = partial(self._take, source, target, if_absent=if_absent)
        return await asyncio.to_thread(take) if self._fsync else take()

    def _take(self, source: str, target: str, *, if_absent: bool) -> bool:
        """Rename a file into the store; False: it lies on another file system."""
        os.chmod(source, FILE_MODE)
        self._sync(source)
        try:
            self._publish(partial(_name, source, if_absent=if_absent), target)
        except KeyExistsError:
            raise
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        return True

    def _publish(self, name: Callable[[str], None], target: str) -> None:
        """Make a whole file appear under its key; folders are made when they are missed.

        `name` gives it a name. Raises KeyExistsError.
        """
        try:
            try:
                name(target)
            except FileNotFoundError:
                os.makedirs(target.rpartition("/")[0], exist_ok=True)
                name(target)
        except FileExistsError as error:
            raise KeyExistsError(target) from error
        if self._fsync:
            self._sync(target.rpartition("/")[0])

    def _sync(self, path: str) -> None:
        """Bring a file's or folder's content to the disk, if this store promises that."""
        if not self._fsync:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _removed_on_error(part: str) -> Iterator[None]:
    """Leave no half-written file behind."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise


def _name(part: str, target: str, *, if_absent: bool) -> None:
    """Give a whole file its final name; `if_absent`: FileExistsError if something has it."""
    if not if_absent:
        os.rename(part, target)
        return
    os.link(part, target)
    os.unlink(part)


def _size(path: Path) -> int:
    """Return a file's size in bytes."""
    return path.stat().st_size


def _is_file(path: str) -> bool:
    """Whether an object lies at this path."""
    return os.path.isfile(path)


def _read(descriptor: int, start: int, length: int) -> bytes:
    """Read `length` bytes from `start`; a file that shrank gives fewer."""
    data = os.pread(descriptor, length, start)
    if len(data) == length:
        return data
    parts = [data]  # one read returns at most 2 GiB
    while data:
        start, length = start + len(data), length - len(data)
        data = os.pread(descriptor, length, start)
        parts.append(data)
    return b"".join(parts)
