"""An environment from its creation to its end, as a world of dictionaries sees it."""

from __future__ import annotations

import pytest
from api_builders import IMAGE
from geopod_operator.environment.observed import Ref, ref_of
from geopod_operator.environment.wanted import in_waves
from operator_builders import World, a_layer, a_run, a_runtime, an_environment

STANDING = [
    Ref("ServiceAccount", "ndvi-node"),
    Ref("ServiceAccount", "ndvi-coordinator"),
    Ref("Role", "ndvi-coordinator"),
    Ref("RoleBinding", "ndvi-coordinator"),
    Ref("Secret", "ndvi-link"),
    Ref("NetworkPolicy", "ndvi-coordinator"),
    Ref("NetworkPolicy", "ndvi-nodes"),
    Ref("Service", "ndvi-coordinator"),
    Ref("Deployment", "ndvi-coordinator"),
    Ref("Service", "ndvi-nodes"),
    Ref("PodDisruptionBudget", "ndvi-nodes"),
]


def applied(world):
    return [ref for kind, ref in world.log if kind == "apply"]


def test_coordinator_comes_first_and_no_node_before_the_plan():
    world = World()
    world.settle()
    assert applied(world) == STANDING
    assert world.condition("Ready") == ("False", "Starting")
    world.deployment["status"] = {"availableReplicas": 1}
    world.settle()
    assert world.stateful_set is None
    assert world.condition("Ready") == ("False", "Reconciling")
    world.layers_resolved(status="False", reason="Reading", message="headers are read.")
    world.settle()
    assert world.stateful_set is None
    assert world.condition("Ready") == ("False", "Reading")


def test_pods_are_applied_once_all_that_they_need_is_there_and_bindings_after_their_roles():
    waves = in_waves(World().plan().applies)
    first, *later = ({it["kind"] for it in wave} for wave in waves)
    assert later == [{"RoleBinding"}, {"Deployment"}]
    assert first == {ref.kind for ref in STANDING} - {"RoleBinding", "Deployment"}
    assert sorted(ref_of(it) for wave in waves for it in wave) == sorted(STANDING)


def test_environment_becomes_ready():
    world = World().run_until_ready()
    assert world.condition("Ready") == ("True", "Ready")
    assert world.status["phase"] == "Ready"
    assert world.stateful_set["spec"]["replicas"] == 4
    assert world.status["replicas"] == 4
    assert world.status["templateHash"]
    assert {"CoordinatorReady", "NodesReady"} <= set(world.told_reasons)


def test_what_comes_and_goes_is_told_once_in_five_minutes():
    world = World().run_until_ready()
    for seconds, told in ((60, 1), (60, 1), (301, 2)):
        world.start_nodes(ready=3)
        world.later(seconds).settle()
        world.start_nodes()
        world.settle()
        assert world.condition("NodesReady") == ("True", "AllReady")
        assert world.told_reasons.count("NodesReady") == told


def test_counts_wait_for_the_next_write_and_what_happens_does_not():
    world = World(an_environment(nodes=50)).run_until_ready()
    world.change(nodes=60)
    world.settle()
    world.counts_wait_s = 3.0
    for ready in range(50, 60):
        world.stateful_set["status"] = {"replicas": ready, "readyReplicas": ready}
        assert world.step().status is None
    assert world.settle().requeue_after == 3.0
    assert world.status["replicas"] == 50
    world.start_nodes()
    world.settle()
    assert world.status["replicas"] == 60
    assert world.condition("NodesReady") == ("True", "AllReady")


def test_what_is_ready_costs_nothing():
    world = World().run_until_ready()
    before = len(world.log)
    outcome = world.settle()
    assert world.log[before:] == []
    assert outcome.requeue_after > 60


def test_without_layers_nodes_start_beside_the_coordinator_once_its_pod_is_there():
    world = World(an_environment(layers=[]), layers=[])
    world.settle()
    assert world.stateful_set is None
    world.deployment["status"] = {"replicas": 1}
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 4
    world.start_nodes()
    world.settle()
    assert world.condition("Ready") == ("False", "Starting")
    world.start_coordinator()
    world.settle()
    assert world.condition("Ready") == ("True", "Ready")


def test_files_are_planned_before_a_node_starts():
    world = World(an_environment(layers=[], files=["f-1"]), layers=[])
    world.settle()
    world.deployment["status"] = {"replicas": 1, "availableReplicas": 1}
    world.settle()
    assert world.stateful_set is None
    world.layers_resolved()
    world.settle()
    assert world.stateful_set is not None


@pytest.mark.parametrize("broken", ["layers", "coordinator"])
def test_what_breaks_later_takes_no_node_away(broken):
    world = World().run_until_ready()
    if broken == "layers":
        world.layers_resolved(status="False", reason="SourceChanged", message="other bytes.")
    else:
        world.stop_coordinator()
    world.later(5).settle()
    assert world.stateful_set["spec"]["replicas"] == 4
    world.later(60).settle()
    assert world.condition("Ready")[0] == "False"


def test_other_number_of_nodes_changes_the_number_alone():
    world = World().run_until_ready()
    wanted = world.status["templateHash"]
    world.change(nodes=6)
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 6
    assert world.status["templateHash"] == wanted
    assert "NodesScaled" in world.told_reasons


def test_nodes_go_from_the_top_after_they_are_drained():
    world = World().run_until_ready()
    world.coordinator_says(activeRuns=1)
    world.change(nodes=2)
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 4
    assert world.condition("Progressing") == ("True", "RollingOut")
    world.coordinator_says(drained="3")
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 3
    world.coordinator_says(drained="2-3")
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 2


def test_drain_ends_by_force():
    world = World().run_until_ready()
    world.coordinator_says(activeRuns=1)
    world.change(nodes=2, rollout={"drainSeconds": 60})
    outcome = world.settle()
    assert outcome.requeue_after <= 60
    world.later(61).settle()
    assert world.stateful_set["spec"]["replicas"] == 2


def test_without_runs_nodes_go_at_once():
    world = World().run_until_ready()
    world.change(nodes=1)
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 1


def test_operator_restart_applies_all_once_more_and_changes_nothing():
    world = World().run_until_ready()
    world.applied.clear()
    before = len(world.log)
    generation = world.stateful_set["metadata"]["generation"]
    world.settle()
    assert len(world.log) - before == len(STANDING) + 1
    assert world.stateful_set["metadata"]["generation"] == generation


def test_child_that_somebody_changed_is_applied_again():
    world = World().run_until_ready()
    world.stateful_set["metadata"]["generation"] += 1
    world.stateful_set["spec"]["replicas"] = 9
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 4


def test_child_that_somebody_deleted_comes_back():
    world = World().run_until_ready()
    ref = Ref("Service", "ndvi-coordinator")
    del world.objects[ref]
    world.settle()
    assert ref in world.objects


def test_foreign_object_is_never_touched():
    world = World()
    ref = Ref("Service", "ndvi-coordinator")
    foreign = {"kind": "Service", "metadata": {"name": "ndvi-coordinator", "uid": "x"}, "spec": {}}
    world.objects[ref] = foreign
    world.settle()
    assert applied(world) == []
    assert world.objects[ref] == foreign
    assert world.condition("Accepted") == ("False", "NameConflict")
    assert world.condition("Stalled") == ("True", "NameConflict")
    assert world.told_reasons == ["NameConflict"]
    assert "Service ndvi-coordinator" in world.message("Ready")


def test_an_upgrade_rolls_no_node():
    world = World().run_until_ready()
    wanted = world.status["templateHash"]
    world.settings = world.settings.__class__(
        **{
            **{name: getattr(world.settings, name) for name in world.settings.__slots__},
            "agent_image": "registry.example/geopod-agent@sha256:" + "b" * 64,
        }
    )
    world.settle()
    assert world.status["templateHash"] == wanted
    assert world.condition("NodesReady") == ("True", "AllReady")


def test_spec_is_never_written():
    world = World().run_until_ready()
    spec = dict(world.environment["spec"])
    world.later(10).settle()
    assert world.environment["spec"] == spec
    assert set(world.environment["metadata"]) >= {"name", "uid"}
    assert world.environment["metadata"]["annotations"] == {}


def test_tokens_are_minted_again_after_two_thirds_of_their_life():
    world = World().run_until_ready()
    link = world.objects[Ref("Secret", "ndvi-link")]["data"]
    outcome = world.settle()
    world.later(outcome.requeue_after - 1).settle()
    assert world.objects[Ref("Secret", "ndvi-link")]["data"] == link
    world.later(2).settle()
    minted = world.objects[Ref("Secret", "ndvi-link")]["data"]
    assert minted["store-token"] != link["store-token"]
    assert minted["link-key"] == link["link-key"]
    assert world.condition("Ready") == ("True", "Ready")


def test_gpu_is_the_runners_alone():
    profile = {
        "name": "a100",
        "resourceName": "nvidia.com/gpu",
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
    }
    world = World(an_environment(enableGpu=True), runtime=a_runtime(gpuProfiles=[profile]))
    world.run_until_ready()
    pod = world.stateful_set["spec"]["template"]["spec"]
    agent, runner = pod["containers"]
    assert runner["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in agent["resources"]["limits"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["runtimeClassName"] == "nvidia"
    assert world.status["gpus"] == {"resourceName": "nvidia.com/gpu", "total": 4}
    coordinator = world.deployment["spec"]["template"]["spec"]
    assert "nodeSelector" not in coordinator


def test_layer_secrets_are_for_coordinator_and_agent_alone():
    layer = a_layer(credentials={"secretName": "s3"}, volumeClaim="tiles")
    world = World(layers=[layer]).run_until_ready()
    agent, runner = world.stateful_set["spec"]["template"]["spec"]["containers"]
    coordinator = world.deployment["spec"]["template"]["spec"]["containers"][0]
    for container in (agent, coordinator):
        paths = {it["mountPath"] for it in container["volumeMounts"]}
        assert {"/geopod/layers/s3", "/geopod/volumes/tiles", "/geopod/link"} <= paths
    names = [it["name"] for it in runner["volumeMounts"]]
    assert names == ["bin", "bundle", "socket", "scratch", "runner-tmp", "shared-memory"]


def test_field_that_kubernetes_never_changes_lets_pods_be_adopted():
    world = World().run_until_ready()
    world.stateful_set["spec"]["podManagementPolicy"] = "OrderedReady"
    outcome = world.plan()
    (delete,) = outcome.deletes
    assert (delete.ref.kind, delete.propagation) == ("StatefulSet", "Orphan")
    assert all(it["kind"] != "StatefulSet" for it in outcome.applies)
    world.settle()
    assert world.stateful_set["spec"]["podManagementPolicy"] == "Parallel"


def test_image_of_the_interpreter_is_the_runners():
    world = World().run_until_ready()
    agent, runner = world.stateful_set["spec"]["template"]["spec"]["containers"]
    assert runner["image"] == IMAGE
    assert agent["image"] == world.settings.agent_image


def test_deleted_environment_is_left_to_its_owner_references():
    world = World(runs=[a_run()]).run_until_ready()
    world.environment["metadata"]["deletionTimestamp"] = "2026-11-26T12:00:00Z"
    before = len(world.log)
    world.settle()
    assert world.log[before:] == []


def test_foreign_nodes_are_not_put_to_sleep():
    world = World(an_environment(suspend=True), layers=[])
    ref = Ref("StatefulSet", "ndvi-node")
    foreign = {"kind": "StatefulSet", "metadata": {"name": "ndvi-node"}, "spec": {"replicas": 3}}
    world.objects[ref] = foreign
    world.settle()
    assert world.condition("Accepted") == ("False", "LayerNotFound")
    assert world.objects[ref] == foreign


def test_children_of_an_earlier_environment_are_waited_for():
    world = World().run_until_ready()
    world.environment = an_environment()
    world.environment["metadata"]["uid"] = "another"
    before = len(world.log)
    outcome = world.settle()
    assert world.log[before:] == []
    assert outcome.requeue_after == 2
    world.objects.clear()
    world.applied.clear()
    world.settle()
    assert world.condition("Accepted") == ("True", "Accepted")
    owners = world.deployment["metadata"]["ownerReferences"]
    assert [it["uid"] for it in owners] == ["another"]


def test_ready_environment_stays_so_while_its_coordinator_restarts():
    world = World().run_until_ready()
    world.later(60).stop_coordinator()
    world.stateful_set["status"]["readyReplicas"] = 0  # agents without a coordinator
    world.settle()
    assert world.condition("CoordinatorReady") == ("False", "Starting")
    assert world.condition("Ready") == ("True", "Ready")
    assert world.message("Ready") == "the coordinator restarts; 4 nodes are up."
    world.later(10).deployment["status"] = {"availableReplicas": 1, "replicas": 1}
    world.coordinator_says(nodes={"connected": 0, "ready": 0, "busy": 0, "idle": 0, "outdated": 0})
    outcome = world.settle()
    assert world.condition("NodesReady") == ("False", "Scaling")
    assert world.condition("Ready") == ("True", "Ready")
    assert outcome.requeue_after <= 30
    world.start_nodes()
    world.settle()
    assert world.message("Ready").lower() == "runs can start."


def test_coordinator_that_served_before_is_told_as_restarted():
    world = World().run_until_ready()
    world.stop_coordinator()
    world.later(400).settle()
    world.start_coordinator()
    world.coordinator_says(coordinator={"pod": "c-2", "epoch": 2, "protocol": 1})
    before = len(world.events)
    world.settle()
    assert world.told_reasons[before:] == ["CoordinatorRestarted"]


@pytest.mark.parametrize(
    ("least", "said"),
    [(2, ("True", "MinimumReady")), (3, ("False", "BelowMinimum"))],
    ids=["enough", "too few"],
)
def test_runs_can_start_when_as_many_nodes_are_ready_as_the_spec_wants(least, said):
    world = World(an_environment(minReadyNodes=least)).run_until_ready()
    world.start_nodes(ready=2)
    world.later(1).settle()
    assert world.condition("Available") == said
    assert world.condition("NodesReady") == ("False", "Scaling")


def test_coordinator_that_stays_away_makes_the_environment_unready():
    world = World().run_until_ready()
    world.later(60).stop_coordinator()
    outcome = world.settle()
    assert outcome.requeue_after <= 30
    world.later(31).settle()
    assert world.condition("Ready") == ("False", "Starting")
    assert world.message("Ready") == "the coordinator restarts; 4 nodes are up."


def test_environment_that_was_not_ready_is_none_while_its_coordinator_starts():
    world = World()
    world.settle()
    assert world.condition("Ready") == ("False", "Starting")
    assert world.message("Ready") == "the coordinator starts."
