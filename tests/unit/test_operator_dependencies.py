"""One builder Job per key: what is built, what failed, what is tried again."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import timedelta

import pytest
from geopod.api import tokens
from geopod_operator.environment.observed import Ref, Settings
from geopod_operator.environment.sweep import sweep_builds
from operator_builders import NAMESPACE, World, a_layer, a_runtime, an_environment

GOOD = {"ok": True, "bundleSha256": "b" * 64, "lockSha256": "c" * 64, "bundleBytes": 12}


def world_with(*requirements, **more):
    return World(an_environment(requirements=list(requirements)), **more)


def job_of(world):
    return next((it for ref, it in world.objects.items() if ref.kind == "Job"), None)


def record_of(world):
    return next((it for ref, it in world.objects.items() if ref.kind == "ConfigMap"), None)


def end(world, result, *, ok=False, exit_code=3):
    """The Job has ended with this termination message."""
    job = job_of(world)
    job["status"] = {
        "conditions": [
            {
                "type": "Complete" if ok else "Failed",
                "status": "True",
                "lastTransitionTime": world.now.isoformat(),
            }
        ]
    }
    name = job["metadata"]["name"]
    message = result if isinstance(result, str) else json.dumps(result)
    ended = {"exitCode": 0 if ok else exit_code, "message": message}
    world.pods = [
        {
            "metadata": {
                "name": f"{name}-x",
                "labels": {"batch.kubernetes.io/job-name": name},
                "creationTimestamp": world.now.isoformat(),
            },
            "status": {
                "phase": "Succeeded" if ok else "Failed",
                "containerStatuses": [{"name": "upload", "state": {"terminated": ended}}],
            },
        }
    ]


def test_nothing_to_install_needs_no_job():
    world = World()
    world.settle()
    assert job_of(world) is None
    assert world.condition("DependenciesReady") == ("True", "NotNeeded")


def container_of(found, name):
    pod = found["spec"]["template"]["spec"]
    return next(it for it in pod["containers"] if it["name"] == name), pod


def test_bundle_with_an_image_is_mounted_and_not_unpacked():
    runtime = a_runtime(bundleRegistry="r.example/b", imagePullSecrets=[{"name": "login"}])
    world = World(an_environment(requirements=["six"]), runtime=runtime)
    world.settle()
    upload, pod = container_of(job_of(world), "upload")
    assert {"name": "GEOPOD_BUNDLE_REGISTRY", "value": "r.example/b"} in upload["env"]
    [login] = [it["name"] for it in pod["volumes"] if it.get("secret", {}).get("optional")]
    assert {"name": login, "mountPath": "/geopod/registry/login", "readOnly": True} in upload[
        "volumeMounts"
    ]
    image = f"r.example/b@sha256:{'e' * 64}"
    end(world, {**GOOD, "bundleImage": image}, ok=True)
    world.settle()
    world.start_coordinator()
    world.settle()
    nodes = next(it for ref, it in world.objects.items() if ref.kind == "StatefulSet")
    agent, pod = container_of(nodes, "agent")
    [volume] = [it for it in pod["volumes"] if it["name"] == "bundle"]
    assert volume["image"] == {"reference": image, "pullPolicy": "IfNotPresent"}
    variables = {it["name"]: it.get("value") for it in agent["env"]}
    assert not variables["GEOPOD_BUNDLE_KEY"]
    for container in pod["containers"]:
        [place] = [it for it in container["volumeMounts"] if it["name"] == "bundle"]
        assert place == {"name": "bundle", "mountPath": "/geopod/env", "readOnly": True}


def test_bundle_that_no_registry_takes_is_unpacked_and_the_condition_says_why():
    world = World(an_environment(requirements=["six"]), runtime=a_runtime(bundleRegistry="r/b"))
    world.settle()
    problem = "bundleRegistry 'https://me:secret-word@r/b' does not answer: Cannot connect."
    end(world, {**GOOD, "registryProblem": problem}, ok=True)
    world.settle()
    world.start_coordinator()
    world.settle()
    assert world.condition("DependenciesReady") == ("True", "Built")
    [told] = [it for it in world.status["conditions"] if it["type"] == "DependenciesReady"]
    assert "me:***@r/b' does not answer: Cannot connect. Nodes unpack" in told["message"]
    assert "geopod.dev/refresh" in told["message"]
    agent, pod = container_of(world.stateful_set, "agent")
    assert {it["name"]: it.get("value") for it in agent["env"]}["GEOPOD_BUNDLE_SHA256"] == "b" * 64
    assert not [it for it in pod["volumes"] if "image" in it]


def test_requirements_are_built_once():
    world = world_with("Xarray >=2024", "numpy")
    world.settle()
    job = job_of(world)
    assert world.condition("DependenciesReady") == ("False", "Resolving")
    assert "ownerReferences" not in job["metadata"]
    end(world, GOOD, ok=True)
    world.settle()
    record = record_of(world)
    assert record["immutable"] is True
    assert record["data"]["bundleSha256"] == "b" * 64
    assert world.condition("DependenciesReady") == ("True", "Built")
    assert world.status["runtime"]["bundleKey"] == record["data"]["key"]
    assert world.status["runtime"]["lockSha256"] == "c" * 64
    assert job_of(world) is None, "its pod would keep the tree on a machine's disk"
    assert [ref.name for ref in world.objects if ref.kind == "Secret"] == ["ndvi-link"]
    assert "DependenciesResolved" in world.told_reasons


def test_record_of_a_bundle_is_acted_upon_at_once():
    world = world_with("xarray")
    world.settle()
    end(world, GOOD, ok=True)
    outcome = world.step()
    assert record_of(world) is not None
    assert outcome.requeue_after <= 1


def test_nodes_get_the_bundle():
    world = world_with("xarray")
    world.settle()
    end(world, GOOD, ok=True)
    world.settle()
    world.start_coordinator()
    world.settle()
    agent = world.stateful_set["spec"]["template"]["spec"]["containers"][0]
    values = {it["name"]: it.get("value") for it in agent["env"]}
    assert values["GEOPOD_BUNDLE_SHA256"] == "b" * 64
    assert values["GEOPOD_BUNDLE_KEY"] == world.status["runtime"]["bundleKey"]


def with_bundle():
    """A world whose nodes run on a bundle."""
    world = world_with("xarray")
    world.settle()
    end(world, GOOD, ok=True)
    world.settle()
    world.start_coordinator()
    world.settle()
    world.start_nodes(ready=0)
    world.settle()
    return world


def miss(world, index, *, ago_s=0):
    """The agent of a node has not found its bundle in the store."""
    time = (world.now - timedelta(seconds=ago_s)).isoformat()
    ended = {"exitCode": 66, "finishedAt": time, "reason": "Error", "message": "not in the store"}
    agent = world.pods[index]["status"]["containerStatuses"][0]
    agent |= {
        "lastState": {"terminated": ended},
        "restartCount": 1,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }


def test_bundle_that_the_store_has_lost_is_built_again():
    world = with_bundle().later(35)
    before = record_of(world)
    miss(world, 0)
    world.settle()
    assert record_of(world) is None
    assert job_of(world) is not None
    assert world.condition("DependenciesReady") == ("False", "Resolving")
    assert world.stateful_set is not None, "nodes that run stay"
    stuck = world.pods[0]["metadata"]["name"]
    pods, world.pods = world.pods, []
    world.later(20)
    end(world, {**GOOD, "bundleSha256": "d" * 64}, ok=True)
    world.pods += pods
    world.settle()
    assert record_of(world)["data"]["time"] > before["data"]["time"]
    world.later(60).settle()
    assert ("delete", Ref("Pod", stuck)) in world.log
    assert [ref for kind, ref in world.log if kind == "delete" and ref.kind == "ConfigMap"] == [
        Ref("ConfigMap", before["metadata"]["name"])
    ], "a miss of before the record says nothing of it"


def test_agent_that_missed_an_earlier_build_says_nothing_of_this_one():
    world = with_bundle().later(35)
    miss(world, 0, ago_s=3600)
    world.settle()
    assert record_of(world) is not None


def test_no_node_before_the_bundle():
    world = world_with("xarray")
    world.settle()
    world.start_coordinator()
    world.settle()
    assert world.stateful_set is None


def test_second_environment_uses_the_bundle_of_the_first():
    first = world_with("xarray", "numpy")
    first.settle()
    end(first, GOOD, ok=True)
    first.settle()
    second = World(an_environment("other", requirements=["numpy", "XArray"]))
    second.objects = {ref: it for ref, it in first.objects.items() if ref.kind == "ConfigMap"}
    second.settle()
    assert job_of(second) is None
    assert second.condition("DependenciesReady") == ("True", "Built")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"requirements": ["B==1", "a [z,y] >=1,<2"]}, True),
        ({"requirements": ["a[y,z]<2,>=1", "b==1"]}, True),
        ({"requirements": ["a[y,z]<2,>=1", "b==2"]}, False),
        ({"requirements": ["a[y,z]<2,>=1"]}, False),
        ({"resources": {"memory": "9Gi"}}, True),
        ({"nodes": 9}, True),
    ],
    ids=str,
)
def test_key_depends_on_what_is_installed(change, same):
    world = world_with("a[y,z]>=1,<2", "b==1")
    world.settle()
    before = world.status["runtime"]["bundleKey"]
    world.change(**change)
    world.settle()
    assert (world.status["runtime"]["bundleKey"] == before) is same


def test_refresh_and_index_enter_the_key():
    keys = set()
    for index, annotation in ((None, ""), ({"url": "https://i/simple"}, ""), (None, "again")):
        runtime = a_runtime(**({"index": index} if index else {}))
        environment = an_environment(
            requirements=["a"], annotations={"geopod.dev/refresh": annotation}
        )
        world = World(environment, runtime=runtime)
        world.settle()
        keys.add(world.status["runtime"]["bundleKey"])
    assert len(keys) == 3


def test_packages_that_layers_need_count_unless_the_image_has_them():
    runtime = a_runtime()
    runtime["spec"]["interpreters"][0]["basePackages"] = False
    environment = an_environment(
        layers=[{"pathId": "dem"}, {"pathId": "roads", "timestampId": "1"}],
        requirements=["numpy==2.1"],
    )
    world = World(environment, runtime=runtime, layers=[a_layer(), a_layer("roads", type="vector")])
    world.settle()
    secret = world.objects[Ref("Secret", job_of(world)["metadata"]["name"])]
    request = json.loads(b64decode(secret["data"]["request.json"]))
    assert request["requirements"] == ["affine", "geopandas", "numpy==2.1", "pyarrow"]


def test_token_of_the_builder_opens_its_bundle_alone():
    world = world_with("a")
    world.settle()
    secret = world.objects[Ref("Secret", job_of(world)["metadata"]["name"])]
    token = b64decode(secret["data"]["store-token"]).decode()
    grant = tokens.verify(
        token,
        key_of=lambda it: tokens.key_for(world.settings.signing_key, it),
        now=world.now.timestamp(),
    )
    assert grant.path == f"shared/{NAMESPACE}/bundles/{world.status['runtime']['bundleKey']}/"


def test_credentials_are_where_no_token_is():
    runtime = a_runtime(index={"url": "https://i/simple", "secretName": "index"})
    world = world_with("a", runtime=runtime)
    world.settle()
    pod = job_of(world)["spec"]["template"]["spec"]
    prepare, install = pod["initContainers"]
    (upload,) = pod["containers"]
    mounts = {
        it["name"]: {mount["name"] for mount in it["volumeMounts"]}
        for it in (prepare, install, upload)
    }
    assert "index" in mounts["install"]
    assert "token" not in mounts["install"]
    for name in ("prepare", "upload"):
        assert "token" in mounts[name]
        assert not mounts[name] & {"index", "request"}
    assert install["securityContext"]["runAsUser"] != upload["securityContext"]["runAsUser"]


def test_unresolvable_requirements_are_quoted_and_not_tried_again():
    world = world_with("no-such-package")
    world.settle()
    lines = ["  x No solution found:", "  no-such-package was not found at https://u:p@i/simple."]
    end(
        world,
        {
            "ok": False,
            "reason": "ResolutionFailed",
            "exit": 1,
            "lines": lines,
            "logSha256": "d" * 64,
        },
    )
    world.settle()
    assert world.condition("DependenciesReady") == ("False", "ResolutionFailed")
    assert world.condition("Stalled") == ("True", "ResolutionFailed")
    assert world.message("Ready") == (
        "requirements cannot be installed for python3.12 linux/any: x No solution found:\n"
        f"  no-such-package was not found at https://u:***@i/simple. Full log: {'d' * 64}."
    )
    assert "DependencyInstallFailed" in world.told_reasons
    before = len(world.log)
    world.later(100_000).settle()
    assert not [it for it in world.log[before:] if it[0] == "delete"]


def test_other_requirements_are_another_job():
    world = world_with("no-such-package")
    world.settle()
    end(world, {"ok": False, "reason": "ResolutionFailed", "exit": 1, "lines": ["no"]})
    world.settle()
    world.change(requirements=["numpy"])
    world.settle()
    assert world.condition("DependenciesReady") == ("False", "Resolving")
    assert len([ref for ref in world.objects if ref.kind == "Job"]) == 2


def test_changed_requirements_reach_the_nodes_once_they_are_built():
    world = with_bundle()
    world.start_nodes()
    world.settle()
    before, template = world.status["templateHash"], world.stateful_set["spec"]["template"]
    world.change(requirements=["numpy"])
    world.settle()
    assert world.stateful_set["spec"]["template"] == template
    assert world.condition("Available") == ("True", "MinimumReady")
    end(world, {**GOOD, "bundleSha256": "e" * 64}, ok=True)
    world.settle()
    assert world.status["templateHash"] != before
    agent, _ = container_of(world.stateful_set, "agent")
    assert {it["name"]: it.get("value") for it in agent["env"]}["GEOPOD_BUNDLE_SHA256"] == "e" * 64


def test_suspending_keeps_what_was_built():
    world = with_bundle()
    world.start_nodes()
    world.settle()
    before = len(world.log)
    world.change(suspend=True)
    world.settle()
    assert world.stateful_set["spec"]["replicas"] == 0
    assert record_of(world) is not None
    assert [it for it in world.log[before:] if it[0] == "delete"] == []


def test_silent_index_is_asked_again_after_longer_and_longer():
    world = world_with("numpy")
    world.settle()
    waits = []
    for _ in range(7):
        world.later(5)
        failed = {"ok": False, "reason": "IndexUnreachable", "exit": 2, "lines": ["timed out"]}
        end(world, failed, exit_code=4)
        ended = world.now
        outcome = world.settle()
        assert world.condition("DependenciesReady") == ("False", "IndexUnreachable")
        while "status" in job_of(world):
            world.later(outcome.requeue_after)
            outcome = world.settle()
        waits.append((world.now - ended) / timedelta(seconds=1))
    assert waits[0] == 30
    assert waits == sorted(waits)
    assert waits[-1] == 600
    assert world.condition("Stalled") != ("True", "IndexUnreachable")


def test_builder_that_died_is_quoted():
    world = world_with("numpy")
    world.settle()
    world.start_coordinator()
    end(world, "Killed", exit_code=137)
    outcome = world.settle()
    assert world.condition("DependenciesReady") == ("False", "BuilderFailed")
    assert "exit 137: Killed" in world.message("DependenciesReady")
    assert 590 <= outcome.requeue_after <= 600


def test_builder_whose_pod_is_gone_is_told():
    world = world_with("numpy")
    world.settle()
    end(world, "")
    world.pods = []
    world.settle()
    assert "its pod is gone" in world.message("DependenciesReady")


def test_builder_that_does_not_start_is_looked_at():
    world = world_with("numpy")
    world.settle()
    name = job_of(world)["metadata"]["name"]
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    world.pods = [
        {
            "metadata": {"name": "b", "labels": {"batch.kubernetes.io/job-name": name}},
            "status": {
                "phase": "Pending",
                "initContainerStatuses": [
                    {"name": "prepare", "image": "i", "state": {"waiting": waiting}}
                ],
            },
        }
    ]
    world.later(15).settle()
    assert world.condition("DependenciesReady") == ("False", "BuilderFailed")
    assert "image i cannot be pulled" in world.message("DependenciesReady")


UNRESOLVABLE = {"ok": False, "reason": "ResolutionFailed", "exit": 1, "lines": ["no such package"]}


def test_pods_seen_just_before_their_job_has_ended_say_nothing():
    world = world_with("numpy")
    world.settle()
    end(world, UNRESOLVABLE)
    status = job_of(world).pop("status")
    world.later(15).settle()
    assert world.condition("DependenciesReady") == ("False", "Resolving")
    job_of(world)["status"] = status
    world.later(1).settle()
    assert world.condition("DependenciesReady") == ("False", "ResolutionFailed")


@pytest.mark.parametrize(
    ("result", "reason"), [(UNRESOLVABLE, "ResolutionFailed"), (GOOD, "Built")], ids=["not", "ok"]
)
def test_builder_that_started_late_is_heard(result, reason):
    world = world_with("numpy")
    world.settle()
    end(world, result, ok=result["ok"])
    job, pods = job_of(world), world.pods
    name = job["metadata"]["name"]
    waiting = {"name": "prepare", "image": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}
    labels = {"batch.kubernetes.io/job-name": name}
    late = {"metadata": {"name": "b", "labels": labels}}
    world.pods = [{**late, "status": {"phase": "Pending", "initContainerStatuses": [waiting]}}]
    status = job.pop("status")
    world.later(15).settle()
    assert world.condition("DependenciesReady") == ("False", "BuilderFailed")
    job["status"], world.pods = status, pods
    world.later(1).settle()
    assert world.condition("DependenciesReady")[1] == reason


def test_second_build_is_not_taken_for_the_first():
    world = world_with("numpy")
    world.settle()
    end(world, "Killed", exit_code=137)
    world.settle()
    world.later(601).settle()
    assert world.condition("DependenciesReady") == ("False", "Resolving")
    end(world, GOOD, ok=True)
    world.later(1).settle()
    assert world.condition("DependenciesReady") == ("True", "Built")


def test_namesakes_of_the_builder_are_never_touched():
    world = world_with("numpy")
    world.plan()
    for ref in [*world.known]:
        if ref.kind in {"Job", "ConfigMap"}:
            world.objects[ref] = {"kind": ref.kind, "metadata": {"name": ref.name}, "data": {}}
    before = dict(world.objects)
    world.settle()
    assert {ref: world.objects[ref] for ref in before} == before
    assert world.condition("DependenciesReady") == ("False", "BuilderFailed")


# ---- what nobody needs


def test_sweep_takes_what_no_environment_names():
    world = world_with("numpy")
    world.settle()
    objects = [it for ref, it in world.objects.items() if ref.kind in {"Job", "ConfigMap"}]
    assert sweep_builds(objects, [world.environment]) == ()
    gone = sweep_builds(objects, [])
    name = objects[0]["metadata"]["name"]
    assert [it.ref for it in gone] == [Ref("Job", name), Ref("Secret", name)]


def test_sweep_waits_for_an_environment_that_has_not_told_its_key():
    world = world_with("numpy")
    world.settle()
    objects = [it for ref, it in world.objects.items() if ref.kind == "Job"]
    assert sweep_builds(objects, [an_environment("young")]) == ()


def test_sweep_leaves_namesakes():
    labels = {"app.kubernetes.io/instance": "abc"}
    foreign = {"kind": "Job", "metadata": {"name": "mine", "uid": "1", "labels": labels}}
    assert sweep_builds([foreign], []) == ()


def test_settings_do_not_show_the_signing_key():
    shown = repr(Settings(agent_image="a", store="s", signing_key=b"SECRET", gateway_namespace="g"))
    assert "SECRET" not in shown
