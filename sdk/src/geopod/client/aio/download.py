"""Encoded results as files in a folder; what is there already is not fetched again."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from geopod import codecs
from geopod.api.results import SHARED_BYTES, Entry, TaskRecord
from geopod.coordinator.manifest import read_result
from geopod.errors import InvalidInputError
from geopod.store import Store


async def download_results(store: Store, records: Iterable[TaskRecord], folder: Path) -> list[Path]:
    """Write `<task index>.<suffix>` for every task with a result; return the paths, by index.

    A file appears whole or not at all: a download that broke off goes on where it was.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInputError.value(
            name="folder", value=str(folder), why="is no folder", fix="folder='results'"
        ) from error
    written = []
    for record in sorted(records, key=lambda record: record.index):
        entry = record.entry
        if entry is None or (entry.data is None and not entry.key):
            continue
        target = folder / f"{record.index}{codecs.suffix(entry)}"
        if not await asyncio.to_thread(_is_there, target, entry):
            await _write(store, entry, target)
        written.append(target)
    return written


async def _write(store: Store, entry: Entry, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        if entry.data is None and entry.bytes > SHARED_BYTES:
            await asyncio.to_thread(shutil.copyfile, await store.fetch(entry.key), part)
        else:
            await asyncio.to_thread(part.write_bytes, await read_result(store, entry))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _is_there(target: Path, entry: Entry) -> bool:
    """Say whether the file holds this very result."""
    if not target.is_file() or target.stat().st_size != entry.bytes:
        return False
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
