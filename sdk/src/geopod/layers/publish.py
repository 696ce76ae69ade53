"""Publish results as a timestamp of a layer: data, then STAC Item, then a revision.

A timestamp is a folder. Readers follow its highest `revision-<n>.json` and nothing else; it is
created only if absent, so two publishers never overwrite each other: the later one reads again and
takes the next number. What a revision names is never changed.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from geopod.layers.headers import OpenedHeader, read_header
from geopod.layers.publish_rasters import RasterGrid, RasterPart, assemble_raster
from geopod.layers.publish_vectors import VectorPart, write_vector
from geopod.layers.sources import Kind, LayerSource
from geopod.layers.stac import Lineage, build_item

__all__ = [
    "Lineage",
    "Publication",
    "RasterGrid",
    "RasterPart",
    "Revision",
    "VectorPart",
    "assemble_raster",
    "publish",
    "read_revision",
    "write_vector",
]


class Revision(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a timestamp consisted of at one time."""

    version: int = 1
    revision: int
    digest: str
    """Of the results that this revision added."""
    files: tuple[str, ...]
    """Names in the timestamp's folder, in the order of the mosaic: a later one lies on top."""
    item: str
    """Name of the STAC Item."""
    created: str

    def hrefs(self, folder: Path) -> tuple[str, ...]:
        """Return the uris of the revision's files."""
        return tuple(str(folder.absolute() / name) for name in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What is published where."""

    path_id: str
    timestamp: str
    kind: Kind
    sha256s: tuple[str, ...]
    """Of the results, in node order: publishing the same ones again changes nothing."""
    file_name: str
    """`data.tif`, `data.parquet` (a folder), `data.gpkg`…"""
    lineage: Lineage

    @property
    def digest(self) -> str:
        """The name of these results in this form."""
        return sha256("\n".join((self.file_name, *self.sha256s)).encode()).hexdigest()


def publish(folder: Path, publication: Publication, assemble: Callable[[Path], object]) -> Revision:
    """Add results to the timestamp that lies in `folder` and return its revision.

    `assemble` writes them to the path it is given; it is not called for results that are there
    already. Raises what it raises, and UnsupportedGridError or LayerAccessError if the files
    would not be one layer with those published before; nothing is published then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = None
    while True:
        revisions = read_revisions(folder)
        known = [one for one in revisions if one.digest == publication.digest]
        if known:
            return known[0]
        name = name or _add_data(folder, publication, assemble)
        latest = revisions[-1] if revisions else None
        before = () if latest is None else latest.files
        files = before if name in before else (*before, name)
        number = 1 if latest is None else latest.revision + 1
        item_name = f"item-{number}-{publication.digest[:12]}.json"
        opened = _open_layer(folder, publication, files)
        item = build_item(
            opened,
            publication.lineage,
            item_id=f"{publication.path_id}-{publication.timestamp}-{number}",
            hrefs=[f"./{file}" for file in files],
        )
        _write(folder / item_name, json.dumps(item, allow_nan=False).encode())
        revision = Revision(
            revision=number,
            digest=publication.digest,
            files=files,
            item=item_name,
            created=publication.lineage.created,
        )
        if _put_if_absent(folder / f"revision-{number}.json", msgspec.json.encode(revision)):
            return revision
        (folder / item_name).unlink()


def read_revision(folder: Path) -> Revision | None:
    """Return the highest revision of a timestamp; None: nothing was published there."""
    revisions = read_revisions(folder)
    return revisions[-1] if revisions else None


def read_revisions(folder: Path) -> list[Revision]:
    """Return all revisions, oldest first."""
    found = [
        msgspec.json.decode(path.read_bytes(), type=Revision)
        for path in folder.glob("revision-*.json")
    ]
    return sorted(found, key=lambda revision: revision.revision)


def _add_data(folder: Path, publication: Publication, assemble: Callable[[Path], object]) -> str:
    """Assemble the data beside its place and move it there whole; returns its name."""
    home = folder / f"data-{publication.digest[:16]}"
    if not home.exists():
        with tempfile.TemporaryDirectory(prefix=".assembling-", dir=folder) as work:
            whole = Path(work) / "whole"
            whole.mkdir()
            assemble(whole / publication.file_name)
            try:
                whole.rename(home)
            except OSError:
                # Another publisher of the same results was faster; its bytes are ours.
                if not home.exists():
                    raise
    return f"{home.name}/{publication.file_name}"


def _open_layer(folder: Path, publication: Publication, files: Sequence[str]) -> OpenedHeader:
    """Return the header of the timestamp as it will be; raises what reading it would raise."""
    return read_header(
        LayerSource(
            key=publication.timestamp,
            path_id=publication.path_id,
            timestamp=publication.timestamp,
            hrefs=tuple(str(folder.absolute() / name) for name in files),
            kind=publication.kind,
        )
    )


def _part(path: Path) -> Path:
    """Return a name beside `path` that no other thread, process or container writes to."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def _write(path: Path, data: bytes) -> None:
    part = _part(path)
    part.write_bytes(data)
    part.replace(path)


def _put_if_absent(path: Path, data: bytes) -> bool:
    """Create a file with all of `data`, or say that there is one already."""
    part = _part(path)
    part.write_bytes(data)
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True
