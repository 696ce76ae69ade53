"""The files of a Shapefile: which there are, their version, and whether they are all there.

GDAL reads one that is cut off as a shorter one.
Source: ESRI Shapefile Technical Description (1998); dBASE's header has the sizes of its table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlsplit

from geopod.errors import LayerAccessError
from geopod.layers.remote import RemoteFile
from geopod.layers.together import ask_all

PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
"""What is read."""
_INDEXES = (".qix", ".sbn", ".sbx")
_HEAD_BYTES = {".shp": 100, ".shx": 100, ".dbf": 32}
"""What each part begins with, however little it holds."""
_NOT_THERE = {401, 403, 404, 410}
"""Stores that may not be listed say `forbidden` of what they do not have."""
_EMPTY = 416
"""Of a range: the file ends before it."""


class _Part(NamedTuple):
    name: str
    head: bytes
    size: int
    version: str = ""
    """Of one in a store."""


def is_shapefile(name: str) -> bool:
    """Say whether a name is one that a Shapefile is opened by."""
    return name.lower().endswith((".shp", ".shx"))


def files_beside(path: Path) -> list[Path]:
    """Return where the files of a local Shapefile lie that are read, if they are there."""
    return [path.with_suffix(either) for suffix in PARTS for either in _written(suffix)]


def indexes_beside(path: Path) -> list[Path]:
    """Return where the indexes of a local Shapefile lie, if it has some."""
    return [path.with_suffix(either) for suffix in _INDEXES for either in _written(suffix)]


@contextmanager
def without_indexes(path: Path) -> Iterator[Path]:
    """Yield a path of a local Shapefile beside which GDAL finds no index.

    Other software rewrites a Shapefile and forgets its `.qix` or `.sbn`, and GDAL can neither tell
    a stale one nor be told to leave it: it gets links to the files that are read. Queries then ask
    the box that each record has.
    """
    if not any(index.exists() for index in indexes_beside(path)):
        yield path
        return
    with TemporaryDirectory(prefix="geopod-shapefile-") as folder:
        for part in files_beside(path):
            if part.exists():
                Path(folder, part.name).symlink_to(part.resolve())
        yield Path(folder, path.name)


def remote_version(file: RemoteFile) -> str:
    """Return what changes when any file does that is read of a Shapefile in a store.

    Raises LayerAccessError for a store that does not answer.
    """

    def read(suffix: str) -> str:
        if file.name.lower().endswith(suffix):
            return f" {suffix} {file.version()}"
        found = _read_remote_part(file, suffix, 1)
        return "" if found is None else f" {suffix} {found.version}"

    return "".join(ask_all(read, PARTS, are_remote=True)).lstrip()


def cut_off(place: Path | RemoteFile) -> str | None:
    """Return which part of a Shapefile ends before its header says; None: none does.

    Raises LayerAccessError for a store that does not answer.
    """
    for suffix, head_bytes in _HEAD_BYTES.items():
        for part in _read_parts(place, suffix, head_bytes):
            told = max(head_bytes, _told_size(part.head, is_table=suffix == ".dbf"))
            if part.size < told:
                return (
                    f"{part.name} is cut off: it says that it has {told:,} bytes, "
                    f"and has {part.size:,}"
                )
    return None


def _read_parts(place: Path | RemoteFile, suffix: str, length: int) -> Iterator[_Part]:
    """Yield the parts there are under a suffix, written small or large."""
    if isinstance(place, RemoteFile):
        found = _read_remote_part(place, suffix, length)
        if found is not None:
            yield found
        return
    for either in _written(suffix):
        if (path := place.with_suffix(either)).exists():
            with path.open("rb") as file:
                yield _Part(str(path), file.read(length), path.stat().st_size)


def _written(suffix: str) -> tuple[str, str]:
    return (suffix, suffix.upper())


def _read_remote_part(file: RemoteFile, suffix: str, length: int) -> _Part | None:
    """Return the part that GDAL reads: it asks for the large name if there is no small one."""
    parts = (_read_remote(_beside(file, either), length) for either in _written(suffix))
    return next((part for part in parts if part is not None), None)


def _beside(file: RemoteFile, suffix: str) -> RemoteFile:
    parts = urlsplit(file.href)
    path = str(PurePosixPath(parts.path).with_suffix(suffix))
    return replace(file, href=parts._replace(path=path).geturl(), key=path.lstrip("/"))


def _read_remote(file: RemoteFile, length: int) -> _Part | None:
    try:
        answer = file.probe(length)
    except LayerAccessError as error:
        status = getattr(error.__cause__, "status", None)
        if status in _NOT_THERE:
            return None
        if status == _EMPTY:
            return _Part(file.href, b"", 0, "empty")
        raise
    return _Part(file.href, answer.body, answer.size, answer.version)


def _told_size(head: bytes, *, is_table: bool) -> int:
    if not is_table:
        return 2 * int.from_bytes(head[24:28], "big")
    rows, head_bytes, row_bytes = (
        int.from_bytes(head[start:stop], "little") for start, stop in ((4, 8), (8, 10), (10, 12))
    )
    return head_bytes + rows * row_bytes
