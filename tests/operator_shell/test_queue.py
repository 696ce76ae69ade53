"""The queue: one key at a time, debounced, backed off, never more than a few."""

import asyncio

import pytest
from geopod.cluster.problems import ApiError
from geopod.errors import ClusterUnreachableError, ConfigError
from geopod_operator.work import Agenda, Pace, WorkQueue, is_unanswered

A, B = ("ComputeEnvironment", "geo", "a"), ("ComputeEnvironment", "geo", "b")
PACE = Pace(debounce_s=0.2, parallel=2, backoff_s=1, backoff_max_s=300, stuck_s=120)


@pytest.fixture
def agenda():
    return Agenda(PACE)


def test_key_waits_for_the_debounce_and_runs_once(agenda):
    agenda.add(A, 0.0)
    agenda.add(A, 0.1)
    assert agenda.take(0.19) == []
    assert agenda.take(0.2) == [A]
    assert agenda.take(9.0) == []


def test_key_at_work_is_not_started_twice_but_again_afterwards(agenda):
    agenda.add(A, 0.0)
    agenda.take(1.0)
    agenda.add(A, 1.5)
    assert agenda.take(9.0) == []
    agenda.finish(A, 9.0, requeue_s=None)
    assert agenda.take(9.0) == [A]


def test_finished_key_comes_back_after_its_time(agenda):
    agenda.add(A, 0.0, after_s=0)
    agenda.take(0.0)
    agenda.finish(A, 1.0, requeue_s=30)
    assert agenda.next_at() == 31.0
    agenda.add(A, 5.0)
    assert agenda.take(5.2) == [A]


def test_only_a_few_run_in_parallel(agenda):
    for number in range(5):
        agenda.add(("ComputeEnvironment", "geo", f"e{number}"), 0.0)
    first = agenda.take(1.0)
    assert len(first) == PACE.parallel
    assert agenda.next_at() is None
    agenda.finish(first[0], 1.0, requeue_s=None)
    assert len(agenda.take(1.0)) == 1
    assert agenda.depth(1.0) == 2


def test_failures_back_off_to_a_limit_and_are_forgotten_on_success(agenda):
    waits = []
    now = 0.0
    agenda.add(A, now, after_s=0)
    for _ in range(12):
        assert agenda.take(now) == [A]
        waits.append(agenda.fail(A, now))
        now += waits[-1]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == 300
    agenda.take(now)
    agenda.finish(A, now, requeue_s=0)
    agenda.take(now)
    assert agenda.fail(A, now) == 1


def test_server_that_is_away_is_asked_again_within_half_a_minute(agenda):
    agenda.add(A, 0.0, after_s=0)
    for _ in range(12):
        agenda.take(float("inf"))
        longest = agenda.fail(A, 0.0, is_answered=False)
    assert longest == 30


def test_outage_says_nothing_about_an_object(agenda):
    agenda.add(A, 0.0, after_s=0)
    for _ in range(12):
        agenda.take(float("inf"))
        agenda.fail(A, 0.0, is_answered=False)
    agenda.take(float("inf"))
    assert agenda.fail(A, 0.0) == 1
    agenda.take(float("inf"))
    assert agenda.fail(A, 0.0, is_answered=False) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_front_of_a_server_that_is_away_is_no_answer(status):
    assert is_unanswered(ApiError(status, "ServiceUnavailable", "no server"))
    assert not is_unanswered(ApiError(500, "InternalError", "the field is not declared"))


def test_back_off_survives_thousands_of_failures(agenda):
    agenda.add(A, 0.0, after_s=0)
    for _ in range(2000):
        agenda.take(float("inf"))
        assert agenda.fail(A, 0.0) <= 300


def test_long_line_that_moves_is_not_stuck_and_one_that_stands_is(agenda):
    agenda.add(A, 0.0)
    agenda.add(B, 0.0)
    assert not agenda.is_stuck(100.0)
    agenda.take(100.0)
    agenda.finish(A, 150.0, requeue_s=None)
    agenda.add(A, 10.0)
    assert not agenda.is_stuck(200.0)
    assert agenda.oldest_s(200.0) > 120
    assert agenda.is_stuck(221.0)


def test_queue_knows_a_server_that_is_away_from_one_that_refuses():
    longest = {}

    async def work(key):
        if key == A:
            raise ClusterUnreachableError("away")
        raise ConfigError("refused")

    async def drive():
        pace = Pace(debounce_s=0, backoff_s=2, backoff_max_s=200, unanswered_max_s=1)
        queue = WorkQueue(work, pace=pace, on_finished=finished, clock=lambda: 0.0)
        queue.add(A)
        queue.add(B)
        running = asyncio.create_task(queue.run())
        async with asyncio.timeout(180):
            while len(longest) < 2:
                await done.wait()
                done.clear()
        running.cancel()
        return queue.agenda._due

    def finished(key, result, took_s):
        longest[key] = result
        done.set()

    done = asyncio.Event()
    assert asyncio.run(drive()) == {A: 1.0, B: 2.0}
    assert set(longest.values()) == {"failed"}


def test_queue_tries_again_after_a_bug_and_goes_on_with_the_others():
    done = []

    async def work(key):
        done.append(key)
        if key == A and done.count(A) == 1:
            raise ValueError("a bug")
        if done.count(A) == 2 and B in done:
            finished.set()

    async def drive():
        queue = WorkQueue(work, pace=Pace(debounce_s=0, backoff_s=0.01))
        queue.add(A)
        queue.add(B)
        running = asyncio.create_task(queue.run())
        async with asyncio.timeout(180):
            await finished.wait()
        running.cancel()

    finished = asyncio.Event()
    asyncio.run(drive())
    assert sorted(done) == [A, A, B]
