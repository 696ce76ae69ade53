"""`geopod run` and `geopod check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from geopod.cli.asked import KEYWORDS, environment_options
from geopod.cli.completion import ENVIRONMENT, FILE
from geopod.cli.output import output_option, print_results, print_rows, print_value
from geopod.cli.runs import COLUMNS
from geopod.cli.runs import row as run_row
from geopod.cli.script import load_function
from geopod.cli.target import Chosen, open_client
from geopod.client.options import OWN_INTERPRETER
from geopod.client.quantities import seconds
from geopod.client.script import check_python, script_requirements
from geopod.client.sync import Client, Environment


@click.command()
@click.argument("function", metavar="FILE.py:FUNC", type=FILE)
@click.option(
    "--env",
    "environment",
    type=ENVIRONMENT,
    help="Run in this environment; default: a new one, ended after.",
)
@environment_options
@click.option(
    "--requirement",
    "requirements",
    multiple=True,
    help="A package that FUNC needs; default: those of FILE's own block `# /// script`.",
)
@click.option(
    "--map",
    "arguments",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="ARGS.jsonl",
    help="One task per line: a JSON value or list of arguments.",
)
@click.option("--detach", is_flag=True, help="Print the run's name and leave it.")
@click.option("--timeout", help="Stop waiting after this long, `90s`; the run goes on.")
@output_option
@click.pass_obj
def run(target: Chosen, /, function: str, **options: Any) -> int:
    """Run FUNC on every node and print one result per node (or per line of --map)."""
    if options["environment"] is not None:
        _refuse_described(options["environment"])
    f = load_function(function)
    if options["environment"] is None and not options["requirements"]:
        options["requirements"] = _own_requirements(function)
    output, detach = options["output"], options["detach"]
    timeout = None if options["timeout"] is None else seconds(options["timeout"], name="timeout")
    calls = None if options["arguments"] is None else _calls(options["arguments"])
    with open_client(target) as client, _environment(client, options) as environment:
        started = environment.submit(f) if calls is None else environment.submit_map(f, calls)
        if detach:
            if output == "table":
                output = "name"
            print_rows([run_row(started)], COLUMNS, output)
            return 0
        print_results(started.results(timeout=timeout), output, name=started.name)
    return 0


def _refuse_described(environment: str) -> None:
    """Raise click.UsageError for options that describe an environment, where one is named."""
    context = click.get_current_context()
    described = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in KEYWORDS
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if described:
        raise click.UsageError(
            f"{', '.join(described)} describe a new environment, and --env names one that is "
            f"there; geopod env create {environment} {described[0]} … changes it"
        )


def _own_requirements(function: str) -> list[str]:
    """Return what the file of FILE.py:FUNC requires itself, and say so."""
    script = Path(function.rpartition(":")[0])
    found = script_requirements(script) or []
    check_python(script, OWN_INTERPRETER)
    if found:
        click.echo(f"requirements of {script.name}: {', '.join(found)}", err=True)
    return found


def _calls(arguments: Path) -> list[tuple[Any, ...]]:
    """Return each line's arguments; raises click.UsageError for what is not JSON."""
    lines = enumerate(arguments.read_text("utf-8").splitlines(), start=1)
    values = [_value(arguments, number, line) for number, line in lines if line.strip()]
    return [tuple(value) if isinstance(value, list) else (value,) for value in values]


def _value(file: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise click.UsageError(f"{file}, line {number} is not JSON: {error}") from error


@contextmanager
def _environment(client: Client, options: dict[str, Any]) -> Iterator[Environment]:
    """Give the named environment, or a new one that ends with the command unless detached."""
    if options["environment"] is not None:
        yield client.get_environment(options["environment"])
        return
    environment = client.environment(**{name: options[name] for name in KEYWORDS})
    if options["detach"]:
        yield environment
        return
    with environment:
        yield environment


@click.command()
@click.argument("function", metavar="FILE.py:FUNC", type=FILE)
@click.option(
    "--env", "environment", type=ENVIRONMENT, required=True, help="The environment to try it in."
)
@click.option("--partitions", type=click.IntRange(1), default=1, show_default=True)
@output_option
@click.pass_obj
def check(target: Chosen, function: str, environment: str, partitions: int, output: str) -> int:
    """Run FUNC on one real partition: what is sent, what comes back, time and memory."""
    f = load_function(function)
    with open_client(target) as client:
        report = client.get_environment(environment).check(f, partitions=partitions)
    if output in {"json", "yaml"}:
        print_value(asdict(report), output)
    else:
        click.echo(str(report))
    return 0 if report.ok else 1
