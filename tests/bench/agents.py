"""A thousand agents on real WebSockets and a run of 100,000 tasks in one coordinator.

The agents are played: they answer every lease at once. The coordinator is a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from bench.measure import Row, spread
from coordinator_builders import (
    LINK_KEY,
    ControlClient,
    a_map,
    coordinator_settings,
)
from geopod.api import messages
from geopod.api.bundles import digest
from geopod.api.messages import decode_from_coordinator, encode, hello_mac
from geopod.api.results import Entry, TaskRecord
from geopod.coordinator.settings import CoordinatorSettings, write_settings
from port_builders import free_port

AGENTS, TASKS = 1000, 100_000
MOST_BYTES, LEAST_RATE = 400e6, 5000
DIALS_AT_ONCE = 50
VALUE = b"null"
BLANK = Entry(codec="json", sha256=digest(VALUE), bytes=len(VALUE), key="k")


def many_agents(agents: int = AGENTS, tasks: int = TASKS) -> list[Row]:
    """Return the coordinator's processor time and memory, beside what they may be.

    The played agents share the machine with it: of the time on the clock half is theirs.
    """
    with tempfile.TemporaryDirectory() as folder:
        cost = asyncio.run(_play(Path(folder), agents, tasks))
    limit, size = "limit", f"{agents:,} agents, {tasks:,} tasks in one coordinator"
    times = {"geopod": spread([cost.processor_s]), limit: spread([tasks / LEAST_RATE])}
    sizes = {"geopod": spread([cost.peak_bytes]), limit: spread([MOST_BYTES])}
    notes = {"geopod": f"{cost.seconds:.1f} s on the clock", limit: f"{LEAST_RATE:,} tasks/s"}
    return [
        Row(f"{size}: its processor time", times, {limit: 1.0}, notes=notes),
        Row(f"{size}: memory", sizes, {limit: 1.0}, unit="MB"),
    ]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run cost its coordinator."""

    seconds: float
    """On the clock."""
    processor_s: float
    peak_bytes: float


async def _play(folder: Path, agents: int, tasks: int) -> Cost:
    """Return what a run of so many tasks on so many agents costs."""
    port = free_port()
    settings = coordinator_settings(
        folder, nodes=agents, agent_socket="", agent_port=port, redial_grace_s=30.0
    )
    write_settings(folder / "settings.json", settings)
    command = [sys.executable, "-m", "geopod.coordinator", "--settings", folder / "settings.json"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)  # noqa: ASYNC220  # returns at once
    try:
        await _until_listens(settings)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            played = [Agent(session, port, index) for index in range(agents)]
            gate = asyncio.Semaphore(DIALS_AT_ONCE)
            await asyncio.gather(*(agent.join(gate) for agent in played))
            async with ControlClient(settings) as client:
                started, spent = time.perf_counter(), _processor_s(process.pid)
                state = await client.finish(a_map(tasks))
                cost = Cost(
                    time.perf_counter() - started,
                    _processor_s(process.pid) - spent,
                    peak_bytes(process.pid),
                )
            assert state.succeeded == tasks, state
            await asyncio.gather(*(agent.leave() for agent in played))
    finally:
        process.terminate()
        process.wait()
    return cost


class Agent:
    """One played agent: every task of every lease returns null at once."""

    def __init__(self, session: aiohttp.ClientSession, port: int, index: int) -> None:
        self._session = session
        self._url = f"ws://127.0.0.1:{port}/v1"
        self._index = index
        self._reading: asyncio.Task[None]
        self._socket: aiohttp.ClientWebSocketResponse

    async def join(self, gate: asyncio.Semaphore) -> None:
        """Prove membership and say that the runner is warm."""
        async with gate:
            self._socket = await self._session.ws_connect(self._url, protocols=("geopod.v1",))
            challenge = decode_from_coordinator(await self._socket.receive_bytes())
            instance = f"instance-{self._index}"
            mac = hello_mac(LINK_KEY, challenge.nonce, instance, self._index)
            hello = messages.Hello(mac=mac, instance=instance, index=self._index, python="3.11")
            await self._send(hello)
            welcome = decode_from_coordinator(await self._socket.receive_bytes())
            for partition in welcome.partitions:
                staged = messages.Staged(plan_sha256=welcome.plan_sha256, partition=partition)
                await self._send(staged)
            await self._send(messages.RunnerState(ready=True, python="3.11"))
        self._reading = asyncio.create_task(self._read())

    async def leave(self) -> None:
        """Hang up, so that no socket outlives the measurement."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._socket.close()

    async def _read(self) -> None:
        async for frame in self._socket:
            message = decode_from_coordinator(frame.data)
            if isinstance(message, messages.Assign):
                await self._send(self._answer(message))
            elif isinstance(message, messages.Ping):
                await self._send(messages.Pong(time=message.time))

    def _answer(self, assign: messages.Assign) -> messages.Done:
        records = [
            TaskRecord(
                index=index, attempt=attempt, epoch=assign.epoch, node=self._index, entry=BLANK
            )
            for index, attempt in assign.tasks
        ]
        return messages.Done(
            lease=assign.lease, epoch=assign.epoch, run=assign.run, records=records
        )

    async def _send(self, message: messages.FromAgent) -> None:
        await self._socket.send_bytes(encode(message))


async def _until_listens(settings: CoordinatorSettings) -> None:
    """Wait for the control socket."""
    async with asyncio.timeout(60):
        while not Path(settings.control_socket).exists():  # noqa: ASYNC110, ASYNC240  # another process makes it
            await asyncio.sleep(0.02)


def _processor_s(pid: int) -> float:
    """Return the seconds of processor time that a process has had."""
    words = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> float:
    """Return the high-water mark of a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise LookupError(pid)
