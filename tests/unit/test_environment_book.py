"""The environment's state as watchers are told it: when, and which nodes are lost."""

from __future__ import annotations

import asyncio

import pytest
from geopod.api.control import EnvironmentUpdate, RunUpdate
from geopod.api.runs import EnvironmentState
from geopod.coordinator.environment import EnvironmentBook, describe_environment
from geopod.coordinator.members import Member
from geopod.coordinator.plans import plan_without_layers

uvloop = pytest.importorskip("uvloop", reason="no wheels for every platform")


class Heard:
    """A Watcher that keeps what it hears."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def send(self, message: RunUpdate | EnvironmentUpdate) -> None:
        self.phases.append(str(message.state.phase))


def test_change_that_is_due_at_once_bears_a_second_one_on_uvloop():
    state = EnvironmentState(uid="u", name="ndvi", phase="Starting")
    heard = Heard()

    async def change() -> None:
        book = EnvironmentBook(lambda: state, state_file="")
        book.watch(heard)
        book.changed(within_s=0.0)
        book.changed(within_s=1.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    uvloop.run(change())
    assert heard.phases == ["Starting", "Starting"]


def test_ready_environment_says_why_its_nodes_get_no_work():
    blank = EnvironmentState(uid="e", name="e", nodes=1)
    member = Member(index=0, instance="i1", runner_ready=True)
    plan = plan_without_layers(1)
    state = describe_environment(blank, members=[member], plan=plan, known=(), waits="All waits.")
    assert (state.phase, state.message) == ("Ready", "1 of 1 nodes are ready. All waits.")
    assert state.conditions[-1].message == state.message
