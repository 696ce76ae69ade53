"""Seeded kills of every part in every phase of a run: each result once, an end, no orphan."""

import asyncio

import pytest
from chaos.siege import besiege, the_seed
from chaos.strikes import PHASES, VICTIMS

KILLS = 126
"""Of each test: every victim, phase and way in which its request can be cut off, once."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("half", [0, 1])
def test_every_result_counts_once_whatever_dies_whenever(half):
    kills = asyncio.run(besiege(the_seed(f"chaos {half}"), VICTIMS, kills=KILLS))
    # Some runs end before a moment comes: the rest of them is enough of each kind.
    assert kills.total() > KILLS * 0.9
    met = {(strike.victim, strike.phase) for strike in kills}
    assert len(met) > len(VICTIMS) * len(PHASES) * 0.9
