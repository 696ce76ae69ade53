"""One environment as a cluster runs it: API server, gateway, coordinator, nodes; all can be killed.

The API server is a small one in this process. Everything else is a process with a pod's variables
and mounts, forked by a zygote; whoever kills it starts it again, as a pod starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web
from chaos.pods import NAME, NAMESPACE, Pods
from chaos.processes import Processes
from chaos.tap import Gate, Tap
from cluster.process_builders import a_environment, a_run
from cluster_builders import FakeCluster
from geopod.api import deployment, names
from geopod.api.bundles import digest
from geopod.cluster.kinds import ENVIRONMENTS, RUNS

PATIENCE_S = 240.0
TERMINAL = {"Succeeded", "Failed", "Cancelled"}
FULL = {"GEOPOD_GATEWAY_RESERVE_BYTES": str(1 << 62)}
"""Variables of a gateway whose disk is full."""
FILE = b"that every node stages"


class Api(FakeCluster):
    """An API server whose objects are as old as they are."""

    def _commit(self, kind, key, before, whole):
        if before is None:
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            whole["metadata"]["creationTimestamp"] = created
        return super()._commit(kind, key, before, whole)


class Town:
    """The environment `chaos` with `nodes` nodes."""

    def __init__(self, home: Path, processes: Processes, *, nodes: int = 2) -> None:
        home.mkdir(exist_ok=True)
        self.home, self.nodes = home, nodes
        self.api = Api()
        self.store = home / "store"
        self.pods = Pods(home)
        self.tap = Tap(f"http://127.0.0.1:{self.pods.gateway_port}")
        self._processes = processes
        self._pids: dict[str, int] = {}
        self._serial = 0

    @property
    def uid(self) -> str:
        return self.pods.uid

    @contextlib.asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Live until the block ends; then nothing of it is left."""
        async with self.api.running() as url, self.tap.open():
            self._found(str(url))
            try:
                for part in self.parts():
                    await self.start(part)
                await self.ready()
                yield
            finally:
                await self.end()

    def parts(self) -> list[str]:
        """Return all processes by name."""
        nodes = [f"{kind} {number}" for kind in ("agent", "runner") for number in range(self.nodes)]
        return ["gateway", "coordinator", *nodes]

    # ---- processes

    async def start(self, part: str, **variables: str) -> None:
        """Start a process, or both of a node, as pods do."""
        for each in _named(part):
            environ = self.pods.environ(each) | variables
            kind = each.partition(" ")[0]
            self._pids[each] = await self._processes.start(kind, environ, self._log(each))

    async def kill(self, part: str) -> None:
        """Kill a process, or both of a node: then its scratch is gone too."""
        for each in _named(part):
            await self._processes.kill(self._pids[each])
        if part.startswith("node"):
            shutil.rmtree(self.scratch(int(part.split()[1])), ignore_errors=True)

    async def end(self) -> None:
        """Kill everything, agents before runners."""
        for part in self.parts():
            if part in self._pids:
                await self._processes.kill(self._pids[part])

    def check_alive(self) -> None:
        """See that nothing has ended but what was killed."""
        for part, pid in self._pids.items():
            if not self._processes.is_running(pid):
                code, said = (
                    self._processes.codes[pid],
                    self._log(part).read_text("utf-8", "replace"),
                )
                raise AssertionError(f"{part} ended by itself ({code}): {said[-3000:]}")

    def scratch(self, node: int) -> Path:
        return self.pods.root(f"agent {node}") / deployment.SCRATCH_DIR.lstrip("/")

    @contextlib.asynccontextmanager
    async def without_api(self) -> AsyncIterator[None]:
        """The API server answers nothing, and all watches have ended, until the block ends."""
        self.api.faults = lambda seen: web.Response(status=503, text="away")
        self.api.cut_watches()
        try:
            yield
        finally:
            self.api.faults = lambda seen: None

    @contextlib.asynccontextmanager
    async def gate(self) -> AsyncIterator[Gate]:
        """A gate at which a function can wait."""
        self._serial += 1
        async with Gate(self.home / f"gate-{self._serial}").open() as gate:
            yield gate

    # ---- resources

    def submit(self, text: str, **spec) -> str:
        """Create a run as a user does; returns its name."""
        self._serial += 1
        name = f"run-{self._serial}"
        self.api.put(RUNS, a_run(NAME, text, name=name, **spec))
        return name

    def run(self, name: str) -> dict:
        return self.api.get(RUNS, name)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something about the resources holds."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.api.until(holds)
        except TimeoutError:
            self.check_alive()
            raise AssertionError(f"{what}: {self._words()}") from None

    async def ended(self, name: str) -> dict:
        """Return a run's status at its end."""

        def status() -> dict:
            return self.run(name).get("status") or {}

        await self.until(lambda: status().get("phase") in TERMINAL, f"{name} has no end")
        return status()

    async def ready(self) -> None:
        """Wait until all nodes may work."""
        await self.until(
            lambda: (self._status().get("nodes") or {}).get("ready") == self.nodes, "not ready"
        )

    @property
    def epoch(self) -> int:
        return (self._status().get("coordinator") or {}).get("epoch", 0)

    def _status(self) -> dict:
        return self.api.get(ENVIRONMENTS, NAME).get("status") or {}

    def _log(self, part: str) -> Path:
        return self.home / f"{part.replace(' ', '-')}.log"

    def _words(self) -> str:
        runs = {it["metadata"]["name"]: it.get("status") for it in self.api.all(RUNS)[-2:]}
        told = json.dumps({"environment": self._status(), "runs": runs}, indent=1)
        logs = (
            f"\n---- {log.name}\n{log.read_text('utf-8', 'replace')[-1500:]}"
            for log in sorted(self.home.glob("*.log"))
        )
        return told + "".join(logs)

    def _found(self, api_url: str) -> None:
        """Make the environment; a file that all nodes stage lies in the store already."""
        shared = self.store / names.file_key(digest(FILE), namespace=NAMESPACE)
        shared.parent.mkdir(parents=True)
        shared.write_bytes(FILE)
        manifest = a_environment(NAME, nodes=self.nodes, files=[digest(FILE)])
        self.pods.uid = self.api.put(ENVIRONMENTS, manifest)["metadata"]["uid"]
        self.pods.store_url = self.tap.url
        self.pods.prepare(api_url)


def _named(part: str) -> list[str]:
    kind, _, number = part.partition(" ")
    return [f"agent {number}", f"runner {number}"] if kind == "node" else [part]
