"""Writes what the chart says twice: the table of values, and from geopod.api the schema of runtimes.

Run: `python helm/generate.py` after a change of values.yaml or of the models. A test runs it with
`--check`, which writes nothing and ends with 1 if a file would change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from geopod.api.crd import structural_schema
from geopod.api.runtime import ComputeRuntimeSpec

CHART = Path(__file__).parent / "geopod"
BEGIN, END = "<!-- values -->", "<!-- end of values -->"
WORDS = (
    "description", "type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "maxProperties", "required",
)  # fmt: skip  # the order in which they are written


def main(arguments: list[str]) -> int:
    """Write both files, or with `--check` name those that are out of date."""
    stale = []
    for path, text in ((CHART / "values.schema.json", schema()), (CHART / "README.md", readme())):
        if path.read_text("utf-8") == text:
            continue
        if "--check" in arguments:
            stale.append(path.name)
        else:
            path.write_text(text, "utf-8")
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: out of date; run `python helm/generate.py`\n")
    return 1 if stale else 0


# ---- values.schema.json


def schema() -> str:
    """The schema of the values, with the runtime's spec as geopod.api has it."""
    content = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    definition = strict(structural_schema(ComputeRuntimeSpec))
    content["definitions"]["computeRuntimeSpec"] = definition
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def strict(node: dict[str, Any]) -> dict[str, Any]:
    """A structural schema as JSON schema, in which an unknown property is an error."""
    shown = {word: node[word] for word in WORDS if word in node}
    if node.get("x-kubernetes-int-or-string"):
        shown["type"] = ["integer", "string"]
    if "items" in node:
        shown["items"] = strict(node["items"])
    if "properties" in node:
        shown["properties"] = {
            name: strict(child) for name, child in sorted(node["properties"].items())
        }
    if isinstance(node.get("additionalProperties"), dict):
        shown["additionalProperties"] = strict(node["additionalProperties"])
    elif node.get("type") == "object" and "properties" in node:
        shown["additionalProperties"] = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    return shown


# ---- README.md


def readme() -> str:
    """The README with the table of values between its two marks."""
    text = (CHART / "README.md").read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [
        f"| `{path}` | `{json.dumps(value, ensure_ascii=False)}` | {words} |"
        for path, value, words in values()
    ]
    table = ["", "", "| value | default | |", "|---|---|---|", *rows, "", ""]
    return before + BEGIN + "\n".join(table) + END + after


def values() -> Iterator[tuple[str, Any, str]]:
    """Path, default and description of every value, in the order of values.yaml.

    Raises:
        ValueError: a value has no description.
    """
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    documented = dict(descriptions())
    for path in leaves(defaults, documented):
        yield ".".join(path), at(defaults, path), documented[path]


def at(tree: Any, path: tuple[str, ...]) -> Any:
    """The value at a path."""
    for name in path:
        tree = tree[name]
    return tree


def leaves(
    tree: dict[str, Any], documented: dict[tuple[str, ...], str], above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Paths of the values that are described; what lies below one belongs to it."""
    for name, value in tree.items():
        path = (*above, name)
        if path in documented:
            yield path
        elif isinstance(value, dict) and value:
            yield from leaves(value, documented, path)
        else:
            raise ValueError(f"values.yaml: {'.'.join(path)} has no `# --` comment")


def descriptions() -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and `# --` comment of each key that has one; two spaces per level."""
    path: list[str] = []
    words: list[str] = []
    for line in (CHART / "values.yaml").read_text("utf-8").splitlines():
        text = line.strip()
        if text.startswith("# --"):
            words = [text.removeprefix("# --").strip()]
        elif text.startswith("#") and words:
            words.append(text.removeprefix("#").strip())
        elif text and not text.startswith(("#", "-")):
            level = (len(line) - len(line.lstrip())) // 2
            path[level:] = [text.partition(":")[0]]
            if words:
                yield tuple(path), " ".join(words)
            words = []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
