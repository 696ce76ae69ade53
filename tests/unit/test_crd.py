"""The CRDs: structural, bounded, described, the same bytes every time."""

from __future__ import annotations

import io
import re
from typing import Any, Literal

import pytest
import yaml
from geopod.api import crd
from geopod.api.common import Model
from geopod.cli.crds import crd_files, print_crds, write_crds
from pydantic import Field

DEFINITIONS = {it["spec"]["names"]["kind"]: it for it in crd.all_crds()}
FORBIDDEN = {"$ref", "anyOf", "oneOf", "allOf", "not", "const", "title", "nullable", "uniqueItems"}


def schema_of(kind: str) -> dict[str, Any]:
    version = DEFINITIONS[kind]["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]


def nodes(schema, path=""):
    """Every node of a schema with its path: properties, items, values of maps."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


ALL_NODES = [
    (f"{kind}{path}", node) for kind in DEFINITIONS for path, node in nodes(schema_of(kind))
]
FREE = ("apiVersion", "kind", "metadata")  # the API server's own


def violations(check):
    return [path for path, node in ALL_NODES if check(path, node)]


def test_every_field_is_described():
    missing = [
        f"{path}.{name}"
        for path, node in ALL_NODES
        for name, child in node.get("properties", {}).items()
        if name != "metadata" and not child.get("description", "").strip()
    ]
    assert missing == []


def test_no_word_that_a_structural_schema_lacks():
    assert violations(lambda _, node: FORBIDDEN & node.keys()) == []


def test_every_node_has_one_type():
    def is_wrong(_path, node):
        is_either = node.get("x-kubernetes-int-or-string", False)
        return is_either == ("type" in node)

    assert violations(is_wrong) == []


def test_an_object_has_properties_or_values_never_both():
    assert violations(lambda _, node: {"properties", "additionalProperties"} <= node.keys()) == []


def test_every_string_list_and_map_is_bounded():
    def is_open(path, node):
        if path.split(".")[-1] in FREE or "enum" in node or node.get("format") == "date-time":
            return False
        return (
            (node.get("type") == "string" and "maxLength" not in node)
            or (node.get("type") == "array" and "maxItems" not in node)
            or ("additionalProperties" in node and "maxProperties" not in node)
            or ("x-kubernetes-int-or-string" in node and "maxLength" not in node)
        )

    assert violations(is_open) == []


def test_every_list_says_how_it_merges():
    lists = [node for _, node in ALL_NODES if node.get("type") == "array"]
    assert {node.get("x-kubernetes-list-type") for node in lists} == {"atomic", "map", "set"}


def test_keys_of_lists_are_required_or_have_a_default():
    for path, node in ALL_NODES:
        for key in node.get("x-kubernetes-list-map-keys", ()):
            item = node["items"]
            assert key in item.get("required", ()) or "default" in item["properties"][key], path


def test_sets_hold_scalars():
    sets = [node for _, node in ALL_NODES if node.get("x-kubernetes-list-type") == "set"]
    assert {node["items"]["type"] for node in sets} == {"string", "integer"}


def test_every_default_is_valid_as_written():
    def check(schema, value, path):
        match schema.get("type"):
            case "object":
                assert set(schema.get("required", ())) <= value.keys(), path
                for name, item in value.items():
                    check(schema["properties"][name], item, f"{path}.{name}")
            case "array":
                assert isinstance(value, list), path
                assert len(value) <= schema["maxItems"], path
                for item in value:
                    check(schema["items"], item, path)
            case "string":
                assert isinstance(value, str), path
                assert value in schema.get("enum", [value]), path
                assert re.search(schema.get("pattern", ""), value), path
            case "integer" | "number":
                assert schema.get("minimum", value) <= value <= schema.get("maximum", value), path
            case "boolean":
                assert isinstance(value, bool), path
            case _:
                assert schema["x-kubernetes-int-or-string"], path

    defaults = [(path, node) for path, node in ALL_NODES if "default" in node]
    assert len(defaults) > 60
    for path, node in defaults:
        check(node, node["default"], path)


def test_status_tells_nothing_that_nobody_wrote():
    assert violations(lambda path, node: ".status" in path and "default" in node) == []


def test_columns_scale_and_selectable_fields_point_at_fields():
    for kind, definition in DEFINITIONS.items():
        version = definition["spec"]["versions"][0]
        scale = version["subresources"].get("scale", {})
        paths = [
            *(column["jsonPath"] for column in version["additionalPrinterColumns"]),
            *(field["jsonPath"] for field in version.get("selectableFields", ())),
            *scale.values(),
        ]
        for path in paths:
            if path == ".metadata.creationTimestamp":
                continue
            node = schema_of(kind)
            for name in path.split("[")[0].strip(".").split("."):
                node = node["properties"][name]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("ComputeEnvironment", ("computeenvironments", "cenv", "Namespaced", 40)),
        ("ComputeRun", ("computeruns", "crun", "Namespaced", 63)),
        ("Layer", ("layers", "lyr", "Namespaced", 63)),
        ("ComputeRuntime", ("computeruntimes", "crt", "Cluster", 63)),
    ],
)
def test_names_scope_and_length(kind, wanted):
    spec = DEFINITIONS[kind]["spec"]
    limit = schema_of(kind)["properties"]["metadata"]["properties"]["name"]["maxLength"]
    assert (spec["names"]["plural"], spec["names"]["shortNames"][0], spec["scope"], limit) == wanted
    assert spec["names"]["categories"] == ["geopod"]
    assert spec["conversion"] == {"strategy": "None"}


def test_no_stored_object_ever_needs_a_rewrite():
    """A second version wants a migration: docs/decisions/0051."""
    for definition in DEFINITIONS.values():
        versions = definition["spec"]["versions"]
        assert [(it["name"], it["served"], it["storage"]) for it in versions] == [
            ("v1alpha1", True, True)
        ]


@pytest.mark.parametrize(
    ("kind", "shown", "wide"),
    [
        (
            "ComputeEnvironment",
            "READY NODES READY-NODES GPUS PYTHON RUNS REASON AGE",
            "IDLE-SINCE EPOCH BUNDLE",
        ),
        (
            "ComputeRun",
            "ENVIRONMENT PHASE DONE TOTAL FAILED PROGRESS AGE",
            "REASON BYTES EXPIRES",
        ),
        ("Layer", "TYPE TIMESTAMPS ACCEPTED AGE", ""),
        ("ComputeRuntime", "PYTHONS GPU AGE", ""),
    ],
)
def test_printer_columns(kind, shown, wide):
    columns = DEFINITIONS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [it["name"] for it in columns if not it.get("priority")] == shown.split()
    assert [it["name"] for it in columns if it.get("priority") == 1] == wide.split()


def test_reserved_words_are_escaped_in_rules():
    rules = schema_of("ComputeRun")["properties"]["spec"]["x-kubernetes-validations"]
    about_function = [it["rule"] for it in rules if "function" in it["rule"]]
    assert len(about_function) == 2
    assert not any(re.search(r"\.function\b", rule) for rule in about_function)


def test_limits_stand_beside_the_int_or_string_marker():
    rollout = schema_of("ComputeEnvironment")["properties"]["spec"]["properties"]["rollout"]
    share = rollout["properties"]["maxUnavailable"]
    assert share["minimum"] == 1
    assert share["pattern"] == "^([1-9][0-9]?|100)%$"
    assert share["x-kubernetes-int-or-string"] is True


def test_output_is_the_same_every_time_and_parses(tmp_path):
    first, second = io.StringIO(), io.StringIO()
    print_crds(first)
    print_crds(second)
    assert first.getvalue() == second.getvalue()
    assert [it["spec"]["names"]["kind"] for it in yaml.safe_load_all(first.getvalue())] == list(
        DEFINITIONS
    )
    (tmp_path / "old.yaml").write_text("kind: Gone\n")
    write_crds(tmp_path)
    written = {it.name: it.read_text() for it in tmp_path.iterdir()}
    assert written == dict(crd_files())
    assert all(text.startswith("# GENERATED") for text in written.values())


def test_client_side_apply_has_room_for_its_annotation():
    for _, text in crd_files():
        assert len(str(yaml.safe_load(text))) < 262_144 / 2


class Either(Model):
    """One of two types."""

    value: int | str
    """A value."""


class Pair(Model):
    """A fixed tuple."""

    value: tuple[int, str]
    """A value."""


class Fixed(Model):
    """Words that are rewritten."""

    kind: Literal["one"] = "one"
    """One word."""
    size: float | None = Field(default=None, gt=0)
    """A size."""


@pytest.mark.parametrize("model", [Either, Pair])
def test_what_no_crd_can_say_is_refused(model):
    with pytest.raises(crd.StructuralSchemaError, match=f"{model.__name__}.value"):
        crd.structural_schema(model)


def test_const_null_and_exclusive_minimum_are_rewritten():
    assert crd.structural_schema(Fixed)["properties"] == {
        "kind": {"description": "One word.", "type": "string", "enum": ["one"], "default": "one"},
        "size": {
            "description": "A size.",
            "type": "number",
            "minimum": 0,
            "exclusiveMinimum": True,
        },
    }
