"""`geopod layer`: the catalogue."""

from __future__ import annotations

from typing import Any

import click

from geopod.cli.completion import LAYER
from geopod.cli.output import output_option, print_rows
from geopod.cli.target import Chosen, open_client
from geopod.client.layerlike import LayerRef


def row(layer: LayerRef) -> dict[str, Any]:
    """Return a layer as a line of the table."""
    return {
        "name": layer.path_id,
        "type": layer.type,
        "timestamps": ",".join(layer.timestamps),
        "files": {name: list(layer.files(name)) for name in layer.timestamps},
    }


@click.group()
def layer() -> None:
    """Layers: rasters and vectors that environments read."""


@layer.command()
@click.argument("path_id", metavar="NAME")
@click.argument("uris", metavar="[FILE|URI]...", nargs=-1)
@click.option("--timestamp", default="", help="Its name; default: the file's.")
@click.option("--type", type=click.Choice(["raster", "vector"]), help="Default: found out.")
@click.option(
    "--secret", help="Keys of its object store: a Secret of the cluster, or a file of this user."
)
@click.option("--crs", help="Of files that do not say theirs, `EPSG:32632`.")
@click.option("--nodata", type=float, help="Of files that do not say theirs.")
@click.option("--write-to", help="Where results go: a folder, or s3://bucket/prefix.")
@output_option
@click.pass_obj
def add(
    target: Chosen, /, path_id: str, uris: tuple[str, ...], *, output: str, **options: Any
) -> None:
    """Add a layer, or a timestamp to one."""
    with open_client(target) as client:
        added = client.add_layer(path_id, list(uris), **options)
        print_rows([row(added)], ("name", "type", "timestamps"), output)


@layer.command("list")
@output_option
@click.pass_obj
def list_layers(target: Chosen, output: str) -> None:
    """List layers."""
    with open_client(target) as client:
        print_rows(
            [row(found) for found in client.layers()], ("name", "type", "timestamps"), output
        )


@layer.command()
@click.argument("path_id", metavar="NAME", type=LAYER)
@output_option
@click.pass_obj
def show(target: Chosen, path_id: str, output: str) -> None:
    """Show one layer with its files."""
    with open_client(target) as client:
        found = client.get_layer(path_id)
        if output != "table":
            print_rows([row(found)], ("name",), output)
            return
        lines = [
            {"name": path_id, "type": found.type, "timestamp": stamp, "file": file}
            for stamp in found.timestamps
            for file in found.files(stamp)
        ]
        print_rows(lines, ("name", "type", "timestamp", "file"), output)
