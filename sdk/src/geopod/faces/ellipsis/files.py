"""File results: to this machine, or to a layer without passing it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from geopod.client.aio import Client, Run
from geopod.codecs.plain import item_bounds
from geopod.coordinator.publication import is_nothing
from geopod.errors import InvalidInputError, NotAFileResultError, ResultExpiredError
from geopod.errors.wording import items_text
from geopod.faces.ellipsis.file_ids import FileId
from geopod.store import KeyMissingError

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a file's bytes lie: in memory, or between two offsets of a file of this machine."""

    source: bytes | Path
    start: int
    stop: int

    def copy_to(self, target: Any) -> None:
        """Write the bytes to a file object, a chunk at a time."""
        with self._open() as file:
            file.seek(self.start)
            left = self.stop - self.start
            while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
                target.write(chunk)
                left -= len(chunk)

    def _open(self) -> BinaryIO:
        source = self.source
        return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


async def find_file(client: Client, file: FileId) -> Stretch:
    """Return where a file result lies, fetched to this machine if it was elsewhere.

    Raises RunNotFoundError, ResultExpiredError, or NotAFileResultError for what is no file.
    """
    run = await client.get_run(file.run)
    if file.node not in run.indexes:
        raise _no_such_file(file, f"run {run.name!r} has {run.total} nodes")
    if (error := await run.exception(file.node)) is not None:
        raise error
    record = await run.record(file.node)
    entry = None if record is None else record.entry
    if entry is None:
        raise _no_such_file(file, f"node {file.node} returned nothing")
    if entry.data is not None:
        source: bytes | Path = entry.data
    else:
        try:
            source = await run.store.fetch(entry.key)
        except KeyMissingError as missing:
            raise ResultExpiredError(
                f"File {file} is not in the store any more.", fixes=("execute again",)
            ) from missing
    start, stop = entry.start, entry.start + entry.bytes
    if (file.part is None) is (entry.codec == "list"):
        raise _no_such_file(file, f"node {file.node} returned {_count(entry.codec)}")
    if file.part is not None:
        bounds = item_bounds(entry.meta, entry.bytes)
        if file.part >= len(bounds):
            raise _no_such_file(file, f"node {file.node} returned {len(bounds)} files")
        start, stop = (entry.start + edge for edge in bounds[file.part][:2])
    return Stretch(source, start, stop)


def _count(codec: str) -> str:
    return "several files, one id each" if codec == "list" else "one file"


def _no_such_file(file: FileId, why: str) -> NotAFileResultError:
    return NotAFileResultError(
        f"There is no file {file}: {why}.", fixes=("take the strings that execute returned",)
    )


def save(found: Stretch, *, path: str | Path | None, memfile: Any) -> None:
    """Write a file to `path`, to `memfile` (rewound afterwards) or to both."""
    if path is not None:
        try:
            with Path(path).open("wb") as target:
                found.copy_to(target)
        except OSError as error:
            raise InvalidInputError.value(
                name="filePath",
                value=str(path),
                why=f"cannot be written: {error.strerror or error}",
            ) from error
    if memfile is not None:
        found.copy_to(memfile)
        memfile.seek(0)


async def add_files(
    client: Client, files: Iterable[FileId], *, path_id: str, timestamp_id: str
) -> None:
    """Publish runs' files as a timestamp of a layer; no byte passes this machine.

    Raises InvalidInputError when a file of a run was left out: a run is published as a whole.
    """
    wanted: dict[str, set[FileId]] = {}
    for file in files:
        wanted.setdefault(file.run, set()).add(file)
    found = [(await client.get_run(uid), chosen) for uid, chosen in wanted.items()]
    for run, chosen in found:
        await _check_whole(run, chosen)
    for run, _ in found:
        await run.add_to_layer((path_id, timestamp_id))


async def _check_whole(run: Run, chosen: set[FileId]) -> None:
    await run.wait()
    entries = {record.index: record.entry for record in await run.records()}
    there = {index for index, entry in entries.items() if entry and not is_nothing(entry)}
    missing = sorted(there - {file.node for file in chosen})
    if missing:
        raise InvalidInputError(
            f"response leaves out what run {run.name!r} returned on nodes {items_text(missing)}; "
            "a run is added as a whole.",
            fixes=(
                "response as execute returned it",
                "f returns None where nothing is to be added",
            ),
            details={"name": "response", "missing": missing},
        )
