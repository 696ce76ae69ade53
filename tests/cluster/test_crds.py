"""A real API server takes the custom resource definitions, and says what the models say."""

from __future__ import annotations

import json
import re

import pytest
from api_builders import a_function, a_runtime_spec, an_environment_spec, without
from cluster.crd_builders import (
    CHANGED_RUN,
    FULL_RUN,
    MINIMAL,
    an_object,
    answers,
    filled,
    object_of,
)
from cluster.process_builders import until
from cluster.testcluster.image_contexts import PROJECT
from cluster.testcluster.kubectl import KubectlError
from geopod.api import crd, environment, run
from unit.test_api_rules import RULES, TRANSITIONS

DEFINITIONS = {it["spec"]["names"]["kind"]: it for it in crd.all_crds()}
SPECS = {whole.__name__: spec for _, whole, spec, _ in crd.KINDS}
PLURALS = {kind: it["spec"]["names"]["plural"] for kind, it in DEFINITIONS.items()}


@pytest.fixture(scope="session")
def definitions(kubectl):
    """The definitions of this tree, served."""
    kubectl("apply", "--server-side", "--force-conflicts", f"--filename={PROJECT / 'crds'}")
    names = [f"crd/{it['metadata']['name']}" for it in DEFINITIONS.values()]
    kubectl("wait", *names, "--for=condition=Established", "--timeout=110s")
    return {name: kubectl.get(name) for name in names}


@pytest.fixture
def place(definitions, namespace):
    """A namespace for one test; the runtimes that the test makes there are deleted after it."""
    yield namespace
    namespace("delete", "computeruntimes", f"--selector=test={namespace.namespace}")


def named(place, objects):
    """Objects with names of this test's own, because runtimes have no namespace."""
    for number, it in enumerate(objects):
        it["metadata"] = {
            "name": f"{place.namespace}-{number}",
            "labels": {"test": place.namespace},
        }
    return objects


def spec_schema(kind):
    return DEFINITIONS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def test_definitions_are_accepted_without_complaint(definitions):
    for definition in definitions.values():
        state = {it["type"]: it["status"] for it in definition["status"]["conditions"]}
        assert state["NamesAccepted"] == "True"
        assert state.get("NonStructuralSchema", "False") == "False"
        assert definition["status"]["storedVersions"] == ["v1alpha1"]


def test_minimal_objects_are_accepted_and_get_the_defaults_of_the_models(place):
    objects = named(place, [an_object(kind, "", spec) for kind, spec in MINIMAL.items()])
    assert answers(place, "create", objects) == {}
    for it in objects:
        stored = place.get(PLURALS[it["kind"]], it["metadata"]["name"])["spec"]
        assert stored == SPECS[it["kind"]].model_validate(it["spec"]).to_wire()


def test_defaults_reach_into_objects_that_were_given_empty(place):
    spec = an_environment_spec(
        enableGpu=True, gpu={}, idle={}, partitioning={"extent": {}}, rollout={}, template={}
    )
    (sent,) = named(place, [an_object("ComputeEnvironment", "", spec)])
    assert answers(place, "create", [sent]) == {}
    stored = place.get("cenv", sent["metadata"]["name"])["spec"]
    assert stored == environment.ComputeEnvironmentSpec.model_validate(spec).to_wire()


def test_every_rule_is_kept_both_ways_with_its_message(place):
    good = [object_of(row[1], "", values) for row in RULES for values in row[3]]
    bad = [(row[2], object_of(row[1], "", values)) for row in RULES for values in row[4]]
    objects = named(place, [*good, *(it for _, it in bad)])
    said = answers(place, "create", objects, "--dry-run=server")
    refused = {it["metadata"]["name"]: message for message, it in bad}
    assert {name: words for name, words in said.items() if name not in refused} == {}
    missing = {
        name: said.get(name)
        for name, message in refused.items()
        if message not in said.get(name, "")
    }
    assert missing == {}


def test_every_transition_is_kept_both_ways_with_its_message(place):
    cases = [
        (message if is_refused else None, object_of(model, "", old), object_of(model, "", new))
        for _, model, message, old, allowed, refused in TRANSITIONS
        for is_refused, changes in ((False, allowed), (True, refused))
        for new in changes
    ]
    check_changes(place, cases)


def test_every_field_of_a_run_but_cancel_is_immutable(place):
    fields = set(crd.structural_schema(run.ComputeRunSpec)["properties"]) - {"cancel"}
    assert fields == CHANGED_RUN.keys()
    cases = []
    for field, value in CHANGED_RUN.items():
        changed = without(FULL_RUN, field) if value is None else {**FULL_RUN, field: value}
        message = f"{field} cannot be changed; create another object."
        before, after = (an_object("ComputeRun", "", spec) for spec in (FULL_RUN, changed))
        cases.append((message, before, after))
    cases.append(
        (
            None,
            an_object("ComputeRun", "", FULL_RUN),
            an_object("ComputeRun", "", {**FULL_RUN, "cancel": True}),
        )
    )
    check_changes(place, cases)


def check_changes(place, cases):
    """Create every first object, replace each by its second; a message says that it is refused."""
    assert answers(place, "create", named(place, [before for _, before, _ in cases])) == {}
    after = named(place, [after for _, _, after in cases])
    said = replaced(place, after)
    for number, (message, _, changed) in enumerate(cases):
        words = said.get(changed["metadata"]["name"], "")
        assert (message in words) if message else not words, (number, message, words)


def replaced(place, objects):
    """Replace objects; return what the API server says of the names it refuses.

    An operator that runs here may write a status between a replace's read and its write.
    """
    said = {}
    for _ in range(10):
        said = {name: words for name, words in said.items() if "(Conflict)" not in words}
        said |= answers(place, "replace", objects)
        objects = [it for it in objects if "(Conflict)" in said.get(it["metadata"]["name"], "")]
        if not objects:
            break
    return said


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_every_field_of_the_status_is_kept_as_written(place, kind):
    (sent,) = named(place, [an_object(kind, "", MINIMAL[kind])])
    place.apply(sent)
    status = filled(spec_schema(kind)["status"])
    # As the operator, whose own status this replaces where one runs; asked, not stored.
    how = ["--force-conflicts", "--dry-run=server", "--output=json"]
    answer = json.loads(write_status(place, sent, status, "geopod-operator", *how))
    assert answer["status"] == status


def test_writers_of_the_status_keep_what_the_other_wrote(place):
    (sent,) = named(place, [an_object("ComputeEnvironment", "", {})])
    place.apply(sent)
    for manager, status in (
        ("first", {"lost": "0", "queuedRuns": 2}),
        ("second", {"activeRuns": 1}),
        ("first", {"queuedRuns": 3}),
    ):
        write_status(place, sent, status, manager)
    status = place.get("cenv", sent["metadata"]["name"])["status"]
    assert (status["queuedRuns"], status["activeRuns"]) == (3, 1)
    assert "lost" not in status


def write_status(place, sent, status, manager, *how):
    """Server-side apply of a status; what kubectl prints."""
    content = json.dumps({**without(sent, "spec"), "status": status})
    how = ["--server-side", "--subresource=status", f"--field-manager={manager}", *how]
    return place("apply", *how, "--filename=-", stdin=content)


def test_unknown_field_is_refused_by_name(place):
    for kind, spec in MINIMAL.items():
        (sent,) = named(place, [an_object(kind, "", {**spec, "nodez": 3})])
        with pytest.raises(KubectlError, match=r'unknown field \\?"spec\.nodez'):
            place("create", "--validate=strict", "--filename=-", stdin=json.dumps(sent))


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("ComputeEnvironment", {"nodes": 1001}, "less than or equal to 1000"),
        ("ComputeEnvironment", {"requirements": ["-r /etc/passwd"]}, "should match"),
        ("ComputeEnvironment", {"rollout": {"maxUnavailable": "0%"}}, "should match"),
        ("ComputeEnvironment", {"files": ["a", "a"]}, "Duplicate value"),
        ("ComputeEnvironment", {"resources": {"cpu": "-1"}}, "should match"),
        (
            "ComputeRun",
            {"environment": "e", "function": a_function(inline="!")},
            "should match",
        ),
        ("Layer", {"type": "cloud"}, "Unsupported value"),
        ("ComputeRuntime", {"interpreters": []}, "at least 1 item"),
        (
            "ComputeRuntime",
            a_runtime_spec(interpreters=a_runtime_spec()["interpreters"] * 2),
            "Duplicate value",
        ),
    ],
    ids=["nodes", "option", "share", "twice", "quantity", "base64", "type", "none", "key twice"],
)
def test_what_is_out_of_bounds_is_refused(place, kind, spec, message):
    objects = named(place, [an_object(kind, "", spec)])
    (said,) = answers(place, "create", objects, "--dry-run=server").values()
    assert message in said


def test_name_leaves_room_for_the_names_of_its_children(place):
    longest = an_object("ComputeEnvironment", "e" * 40, {})
    assert answers(place, "create", [longest], "--dry-run=server") == {}
    for name in ("e" * 41, "7up"):
        said = answers(place, "create", [an_object("ComputeEnvironment", name, {})])
        assert "metadata.name" in said[name]


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_every_field_is_explained(kubectl, definitions, kind):
    def unexplained():
        for part in ("spec", "status"):
            said = re.sub(r"\s+", " ", kubectl("explain", f"{PLURALS[kind]}.{part}"))
            for name, field in spec_schema(kind)[part]["properties"].items():
                if f"{name} <" not in said or field["description"] not in said:
                    yield f"{part}.{name}"

    until(lambda: not any(unexplained()))  # the document follows the definitions


def test_runs_are_selected_by_environment_and_phase(place):
    runs = named(
        place,
        [
            an_object("ComputeRun", "", {**FULL_RUN, "environment": name})
            for name in ("one", "two", "two")
        ],
    )
    place.apply(*runs)
    names = [f"computerun.geopod.dev/{it['metadata']['name']}" for it in runs]
    place(
        "patch",
        names[1],
        "--subresource=status",
        "--type=merge",
        '--patch={"status": {"phase": "Running"}}',
    )

    def select(selector):
        return place("get", "crun", f"--field-selector={selector}", "--output=name").split()

    assert select("spec.environment=two") == names[1:]
    assert select("status.phase=Running") == [names[1]]
    # The operator's watch: new runs, which have no phase, and finished ones.
    assert select("status.phase!=Queued,status.phase!=Running") == [names[0], names[2]]


def test_environment_is_scaled_by_kubectl(place):
    (sent,) = named(place, [an_object("ComputeEnvironment", "", {"nodes": 2})])
    name = sent["metadata"]["name"]
    place.apply(sent)
    write_status(place, sent, {"replicas": 2, "selector": "app=x"}, "test", "--force-conflicts")
    place("scale", f"cenv/{name}", "--replicas=7")

    def shows_the_status():  # an operator that runs here may write one between two looks
        scale, found = (place.get(f"cenv/{name}", *how) for how in (["--subresource=scale"], []))
        assert (scale["spec"], found["spec"]["nodes"]) == ({"replicas": 7}, 7)
        return scale["status"] == {key: found["status"][key] for key in ("replicas", "selector")}

    until(shows_the_status)


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_table_has_the_columns_of_the_definition(place, kind):
    (sent,) = named(place, [an_object(kind, "", MINIMAL[kind])])
    place.apply(sent)
    columns = DEFINITIONS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]
    for how, shown in (
        ([], [it["name"] for it in columns if not it.get("priority")]),
        (["--output=wide"], [it["name"] for it in columns]),
    ):
        header = place("get", PLURALS[kind], sent["metadata"]["name"], *how).splitlines()[0]
        assert header.split() == ["NAME", *shown]


def test_geopod_is_a_category(place):
    objects = named(place, [an_object(kind, "", spec) for kind, spec in MINIMAL.items()])
    place.apply(*objects)
    found = place("get", "geopod", "--output=name").split()
    own = {name for name in found if name.endswith(tuple(it["metadata"]["name"] for it in objects))}
    assert len(own) == 4
