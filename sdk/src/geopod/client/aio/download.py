"""Encoded results as files in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geopod import codecs
from geopod.api.results import TaskRecord
from geopod.coordinator.manifest import read_result
from geopod.store import Store


async def download_results(store: Store, records: Iterable[TaskRecord], folder: Path) -> list[Path]:
    """Write `<task index>.<suffix>` for every task with a result; return the paths, by index."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for record in sorted(records, key=lambda record: record.index):
        entry = record.entry
        if entry is None or not (entry.key or entry.data):
            continue
        target = folder / f"{record.index}{codecs.suffix(entry)}"
        target.write_bytes(await read_result(store, entry))
        written.append(target)
    return written
