"""`geopod plan`: which node would get, or has got, which part of the layers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from geopod.api.plan import Partition, Plan
from geopod.cli.completion import ENVIRONMENT
from geopod.cli.output import output_option, print_rows
from geopod.cli.target import Chosen, open_client
from geopod.client.planning import plan_here
from geopod.errors.wording import size_text

WIDEST = 100
COLUMNS = ("partition", "west", "south", "east", "north", "size", "features", "share")


@click.command()
@click.argument("layers", metavar="[FILE|URI|NAME/TIMESTAMP]...", nargs=-1)
@click.option("--env", "environment", type=ENVIRONMENT, help="The plan that this environment has.")
@click.option("--nodes", type=click.IntRange(1, 1000), default=4, show_default=True)
@click.option("--overlap", type=click.IntRange(0), help="Halo in pixels.")
@click.option("--features", type=click.Choice(["owned", "intersects", "clip"]))
@click.option(
    "--png",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw the partitions to this file too.",
)
@output_option
@click.pass_obj
def plan(
    target: Chosen,
    /,
    layers: tuple[str, ...],
    environment: str | None,
    png: Path | None,
    output: str,
    **options: Any,
) -> None:
    """Show how layers are split over nodes; reads their headers alone and starts nothing.

    Layers are files, addresses (s3://, https://), or layers of this machine's catalogue.
    """
    if bool(layers) == (environment is not None):
        raise click.UsageError("give FILEs, or --env NAME")
    if environment is not None:
        with open_client(target) as client:
            found = client.get_environment(environment).plan()
    else:
        nodes = options.pop("nodes")
        asked = {name: value for name, value in options.items() if value is not None}
        found = plan_here(layers, nodes=nodes, options=asked)
    from geopod.layers.show import draw_partitions, partitions_text  # loads shapely

    print_rows([_row(part, found) for part in found.partitions], COLUMNS, output)
    if output == "table":
        width = min(shutil.get_terminal_size().columns - 1, WIDEST)
        click.echo(f"\n{partitions_text(found, columns=width)}")
        _say_where(found)
    if png is not None:
        click.echo(f"drawn: {draw_partitions(found, png)}", err=True)


def _row(part: Partition, plan: Plan) -> dict[str, Any]:
    """Return a partition as a line of the table."""
    costs = [other.cost for other in plan.partitions if other.core is not None]
    mean = sum(costs) / len(costs) if costs else 0
    edges = ("-",) * 4 if part.core is None else tuple(f"{edge:.10g}" for edge in part.core)
    return {
        "partition": str(part.index),
        **dict(zip(("west", "south", "east", "north"), edges, strict=True)),
        "size": size_text(part.est_bytes),
        "features": str(part.est_features),
        "share": f"{part.cost / mean:.2f}" if mean else "-",
        "bytes": part.est_bytes,
        "cost": part.cost,
        "windows": part.windows,
    }


def _say_where(plan: Plan) -> None:
    """Say what the numbers are in."""
    if plan.work is not None:
        crs = plan.work.crs if "[" not in plan.work.crs else "a CRS without a code"
        click.echo(f"edges in {crs}; share: cost against the mean", err=True)
