"""Read the header of any layer: what the planner needs to know, and no pixel.

GDAL is loaded for a raster only; pandas (a second), by way of pyarrow, for a vector only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geopod.api.plan import RasterHeader, VectorHeader
from geopod.errors import LayerAccessError
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.indexes import expand_source
from geopod.layers.sources import (
    Kind,
    LayerSource,
    SourceFile,
    find_source,
    read_versions,
)
from geopod.layers.together import ask_all

if TYPE_CHECKING:
    from geopod.layers.raster_headers import OpenedRaster
    from geopod.layers.vector import OpenedVector


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedHeader:
    """What a layer's files say of themselves; exactly one of `raster` and `vector` is there."""

    source: LayerSource
    kind: Kind
    driver: str
    version: dict[str, str]
    """Of each uri, taken before its header was read."""
    raster: OpenedRaster | None = None
    vector: OpenedVector | None = None

    @property
    def header(self) -> RasterHeader | VectorHeader:
        """The part that goes into the plan."""
        opened = self.raster or self.vector
        if opened is None:
            raise ValueError(f"{self.source.key} has no header")
        return opened.header


def read_header(source: LayerSource, access: Access = OWN_MACHINE) -> OpenedHeader:
    """Open a layer's files and return what they say; an index stands for the files it names.

    Raises LayerAccessError (E122), LayerCRSError (E125), UnsupportedGridError (E126) and
    UnknownBandError (E128).
    """
    source, version = expand_source(source, access)
    are_remote = any("://" in href for href in source.hrefs)

    def find(href: str) -> SourceFile:
        return find_source(href, path_id=source.path_id, access=access)

    version |= read_versions(source.hrefs, path_id=source.path_id, access=access)
    files = ask_all(find, source.hrefs, are_remote=are_remote)
    kind = _common_kind(source, files)
    if kind == "raster":
        from geopod.layers.raster_headers import read_raster_header  # loads GDAL

        raster = read_raster_header(source, files)
        return OpenedHeader(
            source=source, kind=kind, driver=files[0].driver, version=version, raster=raster
        )
    from geopod.layers.vector import read_vector_header  # loads Arrow, shapely

    vector = read_vector_header(source, files)
    return OpenedHeader(
        source=source, kind=kind, driver=files[0].driver, version=version, vector=vector
    )


def _common_kind(source: LayerSource, files: list[SourceFile]) -> Kind:
    if not files:
        raise LayerAccessError.unreachable(path_id=source.path_id, words="it names no file")
    for href, file in zip(source.hrefs, files, strict=True):
        expected = source.kind or files[0].kind
        if file.kind != expected:
            raise LayerAccessError.unreachable(
                path_id=source.path_id, words=f"{href} is {file.driver}, not a {expected}"
            )
    return files[0].kind
