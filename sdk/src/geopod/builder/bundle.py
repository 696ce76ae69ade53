"""Pack installed packages: a reproducible `tar.zst` whose root is `site-packages`.

The tree was made by code that is not ours (packages may run their own while they are built), so no
link is followed out of it and nothing but plain files and folders is packed.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

ROOT = "site-packages"
BUFFER_BYTES = 1 << 20


class TreeError(Exception):
    """Something in the tree that no bundle holds."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One packed bundle."""

    path: Path
    sha256: str
    size: int


def pack_tree(tree: Path, target: Path) -> Packed:
    """Pack `tree/site-packages` into a new file; the same files give the same bytes.

    Sorted, owner 0, time 0, modes 644 and 755. Raises TreeError for a link or a device.
    """
    import pyarrow as pa  # writes zstd; geopod's image has it for tables anyway

    with (
        opened_folder(tree) as outer,
        opened_folder(ROOT, inside=outer) as root,
        pa.OSFile(str(target), "wb") as file,
        pa.CompressedOutputStream(file, "zstd") as stream,
        tarfile.open(
            fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=BUFFER_BYTES
        ) as archive,
    ):
        for name, descriptor in _members(root):
            _add(archive, name, descriptor)
    with target.open("rb") as packed:
        sha256 = hashlib.file_digest(packed, "sha256").hexdigest()
    return Packed(target, sha256, target.stat().st_size)


def read_plain(path: Path, *, limit: int, tail: bool = False) -> bytes:
    """Return a file's first bytes (`tail`: last) that another container wrote; raises TreeError.

    It could have put a link there, to a file that only this container may read.
    """
    with opened_folder(path.parent) as parent:
        descriptor = _open_plain(path.name, parent)
    with os.fdopen(descriptor, "rb") as file:
        if tail:
            file.seek(max(os.fstat(descriptor).st_size - limit, 0))
        return file.read(limit)


@contextmanager
def opened_folder(path: Path | str, *, inside: int | None = None) -> Iterator[int]:
    """Hold a folder open that is no link; raises TreeError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, dir_fd=inside)
    except OSError as error:
        raise TreeError(f"{path}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _members(root: int) -> Iterator[tuple[str, int]]:
    """Yield name and descriptor of every folder and file, in the order of their names."""
    walk = os.fwalk(".", dir_fd=root, follow_symlinks=False, onerror=_refuse)
    for folder, folders, files, held in walk:
        folders.sort()
        place = f"{ROOT}/{folder.removeprefix('.').removeprefix('/')}".rstrip("/")
        yield place, os.dup(held)
        for name in folders:
            if stat.S_ISLNK(os.stat(name, dir_fd=held, follow_symlinks=False).st_mode):
                raise TreeError(f"{place}/{name} is a link.")
        for name in sorted(files):
            yield f"{place}/{name}", _open_plain(name, held)


def _refuse(error: OSError) -> None:
    raise TreeError(f"{error.filename}: {error.strerror}") from error


def _open_plain(name: str, folder: int) -> int:
    """Open a plain file below an open folder; raises TreeError for anything else."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise TreeError(f"{name}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TreeError(f"{name} is no plain file.")
    return descriptor


def _add(archive: tarfile.TarFile, name: str, descriptor: int) -> None:
    """Add one folder or file and close it; of its own properties only `executable` is kept."""
    with os.fdopen(descriptor, "rb") if _is_file(descriptor) else _Held(descriptor) as file:
        status = os.fstat(descriptor)
        member = tarfile.TarInfo(name)
        if stat.S_ISDIR(status.st_mode):
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
            return
        member.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        member.size = status.st_size
        archive.addfile(member, cast("io.BufferedReader", file))


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


class _Held:
    """A folder's descriptor, closed at the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
