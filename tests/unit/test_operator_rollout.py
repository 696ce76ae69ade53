"""Changed requirements, images and resources reach idle nodes first; lost nodes are replaced."""

from __future__ import annotations

from datetime import timedelta

import pytest
from geopod_operator.environment.facts import indexes, ranges
from operator_builders import NOW, World, a_pod, a_runtime, an_environment


def changed(world, **spec):
    """A ready world whose spec asks for other pods; its pods are those of before."""
    world.change(**spec)
    world.coordinator_says(nodes={"connected": 4, "ready": 4, "idle": 4, "outdated": 4})
    world.settle()
    return world


def with_broken_pods():
    """A world whose nodes' pods cannot start."""
    world = World()
    world.settle()
    world.start_coordinator()
    world.settle()
    world.start_nodes(ready=0)
    for pod in world.pods:
        pod["status"]["phase"] = "Pending"
    return world


def deleted_pods(world):
    return [ref.name for kind, ref in world.log if kind == "delete" and ref.kind == "Pod"]


def test_new_template_changes_no_pod_by_itself():
    world = World().run_until_ready()
    before = world.status["templateHash"]
    changed(world, env=[{"name": "A", "value": "1"}])
    assert world.status["templateHash"] != before
    assert world.stateful_set["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert deleted_pods(world) == []
    assert world.condition("NodesReady") == ("False", "Scaling")
    assert world.condition("Available")[0] == "True"
    assert world.condition("Progressing") == ("True", "RollingOut")
    assert "RolloutStarted" in world.told_reasons


def test_drained_pods_go_by_uid_and_not_too_many_at_once():
    world = changed(World().run_until_ready(), rollout={"maxUnavailable": 2}, largeResult=True)
    changed(world, env=[{"name": "A", "value": "1"}])
    world.coordinator_says(drained="0-2")
    outcome = world.plan()
    assert [it.ref.name for it in outcome.deletes] == ["ndvi-node-0", "ndvi-node-1"]
    assert [it.uid for it in outcome.deletes] == ["pod-0", "pod-1"]


def test_pods_that_are_away_count():
    world = changed(World().run_until_ready(), rollout={"maxUnavailable": 2})
    changed(world, env=[{"name": "A", "value": "1"}])
    world.pods[3]["status"]["conditions"][0]["status"] = "False"
    world.coordinator_says(drained="0-2")
    assert [it.ref.name for it in world.plan().deletes] == ["ndvi-node-0"]


def test_pods_of_the_wanted_template_stay():
    world = changed(World().run_until_ready(), env=[{"name": "A", "value": "1"}])
    world.coordinator_says(drained="0-3")
    world.pods = [
        a_pod(index, template=world.stateful_set["spec"]["template"]) for index in range(4)
    ]
    assert world.plan().deletes == ()


def test_broken_pods_of_an_earlier_template_go_at_once():
    world = with_broken_pods()
    world.change(env=[{"name": "A", "value": "1"}])
    world.later(15).settle()
    world.later(31).settle()
    assert deleted_pods(world) == [f"ndvi-node-{index}" for index in range(4)]


def test_who_mends_a_spec_waits_no_two_minutes_for_broken_pods_to_go():
    world = with_broken_pods()
    for _ in range(20):
        world.later(60).settle()
    world.change(env=[{"name": "A", "value": "1"}])
    world.settle()
    del world.stateful_set["status"]["updatedReplicas"]  # none: Kubernetes leaves it out
    world.later(world.settle().requeue_after).settle()
    assert deleted_pods(world) == [f"ndvi-node-{index}" for index in range(4)]
    assert world.now - NOW <= timedelta(seconds=20 * 60 + 10)


@pytest.mark.parametrize(
    ("restarts", "ready", "goes"),
    [(2, False, True), (1, False, False), (2, True, False)],
    ids=["crashes again and again", "was restarted once", "works"],
)
def test_pod_whose_container_has_just_begun_anew_goes_too(restarts, ready, goes):
    world = World()
    world.settle()
    world.start_coordinator()
    world.settle()
    world.start_nodes(ready=4 if ready else 0)
    again = {
        "restartCount": restarts,
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        "state": {"running": {"startedAt": (world.now + timedelta(seconds=10)).isoformat()}},
    }
    for pod in world.pods:
        pod["status"]["containerStatuses"][1] |= again
    world.change(env=[{"name": "A", "value": "1"}])
    world.later(11).settle()
    del world.stateful_set["status"]["updatedReplicas"]  # none: Kubernetes leaves it out
    world.later(10).settle()
    assert bool(deleted_pods(world)) is goes


def test_roll_out_ends():
    world = changed(World().run_until_ready(), env=[{"name": "A", "value": "1"}])
    world.start_nodes()
    world.settle()
    assert world.condition("Ready") == ("True", "Ready")
    assert world.condition("Progressing") == ("False", "RolloutComplete")
    assert "RolloutComplete" in world.told_reasons


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": 9},
        {"suspend": True},
        {"idle": {"afterSeconds": 60}},
        {"minReadyNodes": 2},
        {"historyLimit": {"succeeded": 1}},
        {"partitioning": {"overlap": 3}},
        {"network": {"mode": "Open"}},
        {"ttlSeconds": 900},
        {"nodeFailurePolicy": "Replace"},
        {"rollout": {"maxUnavailable": 2}},
    ],
    ids=lambda it: next(iter(it)),
)
def test_these_changes_replace_no_node(change):
    world = World().run_until_ready()
    before = world.status["templateHash"]
    world.change(**change)
    world.settle()
    assert world.status["templateHash"] == before


@pytest.mark.parametrize(
    "change",
    [
        {"resources": {"memory": "8Gi"}},
        {"env": [{"name": "A", "value": "1"}]},
        {"secrets": [{"name": "mine"}]},
        {"template": {"labels": {"team": "x"}}},
        {"enableGpu": True},
    ],
    ids=lambda it: next(iter(it)),
)
def test_these_changes_replace_nodes(change):
    profile = {"name": "a", "resourceName": "nvidia.com/gpu"}
    world = World(runtime=a_runtime(gpuProfiles=[profile])).run_until_ready()
    before = world.status["templateHash"]
    world.change(**change)
    world.settle()
    assert world.status["templateHash"] != before


def test_another_image_of_the_runtime_replaces_nodes():
    world = World().run_until_ready()
    before = world.status["templateHash"]
    world.runtime["spec"]["interpreters"][0]["image"] = "other@sha256:" + "1" * 64
    world.settle()
    assert world.status["templateHash"] != before


def test_share_of_unavailable_nodes_is_rounded_up():
    world = changed(World().run_until_ready(), nodes=4)
    changed(world, env=[{"name": "A", "value": "1"}])
    world.coordinator_says(drained="0-3")
    assert len(world.plan().deletes) == 1


# ---- lost nodes


def lost_world(policy="Replace", **changes):
    environment = an_environment(nodeFailurePolicy=policy)
    world = World(environment).run_until_ready()
    pod = world.pods[2]
    pod["metadata"]["deletionTimestamp"] = NOW.isoformat()
    pod["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "lastTransitionTime": NOW.isoformat()},
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": changes.get("reason", "DeletionByTaintManager"),
            "lastTransitionTime": NOW.isoformat(),
        },
    ]
    world.stateful_set["status"] = {"replicas": 4, "readyReplicas": 3}
    world.coordinator_says(
        lost=changes.get("lost", "2"), nodes={"connected": 3, "ready": 3, "idle": 3}
    )
    return world


def test_lost_node_is_told():
    world = lost_world("Wait")
    world.settle()
    assert world.condition("NodesReady") == ("False", "NodeLost")
    assert world.message("NodesReady") == ("nodes 2 do not answer; their partitions run elsewhere.")
    assert "NodeLost" in world.told_reasons


def test_nodes_that_start_are_not_lost():
    world = World()
    world.settle()
    world.start_coordinator(lost="0-3")
    world.settle()
    assert world.condition("NodesReady") == ("False", "Scaling")
    world.start_nodes(ready=0)
    world.settle()
    assert world.condition("NodesReady") == ("False", "Scaling")
    assert "NodeLost" not in world.told_reasons


def test_wait_leaves_the_pod_alone():
    world = lost_world("Wait")
    world.later(10_000).settle()
    assert deleted_pods(world) == []


def test_replace_waits_and_then_forces():
    world = lost_world()
    outcome = world.settle()
    assert deleted_pods(world) == []
    assert outcome.requeue_after <= 120
    outcome = world.later(121).step()
    (delete,) = outcome.deletes
    assert (delete.ref.name, delete.uid, delete.grace_s) == ("ndvi-node-2", "pod-2", 0)
    assert "NodeReplaced" in [it.reason for it in outcome.events]


@pytest.mark.parametrize(
    "changes", [{"reason": "EvictionByEvictionAPI"}, {"lost": "1"}, {"lost": "7"}], ids=str
)
def test_replace_needs_both_to_have_given_up(changes):
    world = lost_world(**changes)
    world.later(1000).settle()
    assert deleted_pods(world) == []


def test_own_time_of_replacing():
    world = lost_world()
    world.environment["spec"]["replaceAfterSeconds"] = 3600
    world.later(3000).settle()
    assert deleted_pods(world) == []
    world.later(700).settle()
    assert deleted_pods(world) == ["ndvi-node-2"]


# ---- requirements


def test_failed_build_changes_no_node():
    runtime = a_runtime()
    world = World(runtime=runtime).run_until_ready()
    before = world.status["templateHash"]
    spec = world.stateful_set["spec"]
    world.change(requirements=["no-such-package"])
    world.settle()
    assert any(ref.kind == "Job" for ref in world.objects)
    assert world.condition("Ready") == ("False", "Resolving")
    assert world.condition("Available") == ("True", "MinimumReady")
    assert world.stateful_set["spec"] == spec
    assert world.status["templateHash"] == before


def test_nodes_may_go_while_a_bundle_is_built():
    world = World().run_until_ready()
    template = world.stateful_set["spec"]["template"]
    world.change(requirements=["xarray"], nodes=2)
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 2
    assert world.stateful_set["spec"]["template"] == template
    world.later(1).settle()


def test_ranges_are_read_and_written():
    assert ranges(frozenset(indexes("0-3,9,11-12"))) == "0-3,9,11-12"
    assert list(indexes("")) == []
