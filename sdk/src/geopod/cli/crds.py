"""`geopod crds`: the four CustomResourceDefinitions, printed or written to folders."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click
import yaml

from geopod.api.crd import all_crds

HEADER = "# GENERATED from geopod.api by `make generate`; edit the models, not this file.\n"
WIDTH = 100


def crd_files() -> Iterator[tuple[str, str]]:
    """Yield file name and YAML text of each CRD; the same bytes for the same models."""
    for definition in all_crds():
        # Fresh copies: YAML would write a value that two fields share as an anchor.
        fresh = json.loads(json.dumps(definition))
        text = yaml.safe_dump(fresh, sort_keys=False, allow_unicode=True, width=WIDTH)
        yield f"{definition['spec']['names']['plural']}.yaml", HEADER + text


def print_crds(stream: TextIO) -> None:
    """Write all CRDs to `stream` as one YAML stream, ready for `kubectl apply -f -`."""
    stream.writelines("---\n" + text for _, text in crd_files())


def write_crds(folder: Path) -> None:
    """Make `folder` hold the CRDs, one file each, and no other YAML file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = dict(crd_files())
    for stale in folder.glob("*.yaml"):
        if stale.name not in files:
            stale.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


@click.command("crds")
@click.option(
    "--into",
    "folders",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    help="Write one file per CRD into this folder instead (may be repeated).",
)
def crds(folders: tuple[Path, ...]) -> None:
    """Print the custom resource definitions that geopod needs in a cluster."""
    for folder in folders:
        write_crds(folder)
    if not folders:
        print_crds(sys.stdout)
