"""A run's status is bounded, whatever its tasks are and say; and nothing in it is made up."""

from __future__ import annotations

import msgspec
import pytest
from dispatch_builders import START, World, a_map, an_order
from geopod.api.compact import shorten
from geopod.api.results import Failure, RemoteException, TaskReason, TaskRecord
from geopod.dispatch import RunSubmitted, State, TaskProgressed, compress, run_state, step
from geopod.dispatch.tasks import FAILED, SUCCEEDED
from hypothesis import given, settings
from hypothesis import strategies as st

STATE_BYTES = 16_000
words = st.text(max_size=400) | st.sampled_from(["\x00" * 5000, 'é"\\' * 2000, "🌍" * 3000])


def expand(ranges: str) -> list[int]:
    """Read `0-3,9` back."""
    indexes: list[int] = []
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        indexes += range(int(first), int(last or first) + 1)
    return indexes


@given(st.lists(st.sampled_from([SUCCEEDED, FAILED]), max_size=300).map(bytes))
def test_ranges_say_exactly_which_indexes(status):
    ranges, is_cut = compress(status, SUCCEEDED)
    assert not is_cut
    assert expand(ranges) == [index for index, code in enumerate(status) if code == SUCCEEDED]


@pytest.mark.parametrize("tasks", [2_000, 1_000_000])
def test_ranges_that_do_not_fit_are_cut_between_two_of_them(tasks):
    status = bytes([SUCCEEDED, FAILED]) * (tasks // 2)
    ranges, is_cut = compress(status, SUCCEEDED)
    assert is_cut == (tasks > 2_000) or len(ranges) > 4_000
    assert len(ranges) <= 4096
    shown = expand(ranges)
    assert shown == list(range(0, 2 * len(shown), 2))


@st.composite
def failures(draw):
    exception = None
    if draw(st.booleans()):
        exception = RemoteException(
            type=draw(words), module=draw(words), message=draw(words), text=draw(words)
        )
    return Failure(
        reason=draw(st.sampled_from(list(TaskReason))),
        code="E307",
        fact=draw(words),
        fixes=[draw(words)],
        details={"log": draw(words)},
        exception=exception,
        exit=draw(st.none() | st.integers(0, 255)),
        signal=draw(st.none() | words),
    )


@settings(max_examples=25, deadline=None)
@given(
    tasks=st.sampled_from([1, 12, 5_000, 20_000]),
    kinds=st.lists(failures(), min_size=1, max_size=30),
    spread=st.integers(1, 7),
)
def test_a_status_stays_under_16_kb(tasks, kinds, spread):
    records = tuple(
        TaskRecord(
            index=index,
            attempt=1,
            epoch=1,
            node=index % 1000,
            failure=kinds[index % len(kinds)] if index % (spread + 1) else None,
        )
        for index in range(tasks)
        if index % 3
    )
    state = State(epoch=1, size=1)
    order = a_map("u" * 36, tasks=tasks, name="n" * 63, environment="e" * 36)
    step(state, RunSubmitted(order, finished=records), START)
    status = run_state(state, order.uid, START)
    assert len(msgspec.json.encode(status)) < STATE_BYTES
    assert len(msgspec.msgpack.encode(status)) < STATE_BYTES
    assert len(status.failures) <= 10
    counted = status.pending + status.running + status.succeeded + status.failed + status.cancelled
    assert counted == status.total == tasks


@settings(max_examples=25, deadline=None)
@given(kinds=st.lists(failures(), min_size=1, max_size=40))
def test_a_finished_runs_status_stays_under_16_kb(kinds):
    tasks = 10_000
    records = tuple(
        TaskRecord(
            index=index,
            attempt=1,
            epoch=1,
            node=1,
            failure=kinds[index % len(kinds)] if index % 2 else None,
        )
        for index in range(tasks)
    )
    state = State(epoch=1, size=1)
    step(state, RunSubmitted(a_map(tasks=tasks), finished=records), START)
    status = run_state(state, "run", START)
    assert status.phase in ("Failed", "Cancelled")
    assert status.message
    assert len(msgspec.json.encode(status)) < STATE_BYTES


@given(text=words, limit=st.integers(10, 300))
def test_shortened_text_fits_inside_json(text, limit):
    short = shorten(text, limit)
    assert len(msgspec.json.encode(short)) - 2 <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_progress_is_that_of_the_slowest_task():
    world = World(nodes=2)
    world.submit(an_order())
    world.do(TaskProgressed(0, world.lease_of(0), 1, 0, 0.9, "band 9"))
    world.do(TaskProgressed(1, world.lease_of(1), 1, 1, 0.62, "band 4"))
    assert world.read().progress == "62 % band 4"
    world.finish(1)
    assert world.read().progress == "90 % band 9"


@pytest.mark.parametrize("fraction", [None, float("nan"), 7.0, -1.0])
def test_progress_without_a_fraction_counts_as_none(fraction):
    world = World(nodes=1)
    world.submit(an_order())
    world.do(TaskProgressed(0, world.lease_of(0), 1, 0, fraction, "reading"))
    assert world.read().progress == "0 % reading"


def test_failures_of_a_status_carry_no_traceback():
    world = World(nodes=1)
    world.submit(an_order())
    world.fail(0, message="x" * 5000)
    failure = world.read().failures[0].failure
    assert len(failure.exception.message) < 200
    assert failure.exception.text == ""
