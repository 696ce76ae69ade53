"""`geopod doctor` and `geopod capacity`: what there is, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict

import click

from geopod.backends import Capacity
from geopod.cli.output import output_option, print_explanation, print_rows, print_value
from geopod.cli.target import Chosen, open_client
from geopod.errors.wording import size_text

WRONG = 3
"""Exit code of a target that has something wrong with it."""


@click.command()
@output_option
@click.pass_obj
def doctor(target: Chosen, output: str) -> int:
    """Look at resources, operator, gateway, rights and runtimes; nothing is changed."""
    with open_client(target) as client:
        found = client.doctor()
    print_explanation(found, output)
    return 0 if found.ok else WRONG


@click.command()
@output_option
@click.pass_obj
def capacity(target: Chosen, output: str) -> None:
    """Print the machines, quotas and interpreters that environments may use."""
    with open_client(target) as client:
        found = client.capacity()
    match output:
        case "json" | "yaml":
            print_value(asdict(found), output)
        case "name":
            for machine in found.machines:
                click.echo(machine.name)
        case _:
            _print_tables(found)


def _print_tables(found: Capacity) -> None:
    machines = [
        {
            "name": machine.name,
            "cpus": f"{machine.cpus:g}",
            "memory": size_text(machine.memory_bytes),
            "gpus": ", ".join(f"{key} {count}" for key, count in machine.gpus.items()) or "none",
            "ready": "yes" if machine.ready else "no",
        }
        for machine in found.machines
    ]
    if machines:
        print_rows(machines, ("name", "cpus", "memory", "gpus", "ready"), "table")
    if found.quotas:
        click.echo()
        print_rows(found.quotas, ("quota", "resource", "used", "hard"), "table")
    if found.interpreters:
        click.echo(f"\ninterpreters: {', '.join(found.interpreters)}")
    for words in found.hidden:
        click.echo(f"not shown: {words}", err=True)
