"""The zygote as its client sees it: who runs, and who ran."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

ENDS_WITHIN_S = 120.0


class Processes:
    """All processes that one zygote has started."""

    def __init__(self, zygote: asyncio.subprocess.Process) -> None:
        self.codes: dict[int, int] = {}
        """Exit code, or negative signal, of each that has ended."""
        self._zygote = zygote
        self._started: asyncio.Queue[int] = asyncio.Queue()
        self._ended: dict[int, asyncio.Event] = {}
        self._reader = asyncio.create_task(self._read())
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator[Processes]:
        environ = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OPENBLAS_NUM_THREADS": "1",
        }
        zygote = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chaos.zygote",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environ,
        )  # fmt: skip
        made = cls(zygote)
        try:
            yield made
        finally:
            zygote.stdin.close()
            await zygote.wait()
            await made._reader

    async def start(self, part: str, environ: dict, log: Path) -> int:
        """Start a process and return its pid."""
        order = {"part": part, "environ": environ, "log": str(log)}
        async with self._one_at_a_time:
            self._zygote.stdin.write(json.dumps(order).encode() + b"\n")
            return await self._started.get()

    async def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Kill a process and return when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        async with asyncio.timeout(ENDS_WITHIN_S):
            await self._ended[pid].wait()

    def is_running(self, pid: int) -> bool:
        return not self._ended[pid].is_set()

    async def _read(self) -> None:
        async for line in self._zygote.stdout:
            word = json.loads(line)
            if "started" in word:
                self._ended[word["started"]] = asyncio.Event()  # a pid may be one that has ended
                self._started.put_nowait(word["started"])
            elif "ended" in word:
                self.codes[word["ended"]] = word["code"]
                self._ended[word["ended"]].set()
