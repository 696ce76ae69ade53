"""Root causes, read from objects that a real cluster made."""

from __future__ import annotations

from datetime import datetime

import pytest
from geopod.api.reasons import EnvironmentCondition
from geopod_operator.environment.causes import Asked, find_causes, recent_refusals
from geopod_operator.environment.masking import mask
from geopod_operator.environment.observed import Ref
from operator_builders import World, a_layer, a_pod, an_environment, golden, recorded

ASKED = Asked(
    condition=EnvironmentCondition.NODES_READY,
    total=2,
    namespace="tenant",
    runtime="default",
    pull_secrets=("team", "own"),
    cpu="1",
    memory="4Gi",
    storage="10Gi",
    gpus="1 nvidia.com/gpu",
)
LOOKED = datetime.fromisoformat("2026-11-26T11:50:00+00:00")
"""When the pods were recorded, or a little later."""
RECORDED = (
    "badimage", "badname", "crash", "crash_backoff", "evict", "nogpu", "nosecret", "nosecretfile",
    "oom", "oom_backoff", "privileged", "quota", "toobig",
)  # fmt: skip  # names read best in lines


def causes_of(name, **changes):
    objects = recorded(name)
    totals = {"quota": 4, "privileged": 2}
    total = totals.get(name, len(objects["pods"]))
    values = {field: getattr(ASKED, field) for field in ASKED.__slots__}
    asked = Asked(**{**values, "total": total, **changes})
    return find_causes(
        objects["pods"],
        objects["events"],
        asked=asked,
        now=LOOKED,
        messages=recent_refusals(objects["events"], LOOKED)[:1],
    )


def told(name):
    return "".join(f"{name} {it.reason}: {it.message}\n" for it in causes_of(name).causes)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_object_is_told_as_it_was_read(name):
    assert told(name) == golden(f"cause_{name}.txt", told(name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("badimage", "ImagePullFailed"),
        ("badname", "ImagePullFailed"),
        ("crash", "CrashLoop"),
        ("crash_backoff", "CrashLoop"),
        ("evict", "PodRefused"),
        ("nogpu", "Unschedulable"),
        ("nosecret", "PodRefused"),
        ("nosecretfile", "PodRefused"),
        ("oom", "OutOfMemory"),
        ("oom_backoff", "OutOfMemory"),
        ("privileged", "PodRefused"),
        ("quota", "QuotaExceeded"),
        ("toobig", "Unschedulable"),
    ],
)
def test_reason_of_a_recorded_object(name, reason):
    (cause,) = causes_of(name).causes
    assert cause.reason == reason
    assert "secret@" not in cause.message


def test_equal_causes_are_one_and_the_most_frequent_is_first():
    pods = [*recorded("crash")["pods"][:1], *recorded("nogpu")["pods"]]
    first, second = find_causes(pods, [], asked=ASKED, now=LOOKED).causes
    assert (first.reason, first.count) == ("Unschedulable", 2)
    assert (second.reason, second.count) == ("CrashLoop", 1)


def test_order_of_pods_does_not_matter():
    pods = [*recorded("crash")["pods"], *recorded("nogpu")["pods"], *recorded("oom")["pods"]]
    assert find_causes(pods, [], asked=ASKED, now=LOOKED) == find_causes(
        pods[::-1], [], asked=ASKED, now=LOOKED
    )


def test_ready_and_leaving_pods_have_no_trouble():
    leaving = recorded("crash")["pods"][0]
    leaving["metadata"]["deletionTimestamp"] = "2026-11-26T11:50:00Z"
    assert find_causes([a_pod(0), leaving], [], asked=ASKED, now=LOOKED).causes == ()


def test_failures_name_the_first_ten_nodes():
    pods = []
    for index in range(30):
        pod = recorded("nosecret")["pods"][0]
        pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = str(index)
        pods.append(pod)
    failures = find_causes(pods[::-1], [], asked=ASKED, now=LOOKED).failures
    assert [it["index"] for it in failures] == list(range(10))
    assert failures[0]["message"] == 'secret "missing" not found'


def test_old_refusals_are_history():
    events = recorded("quota")["events"]
    late = datetime.fromisoformat("2026-11-26T15:00:00+00:00")
    assert recent_refusals(events, late) == []


def test_agent_out_of_memory_names_the_runtime():
    objects = recorded("oom")
    for state in objects["pods"][0]["status"]["containerStatuses"]:
        state["name"] = "agent" if state["name"] == "runner" else "other"
    (cause,) = find_causes(objects["pods"], [], asked=ASKED, now=LOOKED).causes
    assert cause.message.endswith("Raise agentResources.memory of the ComputeRuntime.")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://user:pass@host/x", "https://user:***@host/x"),
        ("https://ghp_abcdefgh@host/x", "https://***@host/x"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: Bearer ***"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+1", "AWS_SECRET_ACCESS_KEY=***"),
        ('password: "hunter22"', 'password: "***"'),
        ("url?token=abc&x=1", "url?token=***&x=1"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJwYXRoIjoi.abc-_def", "***"),
        ("key of mine: 0123456789abcdef", "key of mine: ***"),
        ('secret "missing" not found', 'secret "missing" not found'),
    ],
)
def test_secrets_are_masked(said, shown):
    assert mask(said, ("0123456789abcdef",)) == shown


def looked_at(world, name):
    """The world's pods are those of a recording; 20 s have passed."""
    objects = recorded(name)
    for number, pod in enumerate(objects["pods"]):
        pod["metadata"]["labels"] = a_pod(number)["metadata"]["labels"]
        pod["metadata"]["name"] = f"ndvi-node-{number}"
    world.settle()
    world.start_coordinator()
    world.settle()
    world.start_nodes(ready=0)
    world.pods = [*objects["pods"], *world.pods[len(objects["pods"]) :]]
    world.events_there = objects["events"]
    return world


def test_causes_are_looked_for_after_ten_seconds_and_then_more_seldom():
    world = looked_at(World(), "badimage")
    world.later(5).settle()
    assert world.condition("NodesReady") == ("False", "Scaling")
    assert not [it for it in world.log if it[0] == "list"]
    seconds = 5
    while seconds < 600:
        wait = world.settle().requeue_after
        world.later(wait).settle()
        seconds += wait
    listings = sum(kind == "list" for kind, _ in world.log)
    assert 6 <= listings <= 12
    assert world.condition("NodesReady") == ("False", "ImagePullFailed")


def test_fatal_cause_stalls_after_a_minute():
    world = looked_at(World(), "badimage")
    world.later(20).settle()
    assert world.condition("Ready") == ("False", "ImagePullFailed")
    assert world.condition("Stalled") == ("False", "NotStalled")
    assert world.told_reasons.count("ImagePullFailed") == 1
    world.later(61).settle()
    assert world.condition("Stalled") == ("True", "ImagePullFailed")
    assert world.status["phase"] == "Failed"
    assert len(world.status["failures"]) == 2


def test_cause_is_kept_between_two_looks():
    world = looked_at(World(), "nogpu")
    world.later(20).settle()
    message = world.message("NodesReady")
    before = len(world.log)
    world.later(5).settle()
    assert world.message("NodesReady") == message
    assert world.log[before:] == []


def test_cause_is_forgotten_when_the_spec_changes():
    world = looked_at(World(), "nogpu")
    world.later(20).settle()
    world.change(minReadyNodes=2)
    world.later(1).settle()
    assert world.condition("NodesReady") == ("False", "Scaling")


def test_coordinator_that_lacks_a_layers_secret_says_so():
    world = World(layers=[a_layer(credentials={"secretName": "missing"})])
    world.settle()
    world.deployment["status"] = {"replicas": 1}
    objects = recorded("nosecretfile")
    labels = dict(world.deployment["spec"]["template"]["metadata"]["labels"])
    objects["pods"][0]["metadata"]["labels"] = labels
    world.pods, world.events_there = objects["pods"], objects["events"]
    world.later(15).settle()
    assert world.condition("CoordinatorReady") == ("False", "PodRefused")
    assert world.message("CoordinatorReady") == (
        'nosecretfile-node-0: secret "missing" not found. '
        "Create the Secret that a Layer's credentials name."
    )


def test_quota_that_refuses_the_coordinator_is_read_from_its_deployment():
    world = World()
    world.settle()
    world.deployment["status"] = recorded("quota")["deployment"]["status"]
    world.later(15).settle()
    assert world.condition("CoordinatorReady") == ("False", "QuotaExceeded")
    assert "quota pods in tenant" in world.message("Ready")


def test_roll_out_without_progress_is_late():
    world = looked_at(World(), "nogpu")
    world.settle()
    for _ in range(40):
        world.later(60).settle()
    assert world.condition("Progressing") == ("False", "ProgressDeadlineExceeded")
    assert world.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    world.pods = []
    world.start_nodes()
    world.later(1).settle()
    assert world.condition("Progressing") == ("False", "RolloutComplete")
    assert world.condition("Ready") == ("True", "Ready")


def test_slow_mounts_are_no_cause():
    objects = recorded("nosecretfile")
    event = objects["events"][0]
    event["message"] = "MountVolume.SetUp failed for volume x : timed out waiting for the condition"
    event["count"] = 1
    assert find_causes(objects["pods"], [event], asked=ASKED, now=LOOKED).causes == ()
    event["count"] = 9
    (cause,) = find_causes(objects["pods"], [event], asked=ASKED, now=LOOKED).causes
    assert cause.message == "nosecretfile-node-0: timed out waiting for the condition."


def test_mounts_of_an_earlier_pod_of_that_name_are_history():
    objects = recorded("nosecretfile")
    objects["pods"][0]["metadata"]["uid"] = "another"
    assert find_causes(objects["pods"], objects["events"], asked=ASKED, now=LOOKED).causes == ()


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        ("StatefulSet", "NodesReady"),
        ("Deployment", "CoordinatorReady"),
        ("Role", "CoordinatorReady"),
        ("Job", "DependenciesReady"),
    ],
)
def test_child_that_the_server_refuses_is_told_where_it_is_missed(kind, condition):
    world = World(an_environment(requirements=["xarray"]))
    world.settle()
    words = f'{kind} "x" is invalid: spec.template: Invalid value: "Bearer abc": no'
    world.refused = {Ref(kind, "x"): words}
    world.settle()
    assert world.condition(condition) == ("False", "PodRefused")
    assert world.message(condition).startswith(f"the API server refuses {kind} x: ")
    world.refused = {}
    world.later(60).settle()
    assert world.condition(condition)[1] != "PodRefused"


def test_refused_change_of_nodes_that_are_ready_is_told_too():
    world = World().run_until_ready()
    world.change(resources={"cpu": "2", "memory": "2Gi"})
    world.refused = {Ref("StatefulSet", "ndvi-node"): "spec: Forbidden: updates are forbidden"}
    world.settle()
    assert world.condition("NodesReady") == ("False", "PodRefused")


@pytest.mark.parametrize(
    ("created", "is_told"),
    [("2026-11-26T11:50:20Z", True), ("2026-11-26T11:55:00Z", False)],
    ids=["at once", "much later"],
)
def test_pod_that_replaces_an_evicted_one_is_told_by_its_event(created, is_told):
    objects = recorded("evict_replaced")
    (pod,) = objects["pods"]
    pod["metadata"]["creationTimestamp"] = created
    found = find_causes(objects["pods"], objects["events"], asked=ASKED, now=LOOKED)
    words = (
        'node 0 used more than 10Gi of scratch: Usage of EmptyDir volume "runner-tmp" exceeds the '
        'limit "32Mi". Raise spec.resources.ephemeralStorage.'
    )
    assert [it.message for it in found.causes] == ([words] if is_told else [])


def test_pod_that_is_being_evicted_is_told_while_it_ends():
    objects = recorded("evict_replaced")
    pod = a_pod(ready=False)
    event = objects["events"][0]
    pod["metadata"] |= {"name": "evict-node-0", "deletionTimestamp": "2026-11-26T11:50:10Z"}
    pod["metadata"]["uid"] = event["involvedObject"]["uid"]
    assert [it.reason for it in find_causes([pod], [event], asked=ASKED, now=LOOKED).causes] == [
        "PodRefused"
    ]


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("3 node(s) had untolerated taint(s).", "add tolerations to spec.template."),
        (
            "3 node(s) didn't match Pod's node affinity/selector.",
            "check nodeSelector and affinity.",
        ),
        ("no nodes available to schedule pods", "The autoscaler has not reacted."),
    ],
)
def test_advice_follows_from_what_the_scheduler_says(said, advice):
    (pod, *_) = recorded("nogpu")["pods"]
    pod["status"]["conditions"][0]["message"] = said
    (cause,) = find_causes([pod], [], asked=ASKED, now=LOOKED).causes
    assert cause.message.startswith("1/2 nodes wait for a place: ")
    assert "Each asks 1 cpu, 4Gi, 1 nvidia.com/gpu. " in cause.message
    assert cause.message.endswith(advice)


def test_limit_of_the_namespace_is_quoted():
    refused = (
        'create Pod ndvi-node-0 in StatefulSet ndvi-node failed error: pods "ndvi-node-0" is '
        "forbidden: maximum memory usage per Container is 1Gi"
    )
    (cause,) = find_causes([], [], asked=ASKED, now=LOOKED, messages=[refused]).causes
    assert (cause.reason, cause.count) == ("PodRefused", 2)
    assert cause.message == (
        "the namespace refuses the pod: maximum memory usage per Container is 1Gi."
    )


def test_advice_is_about_what_most_machines_lack():
    (pod, *_) = recorded("nogpu")["pods"]
    (placed,) = pod["status"]["conditions"]
    placed["message"] = (
        "0/12 nodes are available: 1 Insufficient cpu, 10 node(s) had untolerated taint(s), "
        "2 Insufficient nvidia.com/gpu. preemption: none"
    )
    (cause,) = find_causes([pod], [], asked=ASKED, now=LOOKED).causes
    assert "No machine has room for so much nvidia.com/gpu" in cause.message
