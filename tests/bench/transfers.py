"""A result of a gibibyte through the gateway beside what disk and loopback alone take for it.

The gate is the loopback's rate: aiohttp between two processes, with the sha256 that both sides
make. The disk, and a loopback that checks nothing, are shown beside it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import aiohttp
from bench import loopback
from bench.agents import free_port, peak_bytes
from bench.measure import Row, Spread, interleave, spread
from geopod.store.gateway import GatewayStore
from store_builders import SIGNING_KEY, UID, a_token

SIZE = 1 << 30
CHUNK = 1 << 20
ROUNDS = 3
MOST_BYTES = 200e6
DISK, LOOPBACK, UNCHECKED = "disk", "loopback", "loopback, unchecked"
KEY = f"{UID}/runs/1/value"
RATE = 0.6
"""Of the loopback's own."""


def through_gateway(size: int = SIZE) -> list[Row]:
    """Return the times up and down, and the gateway's memory, beside what they may be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        _write(source, size)
        process, url = _start(folder)
        try:
            with loopback.serving(folder) as port:
                times = _times(folder, source, url, f"http://127.0.0.1:{port}/")
            memory = peak_bytes(process.pid)
        finally:
            process.terminate()
            process.wait()
    what = f"{size >> 20:,} MiB"
    gates = {LOOPBACK: 1 / RATE}
    plain = {LOOPBACK: "plain aiohttp, both sides hash", UNCHECKED: "plain aiohttp"}
    notes = {DISK: "written in chunks of 1 MiB and synced", **plain}
    limit = {"geopod": spread([memory]), "limit": spread([MOST_BYTES])}
    return [
        Row(f"{what} to the gateway", times["up"], gates, notes=notes),
        Row(f"{what} from the gateway", times["down"], gates, notes=plain),
        Row(f"{what} through the gateway: its memory", limit, {"limit": 1.0}, unit="MB"),
    ]


def _times(folder: Path, source: Path, url: str, bare: str) -> dict[str, dict[str, Spread]]:
    copy = folder / "copy"
    with asyncio.Runner() as runner:
        store = GatewayStore(url, token=a_token, cache=folder / "cache")
        session = runner.run(_session())

        def up() -> None:
            runner.run(store.put_file(KEY, source))

        def down() -> None:
            runner.run(store.fetch(KEY)).unlink()

        def send(*, is_hashed: bool) -> None:
            runner.run(loopback.send(session, bare, source, is_hashed=is_hashed))

        def receive(*, is_hashed: bool) -> None:
            runner.run(loopback.receive(session, bare, copy, is_hashed=is_hashed))

        calls: dict[str, dict[str, Callable[[], object]]] = {
            "up": {
                "geopod": up,
                LOOPBACK: lambda: send(is_hashed=True),
                UNCHECKED: lambda: send(is_hashed=False),
                DISK: lambda: _copy(source, copy, is_synced=True),
            },
            "down": {
                "geopod": down,
                LOOPBACK: lambda: receive(is_hashed=True),
                UNCHECKED: lambda: receive(is_hashed=False),
                DISK: lambda: _copy(source, copy, is_synced=False),
            },
        }
        times = {way: interleave(pair, rounds=ROUNDS, warm=1) for way, pair in calls.items()}
        runner.run(store.close())
        runner.run(session.close())
    return times


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(auto_decompress=False)


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a gateway over a folder; its answers are synced, as everywhere."""
    (folder / "store").mkdir()
    (folder / "key").write_bytes(SIGNING_KEY)
    port = free_port()
    variables = {
        "GEOPOD_GATEWAY_STORAGE": str(folder / "store"),
        "GEOPOD_GATEWAY_PORT": str(port),
        "GEOPOD_GATEWAY_RESERVE_BYTES": "0",
        "GEOPOD_SIGNING_KEY_FILE": str(folder / "key"),
    }
    command = [sys.executable, "-m", "geopod_gateway"]
    process = subprocess.Popen(command, env={**os.environ, **variables})
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/livez", timeout=1):  # noqa: S310  # our own
                return process, url
        except OSError:
            time.sleep(0.1)  # noqa: TID251  # it starts
    raise TimeoutError("the gateway does not answer")


def _write(path: Path, size: int) -> None:
    block = os.urandom(CHUNK)
    with path.open("wb") as file:
        for _ in range(size // CHUNK):
            file.write(block)


def _copy(source: Path, target: Path, *, is_synced: bool) -> None:
    """Write a file's bytes into a new file, as whoever has the disk to himself does."""
    target.unlink(missing_ok=True)
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        while block := reader.read(CHUNK):
            writer.write(block)
        if is_synced:
            os.fsync(writer.fileno())
