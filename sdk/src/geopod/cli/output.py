"""How data is printed: a table for people, JSON, YAML or names for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geopod.display.text import table

if TYPE_CHECKING:
    from geopod.client.aio.explain import Explanation

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml", "name"]), default="table",
    help="How to print.",
)  # fmt: skip


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output: str) -> None:
    """Print rows to stdout; `name` prints the first column alone."""
    match output:
        case "json":
            click.echo(json.dumps(list(rows), indent=2, default=plain))
        case "yaml":
            import yaml  # seldom asked for

            click.echo(yaml.safe_dump(json.loads(json.dumps(list(rows), default=plain))), nl=False)
        case "name":
            for row in rows:
                click.echo(row[columns[0]])
        case _:
            click.echo(table(rows, columns))


def print_results(results: Sequence[Any], output: str) -> None:
    """Print one result per node or task: JSON lines in a table's place, or one JSON list."""
    if output == "json":
        click.echo(json.dumps(list(results), indent=2, default=plain))
        return
    for index, result in enumerate(results):
        click.echo(f"{index}\t{json.dumps(result, default=plain, ensure_ascii=False)}")


def print_explanation(explanation: Explanation, output: str) -> None:
    """Print what was found and what mends it; `name` prints the fixes alone."""
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
            click.echo(str(explanation))


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
