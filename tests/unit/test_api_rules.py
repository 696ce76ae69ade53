"""Every CEL rule of the CRDs: the model beside it says the same, both ways, in the same words."""

from __future__ import annotations

from typing import Any

import pytest
from api_builders import (
    IMAGE,
    a_function,
    a_layer_spec,
    a_run_spec,
    a_runtime_spec,
    an_environment_spec,
    without,
)
from geopod.api import crd
from geopod.api.common import Model
from geopod.api.environment import ComputeEnvironmentSpec, EnvironmentVariable
from geopod.api.layer import LayerSpec, Timestamp
from geopod.api.partitioning import Extent, Grid
from geopod.api.pod import PodTemplate, Volume, VolumeMount
from geopod.api.run import ComputeRunSpec, EncodedArguments, Function
from geopod.api.runtime import ComputeRuntimeSpec
from pydantic import ValidationError

ITEMS = {"artifact": {"sha256": "0" * 64, "bytes": 3}, "count": 2}
TARGET = {"pathId": "out", "timestampId": "v1"}
PUBLISH = without(
    a_run_spec(mode="Publish", publish=["ndvi-7f3/0"], writeToLayer=TARGET), "function"
)
SECRET = {"name": "keys", "key": "token"}

# id, model, the start of the message, objects that keep the rule, objects that break it
RULES: list[tuple[str, type[Model], str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    (
        "gpu needs enableGpu",
        ComputeEnvironmentSpec,
        "gpu needs enableGpu",
        [
            an_environment_spec(enableGpu=True, gpu={"count": 2}),
            an_environment_spec(enableGpu=True),
        ],
        [an_environment_spec(gpu={})],
    ),
    (
        "ttl is at least the idle time",
        ComputeEnvironmentSpec,
        "ttlSeconds must be",
        [
            an_environment_spec(ttlSeconds=600, idle={"afterSeconds": 600}),
            an_environment_spec(ttlSeconds=60),
        ],
        [an_environment_spec(ttlSeconds=599, idle={"afterSeconds": 600})],
    ),
    (
        "replaceAfterSeconds needs Replace",
        ComputeEnvironmentSpec,
        "replaceAfterSeconds needs",
        [an_environment_spec(nodeFailurePolicy="Replace", replaceAfterSeconds=30)],
        [an_environment_spec(replaceAfterSeconds=30)],
    ),
    (
        "GEOPOD_ is reserved",
        EnvironmentVariable,
        "names that start with GEOPOD_",
        [{"name": "MY_GEOPOD_", "value": "1"}],
        [{"name": "GEOPOD_HOME", "value": "1"}],
    ),
    (
        "value or secretKeyRef",
        EnvironmentVariable,
        "give exactly one of value",
        [{"name": "A", "value": ""}, {"name": "A", "secretKeyRef": SECRET}],
        [{"name": "A"}, {"name": "A", "value": "1", "secretKeyRef": SECRET}],
    ),
    (
        "bbox goes with its mode",
        Extent,
        "bbox goes with",
        [{"mode": "bbox", "bbox": [0, 0, 1, 1]}, {"mode": "union"}],
        [{"mode": "bbox"}, {"mode": "union", "bbox": [0, 0, 1, 1]}, {"bbox": [0, 0, 1, 1]}],
    ),
    (
        "one way to name a grid",
        Grid,
        "give exactly one of like",
        [{"like": "dem"}, {"resolution": 30}, {"preset": "ellipsis"}],
        [{}, {"like": "dem", "resolution": 30}, {"like": "dem", "preset": "ellipsis"}],
    ),
    (
        "anchor goes with resolution",
        Grid,
        "anchor goes with",
        [{"resolution": 30, "anchor": [0, 15]}],
        [{"like": "dem", "anchor": [0, 15]}],
    ),
    (
        "labels of geopod's own",
        PodTemplate,
        "labels under geopod.dev/",
        [{"labels": {"team": "geo", "example.com/geopod.dev": "x"}}, {}],
        [{"labels": {"geopod.dev/environment": "x"}}, {"labels": {"app.kubernetes.io/name": "x"}}],
    ),
    (
        "annotations of geopod's own",
        PodTemplate,
        "annotations under geopod.dev/",
        [{"annotations": {"a.b/c": "long text"}}],
        [{"annotations": {"geopod.dev/x": ""}}],
    ),
    (
        "no path of the machine",
        Volume,
        "hostPath is refused",
        [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        [{"name": "data", "hostPath": {"path": "/"}}],
    ),
    (
        "mounts beside geopod's",
        VolumeMount,
        "/geopod and /scratch are",
        [{"name": "d", "mountPath": path} for path in ("/data", "/geopodx", "/data/geopod")],
        [
            {"name": "d", "mountPath": path}
            for path in ("/geopod", "/geopod/env", "/scratch", "/scratch/x")
        ],
    ),
    (
        "one payload of a function",
        Function,
        "give exactly one of inline",
        [a_function(), without(a_function(artifact=ITEMS["artifact"]), "inline")],
        [without(a_function(), "inline"), a_function(artifact=ITEMS["artifact"])],
    ),
    (
        "one payload of arguments",
        EncodedArguments,
        "give exactly one of inline",
        [{"format": "json", "sha256": "0" * 64, "inline": "W10="}],
        [{"format": "json", "sha256": "0" * 64}],
    ),
    (
        "function goes with PerNode and Map",
        ComputeRunSpec,
        "function goes with",
        [a_run_spec(), a_run_spec(mode="Map", map=ITEMS), PUBLISH],
        [without(a_run_spec(), "function"), {**PUBLISH, "function": a_function()}],
    ),
    (
        "map goes with Map",
        ComputeRunSpec,
        "map goes with",
        [a_run_spec(mode="Map", map=ITEMS)],
        [a_run_spec(mode="Map"), a_run_spec(map=ITEMS)],
    ),
    (
        "publish goes with Publish",
        ComputeRunSpec,
        "publish goes with",
        [PUBLISH],
        [without(PUBLISH, "publish"), a_run_spec(publish=["ndvi-7f3/0"])],
    ),
    (
        "partitions goes with PerNode",
        ComputeRunSpec,
        "partitions goes with",
        [a_run_spec(partitions="0-3,9")],
        [a_run_spec(mode="Map", map=ITEMS, partitions="0")],
    ),
    (
        "Publish needs writeToLayer",
        ComputeRunSpec,
        "mode Publish needs",
        [PUBLISH, a_run_spec(writeToLayer=TARGET)],
        [without(PUBLISH, "writeToLayer")],
    ),
    (
        "the run lasts as long as a task",
        ComputeRunSpec,
        "runTimeoutSeconds must be",
        [a_run_spec(timeoutSeconds=60, runTimeoutSeconds=60)],
        [a_run_spec(timeoutSeconds=60, runTimeoutSeconds=59)],
    ),
    (
        "uri or uris",
        Timestamp,
        "give exactly one of uri",
        [{"id": "2024", "uri": "/a"}, {"id": "2024", "uris": ["/a", "/b"]}],
        [{"id": "2024"}, {"id": "2024", "uri": "/a", "uris": ["/b"]}],
    ),
    (
        "images by digest",
        ComputeRuntimeSpec,
        "name images by digest",
        [
            a_runtime_spec(),
            a_runtime_spec(
                imagePolicy="Tag", interpreters=[{"name": "python3.12", "image": "python:3.12"}]
            ),
        ],
        [
            a_runtime_spec(interpreters=[{"name": "python3.12", "image": "python:3.12"}]),
            a_runtime_spec(
                interpreters=[{"name": "python3.12", "image": IMAGE, "gpuImage": "cuda:12"}]
            ),
        ],
    ),
]

# id, model, the start of the message, old, changes that are allowed, changes that are refused
TRANSITIONS: list[
    tuple[str, type[Model], str, dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]
] = [
    (
        "cancel cannot be taken back",
        ComputeRunSpec,
        "cancel cannot",
        a_run_spec(cancel=True),
        [a_run_spec(cancel=True)],
        [a_run_spec(cancel=False)],
    ),
    (
        "a run's function is fixed",
        ComputeRunSpec,
        "function cannot",
        a_run_spec(),
        [a_run_spec(cancel=True)],
        [a_run_spec(function=a_function(name="other"))],
    ),
    (
        "an absent option cannot be set",
        ComputeRunSpec,
        "partitions cannot",
        a_run_spec(),
        [a_run_spec()],
        [a_run_spec(partitions="0")],
    ),
    (
        "a set option cannot be unset",
        ComputeRunSpec,
        "writeToLayer cannot",
        a_run_spec(writeToLayer=TARGET),
        [a_run_spec(writeToLayer={**TARGET, "partial": False})],
        [a_run_spec()],
    ),
    (
        "a layer keeps its type",
        LayerSpec,
        "type cannot",
        a_layer_spec(),
        [a_layer_spec(title="Elevation")],
        [a_layer_spec(type="vector")],
    ),
]


@pytest.mark.parametrize(
    ("model", "message", "good", "bad"), [row[1:] for row in RULES], ids=[row[0] for row in RULES]
)
def test_model_keeps_the_rule(model, message, good, bad):
    for values in good:
        model.model_validate(values)
    for values in bad:
        with pytest.raises(ValidationError) as refused:
            model.model_validate(values)
        assert message in str(refused.value)


@pytest.mark.parametrize(
    ("model", "message", "old", "allowed", "refused"),
    [row[1:] for row in TRANSITIONS],
    ids=[row[0] for row in TRANSITIONS],
)
def test_model_keeps_the_transition(model, message, old, allowed, refused):
    before = model.model_validate(old)
    for values in allowed:
        assert model.model_validate(values).refusals(before) == []
    for values in refused:
        reasons = model.model_validate(values).refusals(before)
        assert any(reason.startswith(message) for reason in reasons)


def test_every_rule_has_cases():
    tried = {(row[1], row[2]) for row in RULES} | {(row[1], row[2]) for row in TRANSITIONS}
    for model, rule in all_rules():
        if rule.message.endswith("create another object."):
            continue  # one rule per field of a run, made by one function
        assert any(model is case and rule.message.startswith(start) for case, start in tried), (
            model,
            rule.message,
        )


def test_every_field_of_a_run_but_cancel_is_immutable():
    frozen = {rule.message.split()[0] for rule in ComputeRunSpec.TRANSITIONS}
    assert frozen == set(crd.structural_schema(ComputeRunSpec)["properties"])


def test_every_message_names_the_fix_and_fits_one_line():
    for _, rule in all_rules():
        assert 20 < len(rule.message) < 100
        assert "\n" not in rule.message


def all_rules():
    models = [Model]
    while models:
        model = models.pop()
        models.extend(model.__subclasses__())
        for rule in (*model.RULES, *model.TRANSITIONS):
            yield model, rule
