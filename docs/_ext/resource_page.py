"""The page of the custom resources, from the definitions that `make generate` writes."""

# ruff: noqa: INP001  # loaded by Sphinx, from this folder

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from geopod.api.crd import KINDS, custom_resource_definition
from geopod.api.reasons import ENVIRONMENT_REASONS, FATAL, RUN_REASONS

Schema = dict[str, Any]
REASONS = {"ComputeEnvironment": ENVIRONMENT_REASONS, "ComputeRun": RUN_REASONS}


def resource_text() -> str:
    """Return one section per kind as Markdown: fields of spec and status, rules, reasons."""
    return "\n".join(line for entry in KINDS for line in _kind(custom_resource_definition(*entry)))


def _kind(definition: Schema) -> Iterator[str]:
    spec = definition["spec"]
    names, (version,) = spec["names"], spec["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    name = schema["properties"]["metadata"]["properties"]["name"]
    yield f"## {names['kind']}\n"
    yield f"{schema['description']}\n"
    yield (
        f"`{spec['group']}/{version['name']}`, `kubectl get {names['plural']}` or "
        f"`{names['shortNames'][0]}`, {spec['scope'].lower()}. "
        f"Its name has at most {name['maxLength']} characters.\n"
    )
    for part in ("spec", "status"):
        yield f"### {names['kind']}.{part}\n"
        yield "| field | type | default | |\n|---|---|---|---|"
        yield from _rows(schema["properties"][part], "")
        yield ""
        yield from _rules(schema["properties"][part])
    yield from _reasons(names["kind"])


def _rows(schema: Schema, path: str) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        default = _default(child) if name not in required else "required"
        yield f"| `{here}` | {_type(child)} | {default} | {_cell(child.get('description', ''))} |"
        inner, mark = child, ""
        while inner.get("type") == "array":
            inner, mark = inner["items"], f"{mark}[]"
        yield from _rows(inner, f"{here}{mark}")


def _type(schema: Schema) -> str:
    """Return a field's type and limits in words."""
    kind = "int or string" if schema.get("x-kubernetes-int-or-string") else schema.get("type", "")
    if kind == "array":
        inner = _type(schema["items"])
        return f"list of {inner}" + (f", ≤ {schema['maxItems']}" if "maxItems" in schema else "")
    if "enum" in schema:
        return " · ".join(f"`{word}`" for word in schema["enum"])
    if kind == "object" and "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind} {low:,} … {high:,}"
    if low is not None:
        return f"{kind} {'>' if schema.get('exclusiveMinimum') else '≥'} {low:,}"
    return f"{kind} ≤ {schema['maxLength']:,}" if "maxLength" in schema else kind


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return ""
    return f"`{_cell(json.dumps(schema['default'], ensure_ascii=False))}`"


def _rules(schema: Schema) -> Iterator[str]:
    messages = list(dict.fromkeys(_messages(schema)))
    if messages:
        yield "Refused by the API server, with these words:\n"
        yield from (f"* {message}" for message in messages)
        yield ""


def _messages(schema: Schema) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield rule["message"]
    for child in schema.get("properties", {}).values():
        yield from _messages(child)
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from _messages(schema[inner])


def _reasons(kind: str) -> Iterator[str]:
    if kind not in REASONS:
        return
    yield f"### {kind} conditions\n"
    yield "| condition | reason | says |\n|---|---|---|"
    for condition, sentences in REASONS[kind].items():
        for reason, words in sentences.items():
            person = " (a person has to act)" if reason in FATAL else ""
            yield f"| `{condition}` | `{reason}` | {_cell(words)}{person} |"
    yield ""


def _cell(text: str) -> str:
    """Return text that stays in its cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
