"""`geopod plan`: which node would get, or has got, which part of the layers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from geopod.api.layer_report import reading_notes
from geopod.api.plan import Partition, Plan
from geopod.cli.completion import ENVIRONMENT
from geopod.cli.output import output_option, print_rows
from geopod.cli.target import Chosen, open_client
from geopod.client.planning import plan_here
from geopod.errors.wording import size_text

WIDEST = 100
EDGES = ("west", "south", "east", "north")
COLUMNS = ("partition", *EDGES, "size", "features", "share")


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

    rows = [_row(part, found) for part in found.partitions]
    print_rows([_shown(row) for row in rows] if output == "table" else rows, COLUMNS, output)
    if output == "table":
        width = min(shutil.get_terminal_size().columns - 1, WIDEST)
        click.echo(f"\n{partitions_text(found, columns=width)}")
        _say_where(found)
    if png is not None:
        click.echo(f"drawn: {draw_partitions(found, png)}", err=True)


def _row(part: Partition, plan: Plan) -> dict[str, Any]:
    """Return what a partition is, as programs read it."""
    costs = [other.cost for other in plan.partitions if other.core is not None]
    mean = sum(costs) / len(costs) if costs else 0
    edges = (None,) * 4 if part.core is None else part.core
    return {
        "partition": part.index,
        **dict(zip(EDGES, edges, strict=True)),
        "bytes": part.est_bytes,
        "features": part.est_features,
        "share": part.cost / mean if mean else None,
        "cost": part.cost,
        "windows": part.windows,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a partition as a line of the table."""
    edges = {edge: "-" if row[edge] is None else f"{row[edge]:.10g}" for edge in EDGES}
    share = "-" if row["share"] is None else f"{row['share']:.2f}"
    return row | edges | {"size": size_text(row["bytes"]), "share": share}


def _say_where(plan: Plan) -> None:
    """Say what the numbers are in, and what is worth knowing of the layers."""
    if plan.work is not None:
        crs = plan.work.crs if "[" not in plan.work.crs else "a CRS without a code"
        click.echo(f"edges in {crs}; share: cost against the mean", err=True)
    for layer in plan.layers:
        for note in reading_notes(layer, plan):
            click.echo(f"{layer.key}: {note}", err=True)
