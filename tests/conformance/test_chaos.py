"""Seeded kills of every part in every phase of a run: each result once, an end, no orphan."""

import asyncio

import pytest
from chaos.siege import besiege, the_seed
from chaos.strikes import PHASES, VICTIMS

KILLS = 150
"""Of each test. Every victim, phase and way in which its request can be cut off are 126."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("half", [0, 1])
def test_every_result_counts_once_whatever_dies_whenever(half):
    kills = asyncio.run(besiege(the_seed(f"chaos {half}"), VICTIMS, kills=KILLS))
    # Some runs end before a moment comes, more of them on a busy machine.
    assert kills.total() > KILLS * 0.7
    met = {(strike.victim, strike.phase) for strike in kills}
    assert len(met) > len(VICTIMS) * len(PHASES) * 0.75
