"""`make chaos`: many more kills than a test has time for, and a table of them."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from pathlib import Path

from chaos.siege import besiege, the_seed
from chaos.strikes import PHASES, VICTIMS, Strike

KILLS = 378
"""Each victim in each phase and way three times: seven minutes beside other work."""


def main() -> None:
    """Kill, count, print; fails at the first result that is not there exactly once."""
    parser = argparse.ArgumentParser(prog="chaos")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--towns", type=int, default=4, help="environments side by side")
    parser.add_argument("--write", type=Path, help="page to write the table to")
    options = parser.parse_args()
    seed, began = the_seed("make chaos"), time.monotonic()
    kills = asyncio.run(besiege(seed, VICTIMS, kills=options.kills, towns=options.towns))
    page = render(kills, minutes=(time.monotonic() - began) / 60)
    print(page)
    if options.write is not None:
        options.write.write_text(page, "utf-8")


def render(kills: Counter[Strike], *, minutes: float) -> str:
    """Return the page: kills by victim and phase."""
    counted = Counter((strike.victim, strike.phase) for strike in kills.elements())
    rows = [
        f"| {victim} | " + " | ".join(str(counted[victim, phase]) for phase in PHASES) + " |"
        for victim in VICTIMS
    ]
    head = f"| killed | {' | '.join(PHASES)} |"
    return "\n".join(
        [
            "# Kills",
            "",
            f"{kills.total():,} seeded kills in {minutes:.0f} min, `make chaos`: after each",
            "of them every task of the run had one result, the right one, every run had an end, no",
            "process was left. What the request under way met, a third each: it never arrived; it",
            "was carried out and its answer was lost; it arrived after the kill.",
            "",
            head,
            "|" + " --- |" * (len(PHASES) + 1),
            *rows,
            "",
            "`node`: agent and runner with their scratch. `api`: the API server answers nothing",
            "for a moment. `disk`: the store has no room for a moment. `GEOPOD_SEED=word` draws",
            "other moments. What only a cluster has (pods, a lost machine, the operator, the",
            "builder, the API server for 30 s) is killed by `tests/cluster/test_chaos.py`.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
