"""What a client holds of a large run: 100,000 tasks have to fit into 150 MB."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc

import msgspec
from geopod.agent import commit
from geopod.api import names
from geopod.api.bundles import FunctionRef
from geopod.api.results import SHARED_BYTES, Entry, ManifestChunk, TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.client import aio
from geopod.testing import ScriptedBackend

TASKS, CHUNK = 10_000, 1000
BASE_BYTES = 55 << 20
"""What a client takes that has connected and submitted (measured: 52 MiB)."""
LIMIT_BYTES = 150 << 20
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
UID = "2b3c8d6e-1111-2222-3333-444455556666"


def a_record(index):
    entry = Entry(
        codec="json",
        sha256=f"{index:064x}",
        bytes=5,
        key=names.pack_key(UID, UID, f"lease-{index // CHUNK}", 1),
        start=index % CHUNK * 5,
    )
    return TaskRecord(
        index=index, attempt=1, epoch=1, node=index % 4, entry=entry,
        runtime_s=0.001 * index, peak_bytes=25_000_000 + index,
    )  # fmt: skip


async def a_large_run():
    """Return a run that has ended, its records in chunks as a coordinator writes them."""
    backend = ScriptedBackend([1], python=PYTHON)
    store = backend.store(UID)
    for sequence, start in enumerate(range(0, TASKS, CHUNK)):
        records = [a_record(index) for index in range(start, start + CHUNK)]
        chunk = ManifestChunk(
            epoch=1, sequence=sequence, accepts=[] if sequence == 0 else None, records=records
        )
        key = names.manifest_key(UID, UID, 1, sequence)
        await store.put(key, msgspec.json.encode(chunk))
        await store.put(
            records[0].entry.key, b"".join(b"%05d" % (10_000 + i) for i in range(CHUNK))
        )
    function = FunctionRef(format="source", name="f", python=PYTHON, sha256="0", size=1)
    order = RunOrder(
        uid=UID, name="f-1", environment=UID, created=1.0, function=function, mode="Map",
        count=TASKS,
    )  # fmt: skip
    state = RunState(
        uid=UID, name="f-1", environment=UID, phase="Succeeded", total=TASKS, succeeded=TASKS,
        chunks=TASKS // CHUNK,
    )  # fmt: skip
    return aio.Run(backend, order, state)


def test_who_packs_results_and_who_reads_them_agree():
    assert commit.PACK_BYTES == SHARED_BYTES


def test_records_and_results_of_a_large_run_fit():
    async def work():
        run = await a_large_run()
        tracemalloc.start()
        results = await run.results(progress=False)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return results, peak

    results, peak = asyncio.run(work())

    assert len(results) == TASKS
    assert results[1234] == 10_234
    per_task = peak / TASKS
    assert BASE_BYTES + 100_000 * per_task < LIMIT_BYTES, f"{per_task:.0f} bytes per task"
