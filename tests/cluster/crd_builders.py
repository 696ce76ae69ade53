"""Objects of the four kinds for a real API server, and values that fill a schema."""

from __future__ import annotations

import json
import re
from typing import Any

from api_builders import (
    SHA,
    a_function,
    a_layer_spec,
    a_run_spec,
    a_runtime_spec,
    an_environment_spec,
)
from cluster.testcluster.kubectl import Kubectl, KubectlError
from geopod.api import environment, layer, partitioning, pod, run, runtime

KINDS = {
    environment.ComputeEnvironmentSpec: "ComputeEnvironment",
    run.ComputeRunSpec: "ComputeRun",
    layer.LayerSpec: "Layer",
    runtime.ComputeRuntimeSpec: "ComputeRuntime",
}

PLACES = {
    environment.EnvironmentVariable: lambda it: an_environment_spec(env=[it]),
    partitioning.Extent: lambda it: an_environment_spec(partitioning={"extent": it}),
    partitioning.Grid: lambda it: an_environment_spec(partitioning={"grid": it}),
    pod.PodTemplate: lambda it: an_environment_spec(template=it),
    pod.Volume: lambda it: an_environment_spec(template={"volumes": [it]}),
    pod.VolumeMount: lambda it: an_environment_spec(template={"volumeMounts": [it]}),
    run.Function: lambda it: a_run_spec(function=it),
    run.EncodedArguments: lambda it: a_run_spec(arguments=it),
    layer.Timestamp: lambda it: a_layer_spec(timestamps=[it]),
}
"""Where a part lies in a valid spec."""

OF_PARTS = {
    environment.EnvironmentVariable: "ComputeEnvironment",
    partitioning.Extent: "ComputeEnvironment",
    partitioning.Grid: "ComputeEnvironment",
    pod.PodTemplate: "ComputeEnvironment",
    pod.Volume: "ComputeEnvironment",
    pod.VolumeMount: "ComputeEnvironment",
    run.Function: "ComputeRun",
    run.EncodedArguments: "ComputeRun",
    layer.Timestamp: "Layer",
}

MINIMAL = {
    "ComputeEnvironment": {},
    "ComputeRun": {"environment": "e", "function": a_function()},
    "Layer": {"type": "raster"},
    "ComputeRuntime": a_runtime_spec(),
}

TARGET = {"pathId": "out", "timestampId": "v1"}
ARTIFACT = {"sha256": SHA, "bytes": 3}

FULL_RUN = a_run_spec(
    arguments={"format": "json", "sha256": SHA, "artifact": ARTIFACT},
    partitions="0-3",
    runTimeoutSeconds=3600,
    writeToLayer=TARGET,
)

CHANGED_RUN = {
    "environment": "other",
    "function": a_function(name="other"),
    "arguments": None,
    "mode": "Map",
    "partitions": "0",
    "map": {"artifact": ARTIFACT, "count": 2},
    "publish": ["ndvi-7f3/0"],
    "timeoutSeconds": 60,
    "queueTimeoutSeconds": 60,
    "runTimeoutSeconds": None,
    "retries": {"limit": 3},
    "failurePolicy": "FailFast",
    "priority": 5,
    "onEmpty": "error",
    "writeToLayer": {**TARGET, "partial": True},
    "ttlSecondsAfterFinished": 60,
}
"""Another value of each field of FULL_RUN; None: without it."""


def an_object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def object_of(model: type, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """A whole object that holds `values` of a model of its spec."""
    if model in KINDS:
        return an_object(KINDS[model], name, values)
    return an_object(OF_PARTS[model], name, PLACES[model](values))


def answers(
    kubectl: Kubectl, verb: str, objects: list[dict[str, Any]], *how: str
) -> dict[str, str]:
    """Send all objects at once; name → what the API server said against it, for those refused."""
    stream = "\n---\n".join(map(json.dumps, objects))
    try:
        kubectl(verb, "--filename=-", *how, stdin=stream)
    except KubectlError as error:
        said = str(error)
    else:
        return {}
    found = {}
    for complaint in re.split(r"\n(?=Error from server|The \w+ \")", said):
        names = [
            it["metadata"]["name"] for it in objects if f'"{it["metadata"]["name"]}"' in complaint
        ]
        found |= dict.fromkeys(names, complaint)
    return found or {"": said}


EXAMPLES = {
    r"^[0-9a-f]{64}$": SHA,
    r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$": "0-3,9",
    r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$": "0-3,9",
    r"^python3\.[0-9]{1,2}$": "python3.12",
}


def filled(schema: dict[str, Any]) -> Any:
    """A valid value in which every field of a structural schema is set.

    Raises:
        KeyError: a pattern without an example.
    """
    match schema.get("type"):
        case "object":
            return {name: filled(child) for name, child in schema["properties"].items()}
        case "array":
            return [filled(schema["items"])] * schema.get("minItems", 1)
        case "string":
            return a_string(schema)
        case "boolean":
            return True
        case _:
            return max(1, schema.get("minimum", 1))


def a_string(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date-time":
        return "2026-01-02T03:04:05Z"
    if schema.get("format") == "byte":
        return "aGVsbG8="
    pattern = schema.get("pattern")
    if pattern is None or re.search(pattern, "Ready"):
        return "Ready"
    return EXAMPLES[pattern]
