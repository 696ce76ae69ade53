"""The coordinator's planner: what it makes of a planning process that dies or fails."""

from __future__ import annotations

import asyncio
import sys

import pytest
from geopod.api.plan import encode_plan
from geopod.coordinator import patience
from geopod.coordinator.plans import TRIES, PlanFailed, Planner, plan_without_layers
from geopod.errors import GatewayUnavailableError
from geopod.store.refusals import refusal
from geopod.testing import MemoryStore

PLAN = encode_plan(plan_without_layers(2).plan).decode()
SCRIPT = """
import os, pathlib, signal, sys
sys.stdin.read()
tries = pathlib.Path({tries!r})
count = len(tries.read_text()) if tries.exists() else 0
tries.write_text("x" * (count + 1))
if count < {deaths}:
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit({code}) if {code} else print('{{"plan": ' + {plan!r} + '}}')
"""


@pytest.mark.parametrize(
    ("deaths", "code", "asked", "made"),
    [(0, 0, 1, True), (1, 0, 2, True), (TRIES, 0, TRIES, False), (0, 3, 1, False)],
    ids=["answers", "killed once", "always killed", "fails by itself"],
)
def test_killed_planning_is_asked_again_and_a_failed_one_is_not(
    tmp_path, deaths, code, asked, made
):
    tries = tmp_path / "tries"
    script = SCRIPT.format(tries=str(tries), deaths=deaths, code=code, plan=PLAN)
    planner = Planner(MemoryStore(), "e", command=(sys.executable, "-c", script))

    plan = asyncio.run(planner.make({}, nodes=2, anew=False))

    assert len(tries.read_text()) == asked
    assert isinstance(plan, PlanFailed) is not made


def test_plan_from_before_a_refresh_is_not_taken_for_one_after_it(tmp_path):
    tries, store = tmp_path / "tries", MemoryStore()
    script = SCRIPT.format(tries=str(tries), deaths=0, code=0, plan=PLAN)
    asked = []
    for refreshed in ("", "", "2", "2", "3"):
        planner = Planner(store, "e", command=(sys.executable, "-c", script))  # each a new process
        asyncio.run(planner.make({}, nodes=2, anew=False, refreshed=refreshed))
        asked.append(len(tries.read_text()))
    assert asked == [1, 1, 2, 2, 3]


def test_store_that_stays_full_is_told_in_the_end(monkeypatch):
    monkeypatch.setattr(patience, "PAUSE_S", (0.01, 0.02))
    asked = []

    async def put():
        asked.append(1)
        raise refusal("PUT", "k", 507, "DiskFull: no room.", ours=True)

    with pytest.raises(GatewayUnavailableError, match="507"):
        asyncio.run(patience.until_served(put, "No room", patience_s=0.1))
    assert 2 < len(asked) < 12


def test_plan_waits_for_room_in_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "PAUSE_S", (0.0, 0.0))
    store = MemoryStore()
    full, put = [refusal("PUT", "k", 507, "DiskFull: no room.", ours=True)] * 2, store.put

    async def put_later(key, data, *, if_absent=False):
        if full:
            raise full.pop()
        await put(key, data, if_absent=if_absent)

    monkeypatch.setattr(store, "put", put_later)
    script = SCRIPT.format(tries=str(tmp_path / "tries"), deaths=0, code=0, plan=PLAN)
    planner = Planner(store, "e", command=(sys.executable, "-c", script))

    plan = asyncio.run(planner.make({}, nodes=2, anew=False))

    assert asyncio.run(planner.read(plan.sha256)) == plan
    assert not full
