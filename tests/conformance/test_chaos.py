"""Seeded kills of every part in every phase of a run: each result once, an end, no orphan."""

import asyncio

import pytest
from chaos.siege import besiege, the_seed
from chaos.strikes import HOWS, PHASES, VICTIMS

KILLS = 150
"""Of each test. Every victim, phase and way in which its request can be cut off are 126."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("half", [0, 1])
def test_every_result_counts_once_whatever_dies_whenever(half):
    kills = asyncio.run(besiege(the_seed(f"chaos {half}"), VICTIMS, kills=KILLS))
    assert kills.total() == KILLS
    assert len(kills) == len(VICTIMS) * len(PHASES) * len(HOWS)
