"""What has passed its time: results of runs, uploads that were never completed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path

from geopod.api import names
from geopod.store import KeyMissingError

from geopod_gateway.app.objects import Shelf


async def sweep(shelf: Shelf, *, now: float, upload_keep_s: float) -> int:
    """Remove what has expired, count what is left; return how many runs were removed.

    A run's results expire at the time that lies under `names.expiry_key`, in seconds since the
    epoch; a run without one is kept.
    """
    await asyncio.to_thread(_remove_old, shelf.storage.spool, now - upload_keep_s)
    shelf.room.usage.begin_count()
    usage = await shelf.storage.usage()
    removed = 0
    for tenant in usage:
        for key in await shelf.storage.names(names.expiry_prefix(tenant)):
            if await _expires(shelf, key) <= now:
                await _remove_run(shelf, tenant, key)
                removed += 1
    if removed:
        shelf.room.usage.begin_count()
        usage = await shelf.storage.usage()
        shelf.metrics.expired.inc(removed)
    shelf.room.usage.counted(usage)
    shelf.metrics.stored.set(shelf.room.usage.total)
    shelf.metrics.free.set(shelf.room.free_bytes)
    return removed


async def sweep_for_ever(
    shelf: Shelf, *, first_wait_s: float, every_s: float, upload_keep_s: float
) -> None:
    """Sweep every so often."""
    wait_s = first_wait_s
    while True:
        await asyncio.sleep(wait_s)
        wait_s = every_s
        with contextlib.suppress(OSError):  # the storage may be away for a moment; next time
            await sweep(shelf, now=time.time(), upload_keep_s=upload_keep_s)


async def _expires(shelf: Shelf, key: str) -> float:
    """Return when a run's results expire; what is no number never does."""
    try:
        return float(await shelf.storage.read(key))
    except (KeyMissingError, ValueError):
        return float("inf")


async def _remove_run(shelf: Shelf, tenant: str, key: str) -> None:
    """Remove one run's results and its order; the note about it last, so that a crash repeats."""
    run = key.rpartition("/")[2]
    await shelf.storage.delete(names.run_prefix(tenant, run))
    await shelf.storage.delete(names.order_key(tenant, run))
    await shelf.storage.delete(key)


def _remove_old(folder: Path, before: float) -> None:
    """Remove uploads that nobody has touched since `before`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if _touched(entry) >= before:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)  # noqa: PTH108  # paths of scandir are strings


def _touched(entry: os.DirEntry[str]) -> float:
    """Return when a file, or a folder or its data, was last written."""
    times = [entry.stat(follow_symlinks=False).st_mtime]
    with contextlib.suppress(OSError):
        times.append(os.lstat(f"{entry.path}/data").st_mtime)
    return max(times)
