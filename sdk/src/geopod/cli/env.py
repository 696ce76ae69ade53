"""`geopod env`: environments."""

from __future__ import annotations

import time
from typing import Any

import click

from geopod.cli.asked import environment_options
from geopod.cli.completion import ENVIRONMENT, FILE
from geopod.cli.output import output_option, print_explanation, print_rows, print_text
from geopod.cli.target import Chosen, open_client
from geopod.client.sync import Environment
from geopod.display.text import duration

COLUMNS = ("name", "phase", "ready", "nodes", "python", "layers", "age")


def row(environment: Environment) -> dict[str, Any]:
    """Return an environment as a line of the table."""
    created = environment.created
    return {
        "name": environment.name,
        "phase": environment.phase,
        "ready": environment.nodes_ready,
        "nodes": environment.nodes,
        "python": environment.python_version,
        "layers": len(environment.layers),
        "age": duration(time.time() - created) if created else "",
        "id": environment.id,
        "message": environment.message,
    }


@click.group()
def env() -> None:
    """Environments: N warm nodes next to their partitions."""


@env.command()
@click.argument("name")
@environment_options
@click.option("--file", "files", multiple=True, type=FILE, help="A plain file for every node.")
@click.option("--interpreter", help="`python3.12`; default: your own minor version.")
@click.option("--requirement", "requirements", multiple=True, help="A package that nodes need.")
@click.option("--idle-after", default="30m", show_default=True)
@click.option("--no-wait", is_flag=True, help="Return at once.")
@output_option
@click.pass_obj
def create(target: Chosen, /, name: str, *, no_wait: bool, output: str, **options: Any) -> None:
    """Create an environment, or update the one of this name."""
    with open_client(target) as client:
        made = client.environment(name, wait=not no_wait, **options)
        print_rows([row(made)], COLUMNS, output)


@env.command("list")
@output_option
@click.pass_obj
def list_environments(target: Chosen, output: str) -> None:
    """List environments."""
    with open_client(target) as client:
        print_rows([row(found) for found in client.environments()], COLUMNS, output)


@env.command()
@click.argument("name", type=ENVIRONMENT)
@output_option
@click.pass_obj
def show(target: Chosen, name: str, output: str) -> None:
    """Show one environment."""
    with open_client(target) as client:
        found = client.get_environment(name)
        print_rows([row(found)], (*COLUMNS, "message"), output)


@env.command()
@click.argument("name", type=ENVIRONMENT)
@output_option
@click.pass_obj
def explain(target: Chosen, name: str, output: str) -> None:
    """Say why an environment is as it is, and what mends it."""
    with open_client(target) as client:
        print_explanation(client.get_environment(name).explain(), output, ENV=name)


@env.command("build-log")
@click.argument("name", type=ENVIRONMENT)
@click.option("-f", "--follow", is_flag=True, help="Go on until nothing is being installed.")
@output_option
@click.pass_obj
def build_log(target: Chosen, name: str, *, follow: bool, output: str) -> None:
    """Print what installing the requirements said."""
    with open_client(target) as client:
        found = client.get_environment(name)
        if follow and output == "table":
            for line in found.build_log(follow=True):
                click.echo(line)
            return
        text = "\n".join(found.build_log(follow=True)) if follow else found.build_log()
        if not text:
            click.echo(f"nothing was installed for {name}", err=True)
        if text or output != "table":
            print_text(name, text, output, key="log")


@env.command()
@click.argument("name", type=ENVIRONMENT)
@click.argument("nodes", type=click.IntRange(0))
@output_option
@click.pass_obj
def scale(target: Chosen, name: str, nodes: int, output: str) -> None:
    """Change the number of nodes."""
    with open_client(target) as client:
        found = client.get_environment(name)
        found.scale(nodes)
        print_rows([row(found)], COLUMNS, output)


@env.command()
@click.argument("name", type=ENVIRONMENT)
@output_option
@click.pass_obj
def refresh(target: Chosen, name: str, output: str) -> None:
    """Install and plan anew: what lies at the sources has changed."""
    with open_client(target) as client:
        found = client.get_environment(name)
        found.refresh()
        print_rows([row(found)], COLUMNS, output)


@env.command()
@click.argument("name", type=ENVIRONMENT)
@output_option
@click.pass_obj
def suspend(target: Chosen, name: str, output: str) -> None:
    """Put the nodes to sleep; runs wait."""
    with open_client(target) as client:
        found = client.get_environment(name)
        found.suspend()
        print_rows([row(found)], COLUMNS, output)


@env.command()
@click.argument("name", type=ENVIRONMENT)
@output_option
@click.pass_obj
def resume(target: Chosen, name: str, output: str) -> None:
    """Wake a sleeping or terminated environment."""
    with open_client(target) as client:
        found = client.get_environment(name)
        found.resume()
        print_rows([row(found)], COLUMNS, output)


@env.command()
@click.argument("name", type=ENVIRONMENT, required=False)
@click.option("--all", "every", is_flag=True, help="All environments.")
@output_option
@click.pass_obj
def terminate(target: Chosen, name: str | None, *, every: bool, output: str) -> None:
    """End the nodes; the record and all results stay."""
    if (name is None) != every:
        raise click.UsageError("give a NAME, or --all")
    with open_client(target) as client:
        if name is None:
            client.terminate_all()
            ended = list(client.environments())
        else:
            ended = [client.get_environment(name)]
            ended[0].terminate()
        print_rows([row(found) for found in ended], COLUMNS, output)


@env.command()
@click.argument("name", type=ENVIRONMENT)
@click.option("--results", is_flag=True, help="Remove its runs' results too.")
@output_option
@click.pass_obj
def delete(target: Chosen, name: str, *, results: bool, output: str) -> None:
    """Remove an environment; print what it was."""
    with open_client(target) as client:
        found = client.get_environment(name)
        found.delete(results=results)
        print_rows([row(found)], COLUMNS, output)
