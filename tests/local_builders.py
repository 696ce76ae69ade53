"""Builders of what the local backend keeps and runs, for its tests."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import select
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import msgspec
from geopod.api import names
from geopod.api.bundles import ArgumentsRef, FunctionRef, digest, pack_arguments
from geopod.api.results import ManifestChunk
from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.backends import EnvironmentRecord
from geopod.backends.local import processes
from geopod.backends.local.backend import LocalBackend
from geopod.backends.local.state import StateFolder, StoredEnvironment
from geopod.coordinator.manifest import accepted_keys, read_result

OWN = f"python{sys.version_info.major}.{sys.version_info.minor}"
DEADLINE_S = 180.0
LAST_BREATH_S = 60.0
_NAMES = itertools.count()


def a_record(name: str = "ndvi-env", **fields) -> StoredEnvironment:
    """Return an environment's record as `apply_environment` stores it."""
    return StoredEnvironment(
        **{
            "uid": str(uuid.uuid4()),
            "name": name,
            "spec": {"nodes": 1},
            "created": 1.0,
            "interpreter": "3.12",
            "python": "/usr/bin/python3.12",
            **fields,
        }
    )


def a_source(text: str, *, entry: str = "f") -> FunctionRef:
    """Return a function as source: the text of a module that defines `entry`."""
    pieces = [{"filename": "f.py", "firstLine": 1, "text": text}]
    payload = msgspec.json.encode(
        {"entry": entry, "constants": {}, "imports": [], "pieces": pieces}
    )
    return FunctionRef(
        format="source",
        name=entry,
        python="3.11",
        sha256=digest(payload),
        size=len(payload),
        inline=payload,
    )


def an_order(environment_uid: str, text: str = "def f(params): return 1", **fields) -> RunOrder:
    """Return the order of a run of `f` on every node."""
    return RunOrder(
        **{
            "uid": str(uuid.uuid4()),
            "name": f"f-{next(_NAMES)}",
            "environment": environment_uid,
            "created": time.time(),
            "function": a_source(text),
            **fields,
        }
    )


def open_local(home: Path) -> LocalBackend:
    """Return a backend over a state folder."""
    return LocalBackend(StateFolder(home))


def story(home: Path, act: Callable[[LocalBackend], Awaitable[Any]]) -> Any:
    """Run a coroutine function on a backend over `home`, as one client's whole life."""

    async def tell() -> Any:
        backend = open_local(home)
        try:
            return await act(backend)
        finally:
            await backend.close()

    return asyncio.run(tell())


async def ready(backend: LocalBackend, name: str = "env", **spec) -> EnvironmentRecord:
    """Return an environment whose nodes are ready; one node of the client's own minor."""
    record = await applied(backend, name, **spec)
    state = await until(backend, name, "Ready", "Failed")
    assert state.phase == "Ready", state
    return record


async def asleep(backend: LocalBackend, name: str = "env", **spec) -> EnvironmentRecord:
    """Return an environment that has fallen asleep: it was ready for a moment, easily missed."""
    record = await applied(backend, name, **spec)
    await until(backend, name, "Suspended")
    return record


async def applied(backend: LocalBackend, name: str, **spec) -> EnvironmentRecord:
    sources = spec.pop("sources", None)
    spec = {"nodes": 1, "interpreter": OWN, **spec}
    return await backend.apply_environment(name, spec, labels={}, sources=sources)


async def until(backend: LocalBackend, name: str, *phases: str) -> EnvironmentState:
    """Return the environment's state once it is in one of these phases."""
    async with asyncio.timeout(DEADLINE_S), aclosing(backend.watch_environment(name)) as states:
        async for state in states:
            if state.phase in phases:
                return state
    raise AssertionError(f"{name} is gone")


async def ended(backend: LocalBackend, name: str) -> RunState:
    """Return the run's last state."""
    async with asyncio.timeout(DEADLINE_S), aclosing(backend.watch_run(name)) as states:
        async for state in states:
            if state.finished is not None:
                return state
    raise AssertionError(f"{name} has no end")


def processes_of(uid: str) -> dict[int, str]:
    """Return the living processes of an environment: pid -> command line."""
    found = {}
    for pid in processes.find_marked(uid):
        try:
            status = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if status not in {"Z", "X"}:
            found[pid] = command.strip()
    return found


def left_of(uid: str) -> dict[int, str]:
    """Return the processes of an environment that has ended: those that do not end at once."""
    for pid in processes_of(uid):
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            select.select([handle], [], [], LAST_BREATH_S)
            os.close(handle)
    return processes_of(uid)


async def values_of(backend: LocalBackend, order: RunOrder) -> list[Any]:
    """Return the JSON results of a run in task order, from its manifest alone."""
    store = backend.store(order.environment)
    records = {}
    for key in await accepted_keys(store, order.environment, order.uid):
        chunk = msgspec.json.decode(await store.get(key), type=ManifestChunk)
        for record in chunk.records:
            assert record.index not in records, f"task {record.index} has two records"
            records[record.index] = record
    values = []
    for index in sorted(records):
        entry = records[index].entry
        assert entry is not None, records[index]
        values.append(json.loads(await read_result(store, entry)))
    return values


def map_arguments(count: int) -> tuple[ArgumentsRef, bytes]:
    """Return the encoded arguments of `f(0)`, `f(1)`, …"""
    payload = pack_arguments([json.dumps([[index], {}]).encode() for index in range(count)])
    reference = ArgumentsRef(format="json", sha256=digest(payload), size=len(payload), count=count)
    return reference, payload


async def a_map(backend: LocalBackend, uid: str, text: str, count: int, **fields) -> RunOrder:
    """Return the order of a map over 0 … count - 1, its arguments in the store."""
    reference, payload = map_arguments(count)
    await backend.store(uid).put(names.arguments_key(uid, reference.sha256), payload)
    return an_order(uid, text, mode="Map", arguments=reference, count=count, **fields)


async def submitted(backend: LocalBackend, order: RunOrder) -> RunState:
    """Submit a run and return its first state; nothing watches it afterwards."""
    async with aclosing(backend.submit(order)) as states:
        return await anext(states)


async def finished(backend: LocalBackend, order: RunOrder) -> RunState:
    """Submit a run and return its last state."""
    async with asyncio.timeout(DEADLINE_S), aclosing(backend.submit(order)) as states:
        async for state in states:
            if state.finished is not None:
                return state
    raise AssertionError(f"{order.name} has no end")


async def end_everything(home: Path) -> None:
    """Terminate all environments of a state folder; fails if a process is left."""
    backend = open_local(home)
    for record in await backend.list_environments():
        await backend.terminate_environment(record.name, wait=True)
        assert left_of(record.uid) == {}, f"processes of {record.name} are left"
    await backend.close()
