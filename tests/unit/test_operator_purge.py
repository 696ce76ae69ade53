"""Deletion with and without a purge of the store; status of Layers and ComputeRuntimes."""

from __future__ import annotations

from base64 import b64decode

from geopod.api import tokens
from geopod_operator.environment.catalogue import plan_layer, plan_runtime
from geopod_operator.environment.observed import Ref
from operator_builders import NOW, UID, World, a_layer, a_runtime, an_environment

FINALIZER = "geopod.dev/purge"
JOB = Ref("Job", "ndvi-purge")


def purging_world():
    world = World(an_environment(results={"onDelete": "Purge"})).run_until_ready()
    world.environment["metadata"]["deletionTimestamp"] = NOW.isoformat()
    return world


def finalizers(world):
    return world.environment["metadata"].get("finalizers", [])


def test_finalizer_is_there_only_for_a_purge():
    world = World().run_until_ready()
    assert "finalizers" not in world.environment["metadata"]
    world.environment["metadata"]["finalizers"] = ["other.example/keep"]
    world.change(results={"onDelete": "Purge"})
    world.settle()
    assert finalizers(world) == ["other.example/keep", FINALIZER]
    world.change(results={"onDelete": "Retain"})
    world.settle()
    assert finalizers(world) == ["other.example/keep"]


def test_writers_go_before_the_folder():
    world = purging_world()
    world.step()
    assert world.stateful_set is None
    assert world.deployment is None
    assert JOB not in world.objects
    world.step()
    assert JOB in world.objects
    assert finalizers(world) == [FINALIZER]


def test_token_of_the_purge_opens_the_environments_folder_alone():
    world = purging_world()
    world.step()
    world.step()
    token = b64decode(world.objects[Ref("Secret", "ndvi-purge")]["data"]["store-token"]).decode()
    grant = tokens.verify(
        token,
        key_of=lambda it: tokens.key_for(world.settings.signing_key, it),
        now=NOW.timestamp(),
    )
    assert (grant.path, grant.may) == (f"{UID}/", {"get", "delete"})


def test_environment_goes_when_the_folder_is_gone():
    world = purging_world()
    world.step()
    world.step()
    world.objects[JOB]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    outcome = world.step()
    assert finalizers(world) == []
    assert outcome.events == ()
    assert JOB not in world.objects
    assert Ref("Secret", "ndvi-purge") not in world.objects


def test_environment_goes_after_five_minutes_whatever_happened():
    world = purging_world()
    world.step()
    world.step()
    outcome = world.later(301).step()
    assert finalizers(world) == []
    (event,) = outcome.events
    assert (event.type, event.reason) == ("Warning", "PurgeTimedOut")
    assert "They stay in the store" in event.message


def test_purge_command_is_python():
    world = purging_world()
    world.step()
    world.step()
    (container,) = world.objects[JOB]["spec"]["template"]["spec"]["containers"]
    compile(container["command"][-1], "purge", "exec")
    assert "ownerReferences" not in world.objects[JOB]["metadata"]


# ---- catalogue


def test_layer_tells_how_many_timestamps_it_has():
    layer = a_layer()
    status = plan_layer(layer, NOW)
    assert status["timestampCount"] == 1
    assert status["conditions"][0]["type"] == "Accepted"
    layer["status"] = status | {"timestamps": [{"id": "2024", "revision": 3}]}
    assert plan_layer(layer, NOW) is None


def test_changed_layer_is_told_again():
    layer = a_layer()
    layer["status"] = plan_layer(layer, NOW)
    layer["metadata"]["generation"] = 2
    assert plan_layer(layer, NOW)["observedGeneration"] == 2


def test_layer_that_cannot_be_read_as_one_is_refused():
    layer = a_layer()
    layer["spec"]["unheardOf"] = 1
    (condition,) = plan_layer(layer, NOW)["conditions"]
    assert condition["status"] == "False"
    assert "unheardOf" in condition["message"]


def test_runtime_lists_pythons_and_gpus():
    runtime = a_runtime(gpuProfiles=[{"name": "a", "resourceName": "nvidia.com/gpu"}])
    status = plan_runtime(runtime, NOW)
    assert (status["pythons"], status["gpu"]) == ("3.12", "nvidia.com/gpu")
    runtime["status"] = status
    assert plan_runtime(runtime, NOW) is None


def test_broken_runtime_stops_no_plan():
    runtime = a_runtime()
    runtime["spec"]["interpreters"] = []
    world = World(runtime=runtime)
    world.settle()
    assert world.condition("Accepted") == ("False", "RuntimeNotFound")
    assert "interpreters" in world.message("Accepted")


def test_broken_layer_stops_no_plan():
    layer = a_layer()
    layer["spec"]["type"] = "sound"
    world = World(layers=[layer])
    world.settle()
    assert world.condition("Accepted") == ("False", "LayerNotFound")
