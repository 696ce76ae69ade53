"""The client of a command."""

from __future__ import annotations

from dataclasses import dataclass

import click

from geopod.client.sync import Client, connect


@dataclass(frozen=True, slots=True)
class Chosen:
    """Where a command works, as `--target` and `--namespace` say."""

    target: str | None = None
    namespace: str | None = None


def open_client(chosen: Chosen) -> Client:
    """Return the client of `--target`; without one this machine, and a line says so."""
    if chosen.target is None:
        click.echo("target: this machine (--target picks a cluster)", err=True)
    return connect(chosen.target or "local", namespace=chosen.namespace)
