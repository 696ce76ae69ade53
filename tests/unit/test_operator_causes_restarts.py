"""A container that crashes again and again is told of also while it runs, and not once it works."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta

import pytest
from geopod_operator.environment.crashes import last_end
from operator_builders import NOW, World, a_pod, recorded

SECOND = timedelta(seconds=1)


def running(*, restarts, ran_s, runs_s, exit_code=137, now=NOW, **changes):
    """A container that ended after `ran_s` and runs again for `runs_s`."""
    started = now - runs_s * SECOND
    ended = {
        "exitCode": exit_code,
        "reason": "OOMKilled" if exit_code == 137 else "Error",
        "startedAt": at(started - 5 * SECOND - ran_s * SECOND),
        "finishedAt": at(started - 5 * SECOND),
    }
    return {
        "name": "runner",
        "image": "i",
        "ready": True,
        "restartCount": restarts,
        "lastState": {"terminated": {**ended, **changes}},
        "state": {"running": {"startedAt": at(started)}},
    }


def at(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("state", "is_told"),
    [
        (running(restarts=1, ran_s=1, runs_s=1), False),
        (running(restarts=2, ran_s=1, runs_s=1), True),
        (running(restarts=2, ran_s=1, runs_s=20), True),
        (running(restarts=2, ran_s=1, runs_s=22), False),
        (running(restarts=2, ran_s=45, runs_s=60), True),
        (running(restarts=6, ran_s=0, runs_s=299), True),
        (running(restarts=6, ran_s=0, runs_s=301), False),
        (running(restarts=5000, ran_s=0, runs_s=299), True),
        (running(restarts=6, ran_s=86400, runs_s=599), True),
        (running(restarts=6, ran_s=86400, runs_s=601), False),
        (running(restarts=3, ran_s=1, runs_s=1, exit_code=0), False),
        (running(restarts=3, ran_s=1, runs_s=1, startedAt=None, finishedAt=None), True),
        (running(restarts=2, ran_s=1, runs_s=22, startedAt="1970-01-01T00:00:00Z"), False),
        (running(restarts=3, ran_s=1, runs_s=-300), True),
    ],
    ids=[
        "restarted once, perhaps by chance",
        "crashed twice and just started",
        "not yet longer than it was held back",
        "longer than it was held back",
        "not yet longer than it lived last time",
        "held back for five minutes at most",
        "five minutes have passed",
        "restarted for days",
        "ten minutes are not over",
        "ten minutes are a new beginning",
        "ended as it should",
        "nobody knows how long it lived",
        "could not be started before",
        "a clock that is five minutes ahead",
    ],
)
def test_running_container_is_told_while_it_may_fail_again(state, is_told):
    ended = state["lastState"]["terminated"]
    assert last_end(state, NOW) == (ended if is_told else None)


def test_running_container_that_is_not_ready_is_judged_alike():
    old = running(restarts=1, ran_s=3600, runs_s=7200, exit_code=70) | {"ready": False}
    assert last_end(old, NOW) is None


@pytest.mark.parametrize("name", ["oom", "oom_backoff", "crash", "crash_backoff"])
def test_container_that_is_down_is_told_however_long_ago_it_ran(name):
    for pod in recorded(name)["pods"]:
        runner = next(it for it in pod["status"]["containerStatuses"] if it["name"] == "runner")
        assert last_end(runner, NOW + timedelta(days=9)) is not None


def a_looping_world(state):
    """One node whose runner is killed for its memory again and again."""
    world = World()
    world.change(nodes=1)
    world.settle()
    world.start_coordinator()
    world.settle()
    world.start_nodes(ready=0)
    keep_running(world, state)
    return world


def keep_running(world, state):
    """Let the runner be as it was said, seen from now."""
    (pod,) = world.pods
    agent, _ = a_pod()["status"]["containerStatuses"]
    pod["status"]["containerStatuses"] = [{**agent, "ready": False}, copy.deepcopy(state)]


def test_looks_that_always_meet_a_running_container_tell_of_it():
    """Ten seconds and every half a minute: each time it has just begun anew."""
    world = a_looping_world(running(restarts=2, ran_s=1, runs_s=1))
    told = []
    for restarts in range(2, 8):
        wait = world.settle().requeue_after
        world.later(wait)
        again = running(restarts=restarts, ran_s=1, runs_s=1, now=world.now)
        keep_running(world, again)
        world.settle()
        told.append(world.condition("NodesReady"))
    assert set(told[1:]) == {("False", "OutOfMemory")}
    assert world.message("Ready").startswith("node 0 went over 4Gi ")
    assert [it["reason"] for it in world.status["failures"]] == ["OutOfMemory"]


def test_node_that_works_again_loses_its_trouble():
    world = a_looping_world(running(restarts=3, ran_s=1, runs_s=10, now=NOW))
    world.later(12).settle()
    assert world.condition("NodesReady") == ("False", "OutOfMemory")
    world.later(31).settle()
    assert world.condition("NodesReady") == ("False", "Scaling")
    assert "failures" not in world.status
    world.start_nodes()
    world.settle()
    assert world.condition("Ready") == ("True", "Ready")


def test_ready_pod_has_no_trouble_however_often_it_was_restarted():
    world = a_looping_world(running(restarts=9, ran_s=1, runs_s=1))
    world.later(12).settle()
    world.start_nodes()
    keep_running(world, running(restarts=9, ran_s=1, runs_s=1, now=world.now))
    world.later(1).settle()
    assert world.condition("Ready") == ("True", "Ready")
    assert "failures" not in world.status


def test_failures_end_with_their_pods_trouble_whatever_else_is_wrong():
    world = a_looping_world(running(restarts=3, ran_s=1, runs_s=1))
    world.later(12).settle()
    assert world.status["failures"]
    world.start_nodes()
    world.coordinator_says(lost="0")
    world.later(1).settle()
    assert world.condition("NodesReady")[0] == "False"
    assert "failures" not in world.status


def test_failures_are_forgotten_with_their_cause_when_the_spec_changes():
    world = a_looping_world(running(restarts=3, ran_s=1, runs_s=1))
    world.later(12).settle()
    world.change(minReadyNodes=2)
    world.later(1).settle()
    assert world.condition("NodesReady") == ("False", "Scaling")
    assert "failures" not in world.status
