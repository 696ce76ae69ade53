"""How a state looks: a mark, a word and a colour, the same for tasks, nodes, runs and environments.

The colours are of middle lightness, so that they read on white and on black.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from geopod.api.compact import parse_ranges
from geopod.api.runs import EnvironmentState, RunState
from geopod.display.html import badge

GREEN, RED, BLUE, AMBER, GREY = "#2e9e5b", "#d64545", "#3b82d6", "#c07f00", "#8a8a8a"


ENDED = frozenset({"Succeeded", "Failed", "Cancelled"})
"""Phases that a run does not leave."""


class Look(NamedTuple):
    """The mark and the colour of a state; its name is the word."""

    mark: str
    colour: str


LOOKS = {
    "succeeded": Look("✓", GREEN),
    "ready": Look("✓", GREEN),
    "failed": Look("✗", RED),
    "lost": Look("✗", RED),
    "running": Look("▶", BLUE),
    "starting": Look("▶", BLUE),
    "cancelled": Look("⊘", AMBER),
    "suspended": Look("⏸", AMBER),
    "terminated": Look("⏹", GREY),
    "empty": Look("-", GREY),
    "skipped": Look("-", GREY),
    "pending": Look("○", GREY),
    "queued": Look("○", GREY),
}


def look(state: str) -> Look:
    """Return how a state looks; one that is not known is plain."""
    return LOOKS.get(state.lower(), LOOKS["pending"])


def state_badge(state: str) -> str:
    """Return the state as HTML."""
    found = look(state)
    return badge(found.mark, state, found.colour)


def node_states(state: EnvironmentState, nodes: int) -> list[str]:
    """Return what is known of every node: `ready`, `lost`, `starting`, or the rest its phase."""
    others = {"Ready": "ready", "Suspended": "suspended", "Terminated": "terminated"}
    word = others.get(state.phase, "starting")
    if state.phase == "Failed":
        word = "failed"
    lost = set(_indexes(state.lost, nodes))
    return ["lost" if node in lost else word for node in range(nodes)]


def task_states(state: RunState, indexes: Sequence[int]) -> dict[int, str]:
    """Return the state of each of these tasks, as the run's bounded status has it.

    Which of the unfinished tasks run is not in the status: they are `pending` while none runs,
    else `running`. A status that was cut names the first few thousand alone.
    """
    rest = "running" if state.running else "pending"
    if state.phase in ENDED:
        rest = "cancelled" if state.cancelled else state.phase.lower()
    found = dict.fromkeys(indexes, rest)
    most = max(indexes, default=0) + 1
    for text, word in ((state.completed_indexes, "succeeded"), (state.failed_indexes, "failed")):
        found.update((index, word) for index in _indexes(text, most) if index in found)
    for record in state.failures:
        if record.index in found:
            cancelled = record.failure is not None and record.failure.reason == "Cancelled"
            found[record.index] = "cancelled" if cancelled else "failed"
    return found


def _indexes(text: str, most: int) -> list[int]:
    try:
        return parse_ranges(text, limit=most)
    except ValueError:  # a status of another version: what it says is not shown
        return []
