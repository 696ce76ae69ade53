"""Options that say what an environment is like: the same for `env create` and `run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from geopod.cli.completion import LAYER_OR_FILE

KEYWORDS = (
    "layers", "nodes", "overlap", "features", "requirements", "large_result", "cpus", "memory",
)  # fmt: skip
"""Keywords of `Client.environment` that these options give."""
_OPTIONS = (
    click.option(
        "--layer",
        "layers",
        multiple=True,
        type=LAYER_OR_FILE,
        metavar="PATH/TIMESTAMP",
        help="A layer, or a file.",
    ),
    click.option("--nodes", type=click.IntRange(1), default=1, show_default=True),
    click.option("--overlap", type=click.IntRange(0), default=0, help="Halo in pixels."),
    click.option("--features", type=click.Choice(["owned", "intersects", "clip"])),
    click.option("--large-result", is_flag=True, help="Allow results over 2 MiB."),
    click.option("--cpus", help="Of a node, `2` or `500m`."),
    click.option("--memory", help="Of a node, `4Gi`."),
)


def environment_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all of these options; `--requirement` has a text of its own in each."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
