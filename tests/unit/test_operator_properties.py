"""What holds for every environment: fixed point, no order, nothing foreign, bounded, no secret."""

from __future__ import annotations

import copy
import json
from datetime import timedelta

import pytest
from geopod_operator.environment.access import slot_at
from geopod_operator.environment.observed import Ref
from geopod_operator.environment.reconcile import plan
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from operator_builders import NOW, World, a_layer, a_run, a_runtime, an_environment, recorded
from operator_builders import settings as a_settings

RECORDED = (
    "badimage", "crash", "evict", "nogpu", "nosecret", "oom", "quota",
)  # fmt: skip  # names read best in a line
LAYERS = [a_layer("dem"), a_layer("roads", type="vector"), a_layer("tiles", volumeClaim="pv")]

specs = st.fixed_dictionaries(
    {
        "nodes": st.integers(0, 6),
        "layers": st.lists(
            st.sampled_from(
                [
                    {"pathId": "dem", "timestampId": "1"},
                    {"pathId": "roads", "timestampId": "2"},
                    {"pathId": "tiles", "timestampId": "3"},
                ]
            ),
            unique_by=lambda it: it["pathId"],
            max_size=3,
        ),
        "suspend": st.booleans(),
        "requirements": st.lists(st.sampled_from(["numpy", "xarray>=2024"]), unique=True),
        "network": st.sampled_from([{"mode": it} for it in ("Restricted", "Open", "None")]),
        "env": st.lists(
            st.sampled_from([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
            unique_by=lambda it: it["name"],
        ),
        "results": st.sampled_from([{"onDelete": "Retain"}, {"onDelete": "Purge"}]),
    },
    optional={
        "idle": st.sampled_from(
            [{"afterSeconds": 60, "policy": it} for it in ("ScaleToZero", "Suspend", "Delete")]
        ),
        "ttlSeconds": st.integers(60, 10_000),
        "enableGpu": st.sampled_from([True]),
    },
)
moves = st.lists(
    st.sampled_from([
        "coordinator up", "coordinator down", "nodes up", "pods", "wait", "wait long", "run",
        "activity", "drained", "lost", "suspend", "grow", "template", "forget", "layer gone",
    ]),
    max_size=8,
)  # fmt: skip  # words read best in lines
slow = settings(
    phases=[Phase.explicit, Phase.generate],
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def a_world(spec):
    profile = {"name": "a", "resourceName": "nvidia.com/gpu"}
    return World(
        an_environment(**copy.deepcopy(spec)),
        runtime=a_runtime(gpuProfiles=[profile]),
        layers=copy.deepcopy(LAYERS),
    )


def play(world, move):  # noqa: C901, PLR0912  # one branch per move
    match move:
        case "coordinator up" if world.deployment:
            world.start_coordinator()
        case "coordinator down" if world.deployment:
            world.stop_coordinator()
        case "nodes up" if world.stateful_set:
            world.start_nodes()
        case "pods" if world.stateful_set:
            world.start_nodes(ready=0)
            for pod, name in zip(world.pods, RECORDED, strict=False):
                pod["status"] = recorded(name)["pods"][0]["status"]
        case "wait":
            world.later(31)
        case "wait long":
            world.later(4000)
        case "run":
            world.runs.append(a_run(f"run-{len(world.runs)}"))
        case "activity":
            world.coordinator_says(activeRuns=1)
        case "drained":
            world.coordinator_says(drained="0-5")
        case "lost":
            world.coordinator_says(lost="1")
        case "suspend":
            world.change(suspend=not world.environment["spec"].get("suspend"))
        case "grow":
            world.change(nodes=world.environment["spec"]["nodes"] + 1)
        case "template":
            world.change(env=[{"name": "C", "value": move}])
        case "forget":
            world.applied.clear()
        case "layer gone":
            world.layers = world.layers[:-1]


def is_deleted(world):
    return ("delete", Ref("ComputeEnvironment", "ndvi")) in world.log


@slow
@given(specs, moves)
def test_every_history_reaches_a_fixed_point(spec, history):
    world = a_world(spec)
    for move in history:
        play(world, move)
        world.settle_or_end()
        if is_deleted(world):
            return
        status = json.dumps(world.status)
        assert len(status) < 100_000
        assert world.environment["metadata"]["annotations"] == {}


@slow
@given(specs, moves)
def test_a_plan_is_a_function_of_what_is_observed(spec, history):
    world = a_world(spec)
    for move in history:
        play(world, move)
        world.settle_or_end()
        if is_deleted(world):
            return
    observed = world.observe(pods=tuple(world.pods), events=())
    before = copy.deepcopy(observed)
    first = plan(observed)
    assert plan(copy.deepcopy(observed)) == first
    assert observed == before, "a plan changes nothing that it was given"


@slow
@given(specs, st.randoms(use_true_random=False))
def test_order_of_lists_does_not_matter(spec, chance):
    world = a_world(spec)
    world.settle_or_end()
    if world.deployment:
        world.start_coordinator()
        world.settle_or_end()
    if is_deleted(world):
        return
    other = copy.deepcopy(world)
    for name in ("requirements", "env"):
        chance.shuffle(other.environment["spec"][name])
    chance.shuffle(other.layers)
    chance.shuffle(other.environment["status"]["conditions"])
    other.objects = dict(chance.sample(list(other.objects.items()), len(other.objects)))
    for each in (world, other):
        each.applied.clear()
    assert other.plan().applies == world.plan().applies
    assert other.plan().status == world.plan().status


@slow
@given(specs, moves, st.data())
def test_foreign_objects_are_never_touched(spec, history, data):
    world = a_world(spec)
    names = ["ndvi-coordinator", "ndvi-node", "ndvi-nodes", "ndvi-link"]
    kinds = ["Service", "Deployment", "StatefulSet", "Secret", "NetworkPolicy"]
    ref = Ref(data.draw(st.sampled_from(kinds)), data.draw(st.sampled_from(names)))
    foreign = {
        "kind": ref.kind,
        "metadata": {"name": ref.name, "uid": "foreign", "generation": 1},
        "spec": {"replicas": 1, "template": {"spec": {"containers": []}}},
    }
    world.objects[ref] = copy.deepcopy(foreign)
    for move in history:
        if move not in {"coordinator up", "coordinator down", "nodes up", "pods"}:
            play(world, move)
        world.settle_or_end()
        if is_deleted(world):
            return
    assert world.objects[ref] == foreign
    assert ("apply", ref) not in world.log
    assert ("delete", ref) not in world.log


@slow
@given(specs, st.sampled_from(["environment_key", "link_key", "store", "shared", "user"]))
def test_no_secret_in_any_message(spec, leaked):
    from geopod_operator.environment.accepted import identity_of
    from geopod_operator.environment.access import mint_tokens

    asked = {"suspend": False, "requirements": [], "nodes": 2, "idle": None, "ttlSeconds": None}
    world = a_world({key: it for key, it in (spec | asked).items() if it is not None})
    world.settle_or_end()
    world.start_coordinator()
    world.settle_or_end()
    world.start_nodes(ready=0)
    minted = mint_tokens(identity_of(world.environment), world.settings, world.now)
    secret = getattr(minted, leaked)
    status = recorded("crash")["pods"][0]["status"]
    for state in status["containerStatuses"]:
        for part in ("state", "lastState"):
            if "terminated" in state.get(part, {}):
                state[part]["terminated"]["message"] = f"cannot use {secret} for https://a:b@c"
    for pod in world.pods:
        pod["status"] = copy.deepcopy(status)
    world.later(15)
    outcome = world.plan()
    if outcome.status is None:
        return
    told = json.dumps([outcome.status["conditions"], outcome.status.get("failures", [])])
    told += "".join(event.message for event in outcome.events)
    assert secret not in told
    assert ":b@" not in told


@pytest.mark.parametrize("nodes", [1, 1000])
def test_status_is_bounded_by_no_number_of_nodes(nodes):
    world = World(an_environment(nodes=nodes))
    world.settle()
    world.start_coordinator()
    world.settle()
    world.start_nodes(ready=0)
    for number, pod in enumerate(world.pods):
        status = recorded("crash")["pods"][0]["status"]
        for state in status["containerStatuses"]:
            for part in ("state", "lastState"):
                if "terminated" in state.get(part, {}):
                    state[part]["terminated"]["message"] = f"{number}" * 3000
        pod["status"] = status
    world.later(15).settle()
    assert len(json.dumps(world.status)) < 20_000
    assert len(world.status["failures"]) == min(nodes, 10)


def test_time_alone_never_writes_while_nothing_changes():
    world = World(an_environment(idle={"afterSeconds": 604_800})).run_until_ready()
    before = len(world.log)
    for _ in range(12):
        world.now += timedelta(minutes=5)
        world.settle()
    assert world.log[before:] == []


@pytest.mark.parametrize("minutes", [-5, 5], ids=["slow", "fast"])
def test_clock_that_is_wrong_by_minutes_ends_in_the_same_objects(minutes):
    def lived(now):
        idle = {"afterSeconds": 60, "policy": "ScaleToZero"}
        world = World(an_environment(ttlSeconds=120, idle=idle), now=now).run_until_ready()
        awake = {ref: it["spec"] for ref, it in world.objects.items() if "spec" in it}
        assert world.condition("Ready") == ("True", "Ready")
        world.later(10).settle()
        assert world.condition("Suspended") == ("False", "Awake")
        return awake

    assert lived(NOW + timedelta(minutes=minutes)) == lived(NOW)


def test_an_hour_of_five_hundred_idle_environments_changes_fifty_objects():
    """Renewed tokens are all that changes: one Secret and one status each time."""
    life_s = a_settings().token_lifetime_s
    renewals = sum(
        slot_at(f"uid-{number}", 0.0, life_s) != slot_at(f"uid-{number}", 3600.0, life_s)
        for number in range(500)
    )
    assert 0 < 2 * renewals <= 50
