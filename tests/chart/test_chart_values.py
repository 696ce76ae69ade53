"""Values of the chart: refused when wrong, all described, all read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest
import yaml
from chart_builders import (
    CHART,
    EVERYTHING_ON,
    HelmError,
    at,
    helm,
    kinds,
    leaves,
    render,
)

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
EVERYTHING = yaml.safe_load(EVERYTHING_ON.read_text("utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))


def test_defaults_and_everything_pass_lint():
    helm("lint", "--strict", str(CHART))
    helm("lint", "--strict", str(CHART), f"--values={EVERYTHING_ON}")


@pytest.mark.parametrize("files", [(), (EVERYTHING_ON,)], ids=["defaults", "everything on"])
def test_every_object_is_named_once(files):
    objects = render({}, *files)
    keys = [
        (it["kind"], it["metadata"].get("namespace", ""), it["metadata"]["name"]) for it in objects
    ]
    assert len(keys) == len(set(keys)) > 20


def test_everything_on_has_what_the_defaults_leave_out():
    assert kinds(render({}, EVERYTHING_ON)) - kinds(render()) == {
        "PodMonitor",
        "PrometheusRule",
        "ServiceMonitor",
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"operator": {"resource": {}}}, "'resource' not allowed"),
        ({"gatway": {}}, "'gatway' not allowed"),
        ({"gateway": {"storage": {"kind": "nfs"}}}, "/gateway/storage/kind"),
        ({"images": {"agent": {"digest": "latest"}}}, "/images/agent/digest"),
        ({"rbac": {"scope": "Cluster"}}, "/rbac/scope"),
        ({"runtimes": {"default": {"interpreter": []}}}, "'interpreter' not allowed"),
        ({"runtimes": {"Default": {}}}, "Default"),
        ({"gateway": {"replicas": 2}}, "needs gateway.storage.kind: s3"),
        ({"gateway": {"storage": {"kind": "s3"}}}, "needs gateway.storage.s3.bucket"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_wrong_value_is_refused_by_name(values, words):
    with pytest.raises(HelmError) as refused:
        render(values)
    assert words in str(refused.value)


def test_schema_leaves_nothing_open_but_maps_of_kubernetes():
    open_ones = set()

    def walk(node, path):
        if "properties" in node and node.get("additionalProperties") is not False:
            open_ones.add(path)
        for name, child in node.get("properties", {}).items():
            walk(child, f"{path}.{name}")
        for word in ("items", "additionalProperties"):
            if isinstance(node.get(word), dict):
                walk(node[word], f"{path}[]")

    walk(SCHEMA, "")
    for name, definition in SCHEMA["definitions"].items():
        walk(definition, name)
    # A volume is Kubernetes' own object.
    assert open_ones == {"computeRuntimeSpec.podTemplate.volumes[]"}


def test_schema_knows_every_default():
    for path, _ in leaves(DEFAULTS):
        node = SCHEMA
        for name in path:
            if "$ref" in node:
                node = SCHEMA["definitions"][node["$ref"].rpartition("/")[2]]
            if "properties" not in node:  # a map of Kubernetes or of runtimes
                break
            node = node["properties"][name]


def test_generated_parts_are_up_to_date():
    script = CHART.parent / "generate.py"
    command = [sys.executable, str(script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def paths_of_values():
    """Paths of values.yaml; runtimes, resources and labels are taken whole."""
    return list(dict.fromkeys(whole(path) for path, _ in leaves(DEFAULTS)))


def whole(path):
    ends = (n for n, name in enumerate(path, 1) if name in {"runtimes", "resources", "labels"})
    return path[: next(ends, len(path))]


def test_everything_on_sets_every_value_to_something_else():
    # true by default, and their absence has tests of its own
    same = {
        ("rbac", "create"),
        ("rbac", "scope"),
        ("crds", "enabled"),
        ("networkPolicy", "enabled"),
    }
    same |= {("coordinator", "priorityClass", "create"), ("operator", "lease")}
    equal = {path for path in paths_of_values() if at(EVERYTHING, path) == at(DEFAULTS, path)}
    assert equal == same


BASES = (
    {},
    {"gateway": {"replicas": 1, "storage": {"kind": "pvc", "pvc": {"existingClaim": ""}}}},
    {"gateway": {"replicas": 1, "storage": {"kind": "pvc"}}},
    {"gateway": {"replicas": 1, "storage": {"kind": "emptyDir"}}},
    {"images": {"operator": {"digest": ""}, "agent": {"digest": ""}}},
)
"""Beside everything-on; a value may count in one of these alone."""


def merged(below, above):
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {name: merged(below.get(name), value) for name, value in above.items()}


OTHERWISE = {
    ("rbac", "create"): False,
    ("rbac", "scope"): "namespace",
    ("crds", "enabled"): False,
    ("networkPolicy", "enabled"): False,
    ("coordinator", "priorityClass", "create"): False,
    ("operator", "lease"): False,
    ("gateway", "storage", "s3", "bucket"): "another",
}
"""Where the default is the same as in everything-on, or refused with the rest of it."""


@pytest.mark.timeout(900)
def test_every_value_is_read():
    bases = [merged(EVERYTHING, {"crds": {"enabled": False}, **base}) for base in BASES]
    bases.append(EVERYTHING)  # with the definitions, for the values about them
    before = [render(base) for base in bases]

    def is_read(path):
        value = OTHERWISE.get(path, at(DEFAULTS, path))
        chosen = slice(-1, None) if path[0] == "crds" else slice(0, -1)
        return any(
            render(changed) != rendered
            for base, rendered in zip(bases[chosen], before[chosen], strict=True)
            if not refused(changed := replaced(base, path, value))
        )

    paths = list(paths_of_values())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = list(pool.map(is_read, paths))
    assert [".".join(path) for path, it in zip(paths, read, strict=True) if not it] == []


def replaced(values, path, value):
    """A copy in which one value is another one; a map is replaced as a whole."""
    copy = deepcopy(values)
    at(copy, path[:-1])[path[-1]] = value
    return copy


def refused(values):
    """Combinations that the chart refuses: several replicas without a bucket."""
    gateway = values["gateway"]
    storage = gateway["storage"]
    return (gateway["replicas"] > 1 and storage["kind"] != "s3") or (
        storage["kind"] == "s3" and not storage["s3"]["bucket"]
    )
