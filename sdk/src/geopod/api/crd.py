"""From models to CustomResourceDefinitions: JSON schema rewritten into a structural schema.

A structural schema knows no `$ref`, `const`, `null` or `additionalProperties: false`; these are
rewritten. What it cannot say at all (`oneOf`, `prefixItems`, …) is refused here, so that nobody
finds out from an API server. Source: Kubernetes' documentation of structural schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from geopod.api import environment, layer, names, run, runtime
from geopod.api.common import Model
from geopod.api.environment_status import ComputeEnvironmentStatus
from geopod.api.kinds import Column, Kind
from geopod.api.run_status import ComputeRunStatus

Schema = dict[str, Any]

KINDS: tuple[tuple[Kind, type[Model], type[Model], type[Model]], ...] = (
    (
        environment.KIND,
        environment.ComputeEnvironment,
        environment.ComputeEnvironmentSpec,
        ComputeEnvironmentStatus,
    ),
    (run.KIND, run.ComputeRun, run.ComputeRunSpec, ComputeRunStatus),
    (layer.KIND, layer.Layer, layer.LayerSpec, layer.LayerStatus),
    (
        runtime.KIND,
        runtime.ComputeRuntime,
        runtime.ComputeRuntimeSpec,
        runtime.ComputeRuntimeStatus,
    ),
)
"""Kind, whole object, spec, status."""

KEPT = (
    "description", "type", "format", "enum", "default", "pattern", "minimum", "exclusiveMinimum",
    "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "required",
    "items", "additionalProperties", "properties", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
)  # fmt: skip  # the order in which they are written
DROPPED = frozenset({"title", "$defs"})
FORMATS = frozenset({"date-time", "byte", "int32", "int64", "double"})
"""Formats that the API server checks; it ignores others, which would promise too much."""


class StructuralSchemaError(TypeError):
    """A model says something that a structural schema cannot."""


def all_crds() -> list[Schema]:
    """Return the four CRDs, in the order of the documentation."""
    return [
        custom_resource_definition(kind, whole, spec, status) for kind, whole, spec, status in KINDS
    ]


def custom_resource_definition(
    kind: Kind, whole: type[Model], spec: type[Model], status: type[Model]
) -> Schema:
    """Return the CRD of one kind as plain JSON values."""
    version: Schema = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
        "subresources": _subresources(kind),
        "schema": {"openAPIV3Schema": _root_schema(kind, whole, spec, status)},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["geopod"],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    }


def structural_schema(model: type[Model]) -> Schema:
    """Return a model's structural schema; raises StructuralSchemaError where there is none."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _rewrite(raw, raw.get("$defs", {}), model.__name__)


def field_paths(schema: Schema, above: str = "") -> Iterator[str]:
    """Yield the fields of a structural schema, `layers` before `layers.pathId`."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{above}{name}"
        yield from field_paths(inner, f"{above}{name}.")
    if "items" in schema:
        yield from field_paths(schema["items"], above)


def _root_schema(kind: Kind, whole: type[Model], spec: type[Model], status: type[Model]) -> Schema:
    name = {
        "description": f"At most {kind.name_max} characters.",
        "type": "string",
        "pattern": kind.name_pattern,
        "maxLength": kind.name_max,
    }
    return {
        "description": _one_line(whole.__doc__ or ""),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {
                "description": "Version of this object's schema.",
                "type": "string",
            },
            "kind": {"description": "What this object is.", "type": "string"},
            # No description: the API server refuses anything beside the name's limits here.
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": structural_schema(spec),
            "status": _without_defaults(structural_schema(status)),
        },
    }


def _column(column: Column) -> Schema:
    shown: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return {**shown, "priority": 1} if column.wide else shown


def _subresources(kind: Kind) -> Schema:
    if kind.scale is None:
        return {"status": {}}
    replicas, status_replicas, selector = kind.scale
    return {
        "status": {},
        "scale": {
            "specReplicasPath": replicas,
            "statusReplicasPath": status_replicas,
            "labelSelectorPath": selector,
        },
    }


def _rewrite(raw: Mapping[str, Any], definitions: Mapping[str, Schema], where: str) -> Schema:
    """Return one node of the schema in structural form; `where` names it in errors."""
    node = _flatten(raw, definitions, where)
    _rewrite_words(node)
    _refuse_unknown(node, where)
    if "items" in node:
        node["items"] = _rewrite(node["items"], definitions, f"{where}[]")
    if "additionalProperties" in node:
        values = node["additionalProperties"]
        node["additionalProperties"] = _rewrite(values, definitions, f"{where}{{}}")
    if "properties" in node:
        node["properties"] = {
            name: _rewrite(child, definitions, f"{where}.{name}")
            for name, child in node["properties"].items()
        }
    return {word: node[word] for word in KEPT if word in node}


def _rewrite_words(node: Schema) -> None:
    """Say in structural words, in place, what JSON schema says in others."""
    if node.get("x-kubernetes-int-or-string"):
        node.pop("type", None)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if "exclusiveMinimum" in node:
        node["minimum"], node["exclusiveMinimum"] = node["exclusiveMinimum"], True
    if isinstance(node.get("additionalProperties"), bool) and node.pop("additionalProperties"):
        node["x-kubernetes-preserve-unknown-fields"] = True
    if "default" in node and node["default"] is None:
        node.pop("default")
    if "default" in node:
        node["default"] = _without_nulls(node["default"])
    if "description" in node:
        node["description"] = _one_line(node["description"])


def _flatten(raw: Mapping[str, Any], definitions: Mapping[str, Schema], where: str) -> Schema:
    """Resolve references and unions with null; words beside them win."""
    node = {word: value for word, value in raw.items() if word not in DROPPED}
    if "$ref" in node:
        target = definitions[node.pop("$ref").rpartition("/")[2]]
        return _flatten({**target, **node}, definitions, where)
    if "anyOf" in node:
        options = [option for option in node.pop("anyOf") if option.get("type") != "null"]
        if len(options) == 1:
            return _flatten({**options[0], **node}, definitions, where)
        if not node.get("x-kubernetes-int-or-string"):
            raise StructuralSchemaError(f"{where} is one of several types; choose one.")
        for option in options:  # limits of both types stand beside the marker
            node = {**option, **node}
    return node


def _refuse_unknown(node: Schema, where: str) -> None:
    for word in node:
        if word not in KEPT:
            raise StructuralSchemaError(f"{where} uses {word!r}, which no CRD can say.")
    if "format" in node and node["format"] not in FORMATS:
        raise StructuralSchemaError(f"{where} has format {node['format']!r}, which nobody checks.")
    if "properties" in node and "additionalProperties" in node:
        raise StructuralSchemaError(f"{where} has both properties and additionalProperties.")
    if "type" not in node and "x-kubernetes-int-or-string" not in node:
        raise StructuralSchemaError(f"{where} has no type.")


def _without_nulls(value: Any) -> Any:
    """Return a default as it is written to the object: without what is absent."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _without_defaults(schema: Schema) -> Schema:
    """Return the schema of a status: what nobody wrote, the server must not say in its place."""
    node = {word: value for word, value in schema.items() if word != "default"}
    for word in ("items", "additionalProperties"):
        if word in node:
            node[word] = _without_defaults(node[word])
    if "properties" in node:
        node["properties"] = {
            name: _without_defaults(child) for name, child in node["properties"].items()
        }
    return node


def _one_line(text: str) -> str:
    return " ".join(text.split())
