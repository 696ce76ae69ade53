"""Publish results as a timestamp of a layer: data, then STAC Item, then a revision.

A timestamp is a folder, here or in an object store (`shelves`). Readers follow its highest
`revision-<n>.json` and nothing else; it is created only if absent, so two publishers never
overwrite each other: the later one reads again and takes the next number. What a revision names is
never changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

import msgspec

from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.headers import OpenedHeader, read_header
from geopod.layers.publish_pieces import RasterGrid, RasterPart
from geopod.layers.publish_rasters import assemble_raster
from geopod.layers.publish_vectors import VectorPart, write_vector
from geopod.layers.shelves import Assemble, LocalFolder, Shelf
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
    missing: tuple[int, ...] = ()
    """Tasks whose results are not in it, where it was asked for all the same."""
    origin: str = ""
    """The run whose results it added; of reruns, the first."""
    added: str = ""
    """The file with them."""

    def hrefs(self, where: Path | Shelf) -> tuple[str, ...]:
        """Return the uris of the revision's files."""
        shelf = _shelf(where)
        return tuple(shelf.href(name) for name in self.files)


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
    missing: tuple[int, ...] = ()
    """Tasks that have no result."""
    origin: str = ""
    """The run that the results are of, whichever reruns they came from."""

    @property
    def digest(self) -> str:
        """The name of these results in this form."""
        holes = [f"no {task}" for task in self.missing]
        return sha256("\n".join((self.file_name, *self.sha256s, *holes)).encode()).hexdigest()


def publish(
    where: Path | Shelf,
    publication: Publication,
    assemble: Assemble,
    *,
    access: Access = OWN_MACHINE,
) -> Revision:
    """Add results to the timestamp that lies `where` and return its revision.

    `assemble` writes them to the path it is given; it is not called for results that are there
    already. Raises what it raises, LayerAccessError for a store that does not take them, and
    UnsupportedGridError or LayerAccessError if the files would not be one layer with those
    published before; nothing is published then.
    """
    shelf = _shelf(where)
    name = None
    while True:
        revisions = read_revisions(shelf)
        known = [one for one in revisions if _holds(one, publication)]
        if known:
            if name is not None and name not in known[0].files:
                shelf.discard(name)
            return known[0]
        name = name or shelf.add_data(publication.digest, publication.file_name, assemble)
        try:
            revision = _prepare(shelf, publication, revisions, name, access)
        except Exception:
            shelf.discard(name)
            raise
        if shelf.create(f"revision-{revision.revision}.json", msgspec.json.encode(revision)):
            return revision
        if revision not in read_revisions(shelf):  # else it was ours, and its answer was lost
            shelf.remove(revision.item)


def read_revision(where: Path | Shelf) -> Revision | None:
    """Return the highest revision of a timestamp; None: nothing was published there."""
    revisions = read_revisions(where)
    return revisions[-1] if revisions else None


def read_revisions(where: Path | Shelf) -> list[Revision]:
    """Return all revisions, oldest first."""
    found = [msgspec.json.decode(data, type=Revision) for data in _shelf(where).revisions()]
    return sorted(found, key=lambda revision: revision.revision)


def _shelf(where: Path | Shelf) -> Shelf:
    return LocalFolder(where) if isinstance(where, Path) else where


def _prepare(
    shelf: Shelf,
    publication: Publication,
    revisions: Sequence[Revision],
    name: str,
    access: Access,
) -> Revision:
    """Return the next revision, its STAC Item written; raises what reading the layer raises."""
    latest = revisions[-1] if revisions else None
    completed = _completed(publication, revisions)
    before = [file for file in (latest.files if latest else ()) if file not in completed]
    files = before if name in before else [*before, name]
    number = 1 if latest is None else latest.revision + 1
    # Its own name: a publisher of the same results may be a moment faster, with its own item.
    item_name = f"item-{number}-{publication.digest[:12]}-{token_hex(4)}.json"
    item = build_item(
        _open_layer([shelf.href(file) for file in files], publication, access),
        publication.lineage,
        item_id=f"{publication.path_id}-{publication.timestamp}-{number}",
        hrefs=[f"./{file}" for file in files],
        missing=publication.missing,
    )
    shelf.write(item_name, json.dumps(item, allow_nan=False).encode())
    return Revision(
        revision=number,
        digest=publication.digest,
        files=tuple(files),
        item=item_name,
        created=publication.lineage.created,
        missing=publication.missing,
        origin=publication.origin,
        added=name,
    )


def _holds(one: Revision, publication: Publication) -> bool:
    """Whether a revision has these results, or of the same run later ones that lack less."""
    if one.digest == publication.digest:
        return True
    is_same_run = one.origin != "" and one.origin == publication.origin
    is_later = one.created >= publication.lineage.created
    return is_same_run and is_later and set(one.missing) < set(publication.missing)


def _completed(publication: Publication, revisions: Sequence[Revision]) -> set[str]:
    """Return the files with holes that these results fill: those of the same run before."""
    return {
        one.added
        for one in revisions
        if one.missing and one.origin and one.origin == publication.origin
    }


def _open_layer(hrefs: Sequence[str], publication: Publication, access: Access) -> OpenedHeader:
    """Return the header of the timestamp as it will be; raises what reading it would raise."""
    return read_header(
        LayerSource(
            key=publication.timestamp,
            path_id=publication.path_id,
            timestamp=publication.timestamp,
            hrefs=tuple(hrefs),
            kind=publication.kind,
        ),
        access,
    )
