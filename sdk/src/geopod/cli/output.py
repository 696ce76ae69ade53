"""How data is printed: a table for people, JSON, YAML or names for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from geopod.display.text import table

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
