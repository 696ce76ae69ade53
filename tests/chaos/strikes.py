"""Kills at chosen moments of a run, and what must hold afterwards: each result exactly once."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from chaos.tap import Catch, Gate
from chaos.town import FULL, PATIENCE_S, Town
from geopod.api import names
from geopod.api.bundles import digest, pack_arguments
from geopod.api.results import ManifestChunk
from geopod.coordinator.manifest import accepted_keys, read_result
from geopod.store.directory import DirectoryStore

TASKS = 8
VICTIMS = ("coordinator", "agent", "runner", "node", "gateway", "api", "disk")
"""Processes, both of a node with its scratch, the API server for a moment, the store's disk."""
STAGING, RUNNING = "staging", "running"
PHASES = {
    STAGING: ("GET", "/plans/"),
    "dispatching": ("GET", "/arguments/"),
    RUNNING: ("", ""),
    "committing": ("PUT", "/packs/"),
    "recording": ("PUT", "/manifest/"),
    "finishing": ("PUT", "/expires/"),
}
"""Phase -> the request to the store that only it makes; a running task says so itself."""
HOWS = ("lost", "done", "late")
"""The request never arrives; it is carried out, its answer is lost; it arrives after the kill."""
FUNCTION = """
import socket
def f(number, run):
    if number == 3:
        with socket.socket(socket.AF_UNIX) as gate:
            gate.connect({gate!r})
            gate.recv(1)
    return str(number) * {length}
"""
SHORT, LONG = 1, 6000
"""Characters of a result: committed by the manifest itself, or an object of its own before."""
MOST_STRIKES = 3
"""Of one run: none of its tasks may be unlucky more often than it is tried."""
PATIENT = {"limit": 10, "on": ["Infra"]}


@dataclass(frozen=True)
class Strike:
    """One kill: whom, at which moment, and what becomes of the request that is under way then."""

    victim: str
    phase: str
    how: str


def draw(victims: Sequence[str], chance: random.Random, *, kills: int) -> list[list[Strike]]:
    """Return runs with their strikes: every victim in every phase and way, as often as it goes."""
    deck: list[Strike] = []
    while len(deck) < kills:
        whole = [Strike(*it) for it in ((v, p, h) for v in victims for p in PHASES for h in HOWS)]
        chance.shuffle(whole)
        deck += whole
    runs: list[list[Strike]] = []
    for strike in deck[:kills]:
        run = next((it for it in runs[-MOST_STRIKES:] if _takes(it, strike)), None)
        if run is None:
            runs.append([strike])
        else:
            run.append(strike)
    return runs


def _takes(run: Sequence[Strike], strike: Strike) -> bool:
    return len(run) < MOST_STRIKES and all(it.phase != strike.phase for it in run)


class Siege:
    """Strikes one town, run after run, and keeps count."""

    def __init__(self, town: Town, chance: random.Random) -> None:
        self.town = town
        self.kills: Counter[Strike] = Counter()
        self._chance = chance

    async def play(self, strikes: Sequence[Strike]) -> None:
        """Submit a run, strike while it runs, and check what it left."""
        async with self.town.gate() as gate:
            await self._play({it.phase: it for it in strikes}, gate)

    async def outlast(self, away_s: float) -> None:
        """Submit a run, and check what it left after the API server was away while it ran."""
        async with self.town.gate() as gate:
            name = await self._submit(FUNCTION.format(gate=gate.path, length=SHORT))
            await gate.reached.wait()
            async with self.town.without_api():
                gate.let_go()
                await asyncio.sleep(away_s)
            await check_run(self.town, name, await self.town.ended(name), length=SHORT)

    async def _play(self, strikes: dict[str, Strike], gate: Gate) -> None:
        length = LONG if "committing" in strikes else self._chance.choice((SHORT, LONG))
        caught = {self._catch(strike, gate): strike for strike in strikes.values()}
        if RUNNING not in strikes:
            gate.let_go()
        if STAGING in strikes:
            gate.behind = next(it for it, strike in caught.items() if strike.phase == STAGING)
            await self._lose_a_node()
        name = await self._submit(FUNCTION.format(gate=gate.path, length=length))
        ended = asyncio.ensure_future(self.town.ended(name))
        try:
            await self._strike(caught)
            await check_run(self.town, name, await ended, length=length)
        finally:
            ended.cancel()

    def _catch(self, strike: Strike, gate: Gate) -> Catch:
        if strike.phase == RUNNING:
            return gate
        when = "done" if strike.how == "done" else "asked"
        return self.town.tap.catch(*PHASES[strike.phase], when)

    async def _submit(self, text: str) -> str:
        """Submit a run whose arguments no node has seen yet."""
        town, mark = self.town, self._chance.random()
        blobs = [json.dumps([[index, mark], {}]).encode() for index in range(TASKS)]
        arguments = pack_arguments(blobs)
        key = names.arguments_key(town.uid, digest(arguments))
        await DirectoryStore(town.store).put(key, arguments)
        artifact = {"sha256": digest(arguments), "bytes": len(arguments)}
        mapped = {"artifact": artifact, "count": TASKS}
        return town.submit(text, mode="Map", map=mapped, retries=PATIENT)

    async def _lose_a_node(self) -> None:
        """A node comes back with empty scratch: it stages again."""
        node = f"node {self._chance.randrange(self.town.nodes)}"
        await self.town.kill(node)
        await self.town.start(node)

    async def _strike(self, caught: dict[Catch, Strike]) -> None:
        """Kill at each moment as it comes; each one comes, the last beside the run's end."""
        waiting = {asyncio.ensure_future(one.reached.wait()): one for one in caught}
        try:
            while waiting:
                done, _ = await asyncio.wait(
                    waiting, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
                )
                assert done, f"never came: {[caught[it] for it in waiting.values()]}"
                for each in done:
                    one = waiting.pop(each)
                    await self._kill(one, caught[one])
        finally:
            for each, one in waiting.items():
                each.cancel()
                self.town.tap.disarm(one)

    async def _kill(self, one: Catch, strike: Strike) -> None:
        town, victim, late = self.town, strike.victim, strike.how == "late"
        if victim == "api":
            await self._miss_api(one, late=late)
        elif victim == "disk":
            await self._fill_disk(one, late=late)
        else:
            if victim in {"agent", "runner", "node"}:
                victim = f"{victim} {self._chance.randrange(town.nodes)}"
            epoch = town.epoch
            await town.kill(victim)
            if not late:
                one.let_go(lost=True)
            await town.start(victim)
            if late and victim == "coordinator":
                await town.until(lambda: town.epoch > epoch, "no newer coordinator")
        one.let_go()
        self.kills[strike] += 1

    async def _miss_api(self, one: Catch, *, late: bool) -> None:
        """The API server is away for a moment; `late`: the request waits for its return."""
        async with self.town.without_api():
            if not late:
                one.let_go()
                await asyncio.sleep(self._chance.uniform(0.0, 0.3))

    async def _fill_disk(self, one: Catch, *, late: bool) -> None:
        """The store has no room until it has refused something; `late`: all but this waits."""
        town = self.town
        await town.kill("gateway")
        await town.start("gateway", **FULL)
        one.let_go(lost=not late)
        await asyncio.sleep(self._chance.uniform(0.0, 0.3))
        await town.kill("gateway")
        await town.start("gateway")


async def check_run(town: Town, name: str, status: dict, *, length: int) -> None:
    """See that every task has one record and its own value, and that the status says the same."""
    assert status["phase"] == "Succeeded", status
    assert status["tasks"]["succeeded"] == TASKS, status
    assert status["completedIndexes"] == f"0-{TASKS - 1}", status
    store, run = DirectoryStore(town.store), town.run(name)["metadata"]["uid"]
    values: dict[int, str] = {}
    for key in await accepted_keys(store, town.uid, run):
        for record in msgspec.json.decode(await store.get(key), type=ManifestChunk).records:
            assert record.index not in values, f"task {record.index} has two records"
            assert record.entry is not None, record
            values[record.index] = json.loads(await read_result(store, record.entry))
    assert values == {index: str(index) * length for index in range(TASKS)}
