"""Towns under siege side by side: their waits overlap, so that kills cost little time."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaos.processes import Processes
from chaos.strikes import Siege, Strike, draw
from chaos.town import PATIENCE_S, Town
from geopod.backends.local.processes import find_marked

AWAY_S = 30.0
"""How long one town has no API server, while the others are besieged."""


async def besiege(
    seed: str, victims: Sequence[str], *, kills: int, towns: int = 3
) -> Counter[Strike]:
    """Kill so often, in towns of two nodes, and return what was done; fails where it must not.

    One more town sits through a long absence of its API server meanwhile.
    """
    chance = random.Random(seed)  # noqa: S311  # moments, no secrets
    runs = iter(draw(victims, chance, kills=kills))
    with tempfile.TemporaryDirectory(prefix="geopod-chaos-") as folder:
        async with Processes.open() as processes, asyncio.TaskGroup() as group:
            sieges = [
                group.create_task(
                    _besiege(Town(Path(folder, str(number)), processes), chance, runs)
                )
                for number in range(towns)
            ]
            group.create_task(_cut_off(Town(Path(folder, "remote"), processes), chance))
    return sum((each.result() for each in sieges), Counter())


async def _besiege(
    town: Town, chance: random.Random, runs: Iterator[list[Strike]]
) -> Counter[Strike]:
    """Play the next run as long as there is one."""
    async with town.living():
        siege = Siege(town, chance)
        for strikes in runs:
            await siege.play(strikes)
            town.check_alive()
        await town.ready()
        check_store(town)
    await check_orphans(town)
    return siege.kills


async def _cut_off(town: Town, chance: random.Random) -> None:
    """Let a run end while its API server is away, and the next one start as if nothing was."""
    async with town.living():
        siege = Siege(town, chance)
        await siege.outlast(AWAY_S)
        await siege.play([])
        town.check_alive()
        await town.ready()
    await check_orphans(town)


def check_store(town: Town) -> None:
    """See that no broken upload is left of what was killed, and nothing of its tasks on scratch."""
    tasks = [
        path
        for node in range(town.nodes)
        for path in (town.scratch(node) / "tasks").rglob("*")
        if path.is_file()
    ]
    assert not tasks, f"tasks left {tasks}"


async def check_orphans(town: Town) -> None:
    """See that all processes end with what they belong to: the kernel tells them, a bit later."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while find_marked(town.pods.mark):  # noqa: ASYNC110  # nobody tells when they are gone
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"processes are left: {find_marked(town.pods.mark)}") from None


def the_seed(name: str) -> str:
    """Return the seed of a test: the same in every run, unless GEOPOD_SEED asks for another."""
    return f"{name} {os.environ.get('GEOPOD_SEED', '')}"
