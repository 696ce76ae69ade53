"""Sleep and term: idle, suspended by hand, woken by a run, deleted after the last activity."""

from __future__ import annotations

from datetime import timedelta

import pytest
from geopod_operator.environment.observed import Ref
from operator_builders import NOW, World, a_run, an_environment

IDLE = {"afterSeconds": 600, "policy": "ScaleToZero"}
ENVIRONMENT = Ref("ComputeEnvironment", "ndvi")


def idle_world(policy="ScaleToZero", **spec):
    world = World(an_environment(idle={**IDLE, "policy": policy}, **spec))
    return world.run_until_ready()


def replicas(world):
    return world.stateful_set["spec"]["replicas"]


def coordinators(world):
    return world.deployment["spec"]["replicas"]


def fall_asleep(world):
    world.later(601).settle()
    world.pods = []
    world.stateful_set["status"] = {"replicas": 0}
    world.settle()
    if coordinators(world) == 0:
        world.stop_coordinator()
        world.settle()
    return world


def test_nodes_go_when_nobody_used_them():
    world = idle_world()
    assert world.status["idleSince"] == "2026-11-26T12:00:00Z"
    world.later(530).settle()
    assert replicas(world) == 4
    fall_asleep(world)
    assert (replicas(world), coordinators(world)) == (0, 1)
    assert world.condition("Suspended") == ("True", "IdleTimeout")
    assert world.condition("Ready") == ("False", "Suspended")
    assert "the next run wakes it" in world.message("Ready")
    assert world.status["phase"] == "Suspended"
    assert world.condition("Stalled")[0] == "False"
    assert "Suspended" in world.told_reasons


def test_warning_comes_two_minutes_before():
    world = idle_world()
    wait = world.settle().requeue_after
    world.later(wait).settle()
    assert world.told_reasons.count("IdleWarning") == 1
    assert timedelta(0) < NOW + timedelta(seconds=600) - world.now <= timedelta(seconds=121)
    world.later(30).settle()
    assert world.told_reasons.count("IdleWarning") == 1


def test_a_run_keeps_the_nodes():
    world = idle_world()
    world.coordinator_says(queuedRuns=1)
    world.later(5000).settle()
    assert replicas(world) == 4
    assert "idleSince" not in world.status
    world.coordinator_says(queuedRuns=0, lastActivityTime="2026-11-26T13:23:00Z")
    world.later(60).settle()
    assert replicas(world) == 4


def test_keep_alive_keeps_the_nodes():
    until = (NOW + timedelta(hours=1)).isoformat()
    world = World(
        an_environment(idle=IDLE, annotations={"geopod.dev/keep-alive-until": until})
    ).run_until_ready()
    world.later(3000).settle()
    assert replicas(world) == 4
    world.later(700).settle()
    assert replicas(world) == 0


def test_nonsense_in_keep_alive_is_ignored():
    world = World(
        an_environment(idle=IDLE, annotations={"geopod.dev/keep-alive-until": "tomorrow"})
    ).run_until_ready()
    fall_asleep(world)
    assert replicas(world) == 0


@pytest.mark.parametrize("policy", ["ScaleToZero", "Suspend"])
def test_a_run_wakes_it(policy):
    world = fall_asleep(idle_world(policy))
    assert coordinators(world) == (1 if policy == "ScaleToZero" else 0)
    world.runs = [a_run(age_s=0)]
    writes, told = len(world.log), len(world.events)
    world.settle()
    if policy == "Suspend":
        assert coordinators(world) == 1
        assert replicas(world) == 0
        world.start_coordinator()
        world.settle()
    assert replicas(world) == 4
    assert len(world.log) - writes <= 6
    assert world.condition("Suspended") == ("False", "Awake")
    assert world.status["resumedAt"]
    assert "Resumed" in world.told_reasons
    if policy == "ScaleToZero":
        assert world.told_reasons[told:] == ["Resumed"]


def test_woken_environment_is_idle_anew():
    world = fall_asleep(idle_world())
    world.runs = [a_run()]
    world.settle()
    world.start_nodes()
    world.runs = []
    world.later(10).settle()
    assert replicas(world) == 4
    world.later(700).settle()
    assert replicas(world) == 0


def test_suspended_by_hand_wins_over_runs():
    world = World(runs=[a_run(age_s=0)]).run_until_ready()
    world.change(suspend=True)
    world.settle()
    world.pods = []
    world.stateful_set["status"] = {"replicas": 0}
    world.settle()
    world.stop_coordinator()
    world.settle()
    assert (replicas(world), coordinators(world)) == (0, 0)
    assert world.condition("Suspended") == ("True", "UserRequested")
    accepted = world.runs[0]["status"]["conditions"][0]
    assert (accepted["status"], accepted["reason"]) == ("False", "Suspended")
    assert "phase" not in world.runs[0]["status"]


def test_run_of_a_suspended_environment_ends_at_its_queue_timeout():
    world = World(an_environment(suspend=True), runs=[a_run(age_s=0, queueTimeoutSeconds=300)])
    world.settle()
    assert "phase" not in world.runs[0]["status"]
    world.later(301).settle()
    (_, failed) = world.runs[0]["status"]["conditions"]
    assert (failed["type"], failed["reason"]) == ("Failed", "QueueDeadlineExceeded")
    assert "suspended" in failed["message"]
    assert "RunFailed" in world.told_reasons


def test_suspending_drains_before_nodes_go_and_the_coordinator_goes_last():
    world = World(an_environment(rollout={"drainSeconds": 60})).run_until_ready()
    world.coordinator_says(activeRuns=1)
    world.change(suspend=True)
    world.settle()
    assert (replicas(world), coordinators(world)) == (4, 1)
    assert world.condition("Suspended") == ("True", "UserRequested")
    world.coordinator_says(drained="2-3")
    world.settle()
    assert (replicas(world), coordinators(world)) == (2, 1)
    world.later(61).settle()
    assert (replicas(world), coordinators(world)) == (0, 1)
    world.stateful_set["status"] = {"replicas": 0}
    world.settle()
    assert coordinators(world) == 0


def test_resumed_by_hand_it_does_not_fall_asleep_at_once():
    world = idle_world()
    world.change(suspend=True)
    world.settle()
    world.stateful_set["status"] = {"replicas": 0}
    world.settle()
    world.stop_coordinator()
    world.later(5000).settle()
    world.change(suspend=False)
    world.settle()
    assert world.condition("Suspended") == ("False", "Awake")
    assert coordinators(world) == 1
    world.start_coordinator()
    world.settle()
    assert replicas(world) == 4


def test_terminated_stays_asleep_and_names_who():
    world = World().run_until_ready()
    said = '{"time": "2026-11-26T12:00:00Z", "user": "ada"}'
    world.environment["metadata"]["annotations"]["geopod.dev/terminated"] = said
    world.runs = [a_run()]
    world.settle()
    assert replicas(world) == 0
    assert world.status["phase"] == "Terminated"
    assert world.message("Suspended") == "terminated by ada; only resume() wakes it."


def test_no_nodes_is_asleep_by_hand_with_its_coordinator():
    world = World(an_environment(nodes=0))
    world.settle()
    world.start_coordinator()
    world.settle()
    assert coordinators(world) == 1
    assert world.condition("Suspended") == ("True", "UserRequested")
    assert "scale it up" in world.message("Ready")


def test_ttl_counts_from_the_last_activity():
    world = World(an_environment(ttlSeconds=600)).run_until_ready()
    world.coordinator_says(lastActivityTime="2026-11-26T12:05:00Z")
    world.later(800).settle()
    assert ("delete", ENVIRONMENT) not in world.log
    world.later(120).step()
    assert world.log[-1] == ("delete", ENVIRONMENT)


def test_ttl_waits_for_runs():
    world = World(an_environment(ttlSeconds=600)).run_until_ready()
    world.coordinator_says(activeRuns=1)
    world.later(9000).settle()
    assert ("delete", ENVIRONMENT) not in world.log


def test_idle_policy_delete_deletes():
    world = idle_world("Delete")
    outcome = world.later(601).step()
    assert world.log[-1] == ("delete", ENVIRONMENT)
    assert [it.reason for it in outcome.events] == ["Expired"]


def test_idle_is_off_by_default():
    world = World().run_until_ready()
    world.later(10_000_000).settle()
    assert replicas(world) == 4


def test_asleep_no_pods_are_listed():
    world = fall_asleep(idle_world())
    before = len(world.log)
    for _ in range(5):
        world.later(100).settle()
    assert world.log[before:] == []


def test_refused_spec_still_falls_asleep():
    world = idle_world()
    world.layers = []
    world.settle()
    assert world.condition("Accepted") == ("False", "LayerNotFound")
    assert replicas(world) == 4
    world.later(601).settle()
    assert replicas(world) == 0


def test_refused_spec_still_ends_after_its_term_and_says_so():
    world = World(an_environment(ttlSeconds=600)).run_until_ready()
    world.layers = []
    world.settle()
    assert world.condition("Accepted") == ("False", "LayerNotFound")
    outcome = world.later(601).step()
    assert world.log[-1] == ("delete", ENVIRONMENT)
    assert [it.reason for it in outcome.events] == ["Expired"]


def test_environment_does_not_fall_asleep_before_it_was_ready():
    world = World(an_environment(idle={"afterSeconds": 60}))
    world.settle()
    world.start_coordinator()
    world.settle()
    world.start_nodes(ready=1)
    world.later(600).settle()
    assert replicas(world) == 4
    world.start_nodes()
    world.settle()
    assert world.condition("Suspended") == ("False", "Awake")
    world.later(59).settle()
    assert world.condition("Suspended") == ("False", "Awake")
    world.later(2).settle()
    assert world.condition("Suspended") == ("True", "IdleTimeout")


def test_environment_that_never_gets_ready_falls_asleep_at_its_progress_deadline():
    world = World(an_environment(idle={"afterSeconds": 60}))
    world.settle()
    world.start_coordinator()
    world.settle()
    world.start_nodes(ready=0)
    for _ in range(40):
        world.later(60).settle()
    assert world.condition("Suspended") == ("True", "IdleTimeout")
    assert replicas(world) == 0


def test_coordinator_that_is_away_for_a_moment_makes_nobody_idle():
    world = World(an_environment(idle={"afterSeconds": 60}))
    world.environment["metadata"]["creationTimestamp"] = "2026-11-26T09:00:00Z"
    world.run_until_ready()
    world.later(5)
    world.stop_coordinator()
    world.settle()
    world.later(5).settle()
    assert replicas(world) == 4
