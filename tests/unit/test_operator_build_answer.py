"""What an ended builder answers, to whichever of the environments that wait for it asks first."""

import json
from datetime import timedelta

import pytest
from geopod_operator.environment.build_answer import result_of
from operator_builders import NOW, World, an_environment

GOOD = {"ok": True, "bundleSha256": "b" * 64, "lockSha256": "c" * 64, "bundleBytes": 12}


def a_pod(job, phase, **state):
    """The builder's pod, as far as this."""
    metadata = {"name": f"{job}-x", "labels": {"batch.kubernetes.io/job-name": job}}
    status = {"phase": phase, "containerStatuses": [{"name": "upload", "state": state}]}
    return {"metadata": metadata, "status": status}


def a_good_pod(job):
    return a_pod(job, "Succeeded", terminated={"exitCode": 0, "message": json.dumps(GOOD)})


def the_one(world, kind):
    [found] = [it for ref, it in world.objects.items() if ref.kind == kind]
    return found


@pytest.fixture
def world():
    """A world whose builder has just ended."""
    world = World(an_environment(requirements=["xarray"]))
    world.settle()
    ended = {"type": "Complete", "status": "True", "lastTransitionTime": NOW.isoformat()}
    job = the_one(world, "Job")
    job["status"] = {"conditions": [ended]}
    world.pods = [a_good_pod(job["metadata"]["name"])]
    return world


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_pod_that_was_listed_before_it_ended_has_no_answer_yet(phase):
    assert result_of((a_pod("job", phase, running={}),), "job") is None


def test_build_that_ends_while_its_pods_are_listed_is_asked_again_at_once(world):
    job = the_one(world, "Job")["metadata"]["name"]
    world.pods = [a_pod(job, "Running", running={})]
    outcome = world.settle()
    assert world.condition("DependenciesReady") == ("False", "Resolving")
    assert outcome.requeue_after <= 1
    world.pods = [a_good_pod(job)]
    world.later(1)
    world.settle()
    assert world.condition("DependenciesReady") == ("True", "Built")


def test_record_of_a_bundle_is_the_same_whoever_writes_it_and_when(world):
    world.now += timedelta(seconds=7)
    world.settle()
    assert the_one(world, "ConfigMap")["data"]["time"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
