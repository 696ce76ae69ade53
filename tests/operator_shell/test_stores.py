"""What the operator has seen: newer wins, lists sweep, and who is concerned."""

import pytest
from geopod_operator.stores import Stores, key_of
from shell_builders import a_run, a_runtime, an_environment


def stored(kind, manifest, *, version=10, uid="u1", **metadata):
    meta = {**manifest["metadata"], "resourceVersion": str(version), "uid": uid, **metadata}
    return {**manifest, "kind": kind, "metadata": meta}


def a_child(name="e1-node", *, kind="StatefulSet", instance="e1", component="node", **options):
    labels = {"app.kubernetes.io/instance": instance, "app.kubernetes.io/component": component}
    manifest = {"metadata": {"name": name, "namespace": "geo", "labels": labels}}
    return stored(kind, manifest, **options)


ENVIRONMENT = stored("ComputeEnvironment", an_environment(layers=[{"pathId": "dem"}]))
E1 = ("ComputeEnvironment", "geo", "e1")


@pytest.fixture
def stores():
    made = Stores()
    made.put(ENVIRONMENT)
    return made


def test_older_version_never_replaces_a_newer_one(stores):
    assert not stores.put(stored("ComputeEnvironment", an_environment(nodes=9), version=9))
    assert stores.environment(("geo", "e1"))["spec"]["nodes"] == 2
    assert stores.put(stored("ComputeEnvironment", an_environment(nodes=9), version=11))
    assert stores.environment(("geo", "e1"))["spec"]["nodes"] == 9


def test_same_version_is_no_news(stores):
    assert not stores.put(ENVIRONMENT)


def test_deletion_of_the_predecessor_leaves_its_successor(stores):
    stores.put(stored("ComputeEnvironment", an_environment(), version=30, uid="u2"))
    stores.drop(stored("ComputeEnvironment", an_environment(), version=20, uid="u1"))
    assert stores.environment(("geo", "e1"))["metadata"]["uid"] == "u2"


def test_managed_fields_are_not_kept(stores):
    stores.put(a_child(managedFields=[{"manager": "x"}]))
    assert "managedFields" not in stores.children("geo")["StatefulSet", "e1-node"]["metadata"]


def test_copy_of_the_spec_that_kubectl_leaves_is_not_kept(stores):
    applied = "kubectl.kubernetes.io/last-applied-configuration"
    annotations = {applied: "{}", "geopod.dev/refresh": "1"}
    stores.put(stored("ComputeEnvironment", an_environment(), version=30, annotations=annotations))
    kept_ones = stores.environment(("geo", "e1"))["metadata"]["annotations"]
    assert kept_ones == {"geopod.dev/refresh": "1"}
    assert applied in annotations


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("StatefulSet", {"spec": {"replicas": 3, "template": {}}, "status": {"replicas": 2}}),
        ("Deployment", {"spec": {"replicas": 3}, "status": {"replicas": 2}}),
        ("NetworkPolicy", {}),
    ],
)
def test_of_a_child_is_kept_what_plans_read(stores, kind, rest):
    whole = {"spec": {"replicas": 3, "template": {}}, "status": {"replicas": 2}}
    child = {**a_child(kind=kind), **whole, "apiVersion": "v1"}
    stores.put(child)
    assert stores.children("geo")[kind, "e1-node"] == {
        "apiVersion": "v1", "kind": kind, "metadata": child["metadata"], **rest
    }  # fmt: skip  # one line less


def test_list_sweeps_what_is_gone_and_keeps_what_is_newer(stores):
    stores.put(a_child("old", version=5))
    stores.put(a_child("new", version=50))
    concerned = stores.sweep("StatefulSet", (), [a_child("told", version=20)], version="40")
    assert {name for _, name in stores.children("geo")} == {"new", "told"}
    assert concerned == {E1}


def test_list_of_one_namespace_sweeps_no_other(stores):
    assert stores.sweep("ComputeEnvironment", ("other",), [], version="99") == set()
    assert stores.environment(("geo", "e1"))


def test_runs_are_found_by_their_environment_and_forgotten(stores):
    run = stored("ComputeRun", a_run())
    stores.put(run)
    stores.put(stored("ComputeRun", a_run("r2", environment="absent")))
    assert [key_of(found) for found in stores.runs(("geo", "e1"))] == [("geo", "r1")]
    assert stores.keys_of_runs() == [("geo", "e1"), ("geo", "absent")]
    stores.drop(run)
    assert stores.keys_of_runs() == [("geo", "absent")]


def test_children_of_a_deleted_environment_are_looked_for_again(stores):
    stores.put(a_child("e1-link", kind="Secret"))
    stores.put(a_child("e2-link", kind="Secret", instance="e2"))
    stores.put_absent("geo", ("Service", "e1-nodes"))
    stores.forget_children_of(("geo", "e1"))
    assert list(stores.children("geo")) == [("Secret", "e2-link")]


@pytest.mark.parametrize(
    ("found", "concerned"),
    [
        (ENVIRONMENT, {E1}),
        (stored("ComputeRun", a_run(environment="absent")), {(*E1[:2], "absent")}),
        (
            stored("Layer", {"metadata": {"name": "dem", "namespace": "geo"}}),
            {E1, ("Layer", "geo", "dem")},
        ),
        (
            stored("Layer", {"metadata": {"name": "other", "namespace": "geo"}}),
            {("Layer", "geo", "other")},
        ),
        (
            stored("Layer", {"metadata": {"name": "dem", "namespace": "far"}}),
            {("Layer", "far", "dem")},
        ),
        (stored("ComputeRuntime", a_runtime()), {E1, ("ComputeRuntime", "", "default")}),
        (stored("ComputeRuntime", a_runtime("gpu")), {("ComputeRuntime", "", "gpu")}),
        (a_child(), {E1}),
        (a_child(instance="unknown"), set()),
        (a_child("geopod-build-1", kind="Job", instance="", component="builder"), {E1}),
        (a_child("geopod-bundle-1", kind="ConfigMap", instance="k", component="builder"), {E1}),
    ],
    ids=[
        *("environment", "run", "its layer", "another layer", "layer of another namespace"),
        *("its runtime", "another runtime", "child", "child of nobody", "build"),
        "record of a bundle",
    ],
)
def test_object_concerns_whom_its_change_may_touch(stores, found, concerned):
    assert stores.concerned(found) == concerned


def test_deleted_record_of_a_bundle_concerns_those_who_use_it(stores):
    environment = an_environment()
    ready = {
        "type": "DependenciesReady", "status": "True",
        "observedGeneration": environment["metadata"].get("generation"),
    }  # fmt: skip  # one line less
    environment["status"] = {"runtime": {"bundleKey": "k" * 64}, "conditions": [ready]}
    stores.put(stored("ComputeEnvironment", environment, version=20))
    mine = a_child("geopod-bundle-k", kind="ConfigMap", instance="k" * 16, component="builder")
    other = a_child("geopod-bundle-j", kind="ConfigMap", instance="j" * 16, component="builder")
    assert stores.concerned(mine) == {E1}
    assert stores.concerned(other) == set()
