"""How data is printed: a table for people, JSON, YAML or names for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geopod.cli.fixes import in_shell
from geopod.display.colour import has_colours, paint
from geopod.display.text import table

if TYPE_CHECKING:
    from geopod.client.aio.explain import Explanation

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml", "name"]), default="table",
    help="How to print.",
)  # fmt: skip


MARK_COLOURS = {"ok": "green", "no": "red", "? ": "yellow"}


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output: str) -> None:
    """Print rows to stdout; `name` prints the first column alone."""
    match output:
        case "json" | "yaml":
            print_value(list(rows), output)
        case "name":
            for row in rows:
                click.echo(row[columns[0]])
        case _:
            colours = has_colours(sys.stdout)
            click.echo(table(rows, columns, colours=colours), color=colours)


def print_results(results: Sequence[Any], output: str, *, name: str = "") -> None:
    """Print one result per node or task: JSON lines in a table's place, or one list.

    `name`: the run's, all that `-o name` prints.
    """
    match output:
        case "json" | "yaml":
            print_value(list(results), output)
        case "name":
            click.echo(name)
        case _:
            for index, result in enumerate(results):
                click.echo(f"{index}\t{json.dumps(result, default=plain, ensure_ascii=False)}")


def print_text(name: str, text: str, output: str, *, key: str) -> None:
    """Print a text as it is, or as the field `key` of a JSON object."""
    match output:
        case "json" | "yaml":
            print_value({"name": name, key: text}, output)
        case "name":
            click.echo(name)
        case _:
            click.echo(text, nl=not text.endswith("\n"))


def print_explanation(explanation: Explanation, output: str, **names: str) -> None:
    """Print what was found and what mends it; `name` prints the fixes alone.

    `names`: what RUN or ENV stands for in a fix, `RUN="ndvi-7f3"`.
    """
    findings = (
        replace(found, fixes=tuple(in_shell(found.fixes, names))) for found in explanation.findings
    )
    explanation = replace(explanation, findings=tuple(findings))
    match output:
        case "json" | "yaml":
            told = {
                "summary": explanation.summary,
                "ok": explanation.ok,
                "fatal": explanation.fatal,
                "facts": [
                    {"about": it.about, "ok": it.ok, "fact": it.fact, "fixes": list(it.fixes)}
                    for it in explanation.findings
                ],
                "fixes": list(explanation.fixes),
            }
            print_value(told, output)
        case "name":
            for fix in explanation.fixes:
                click.echo(fix)
        case _:
            colours = has_colours(sys.stdout)
            click.echo(_marked(str(explanation), colours=colours), color=colours)


def _marked(text: str, *, colours: bool) -> str:
    """Return an explanation's text with its marks in colour."""
    painted = []
    for line in text.splitlines():
        mark, rest = line[:2], line[2:]
        if mark in MARK_COLOURS and rest.startswith("  "):
            painted.append(paint(mark, MARK_COLOURS[mark], on=colours) + rest)
        elif line.startswith("fix: "):
            painted.append(paint("fix:", "bold", on=colours) + line.removeprefix("fix:"))
        else:
            painted.append(line)
    return "\n".join(painted)


def print_value(value: Any, output: str) -> None:
    """Print one JSON-able value as JSON, or as YAML."""
    text = json.dumps(value, indent=2, default=plain, ensure_ascii=False)
    if output == "yaml":
        import yaml  # seldom asked for

        click.echo(yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True), nl=False)
        return
    click.echo(text)


def plain(value: Any) -> Any:
    """Return something JSON can say for a result it has no word for."""
    if isinstance(value, BaseException):
        return {"error": str(value)}
    if isinstance(value, (bytes, memoryview)):
        return {"bytes": len(value)}
    if isinstance(value, Path):
        return str(value)
    to_list: Callable[[], Any] | None = getattr(value, "tolist", None)
    if to_list is not None and getattr(value, "size", 0) <= 100:  # noqa: PLR2004  # a screenful
        return to_list()
    return repr(value)
