"""Assemble parts into one layer timestamp: a process of its own, which may load GDAL, not pandas.

Request JSON (`PublishRequest`) on stdin; on stdout `{"files": […], "revision": n}`, the
timestamp's uris, or `{"error": …}` as `GeopodError.to_wire` says it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np

from geopod.api.results import Entry
from geopod.codecs.raster import nodata_number
from geopod.errors import (
    GeopodError,
    InconsistentPartsError,
    LayerAccessError,
    LayerCRSError,
    NotAFileResultError,
    ShapeMismatchError,
    UnsupportedGridError,
)
from geopod.layers.access import OWN_MACHINE, Access, read_access
from geopod.layers.buckets import open_shelf
from geopod.layers.crs import same_crs
from geopod.layers.headers import read_header
from geopod.layers.lean import never_load_pandas
from geopod.layers.publish import (
    Lineage,
    Publication,
    RasterGrid,
    RasterPart,
    VectorPart,
    assemble_raster,
    publish,
    read_revision,
    write_vector,
)
from geopod.layers.publish_pieces import ON_GRID
from geopod.layers.sources import LayerSource

Format = Literal["tif", "parquet", "gpkg", "fgb", "geojson"]
Window = tuple[int, int, int, int]


class PlacedWindow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where one node's array of one raster layer lies."""

    key: str
    core: Window
    """Row, column, height, width on the layer's grid."""
    padded: Window
    crs: str
    transform: tuple[float, float, float, float, float, float]
    dtype: str = ""
    nodata: int | float | str | None = None
    """As the plan has it: whole numbers of 64 bits with all digits, NaN as text."""


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one node returned, and where that node's rasters lie."""

    node: int
    entry: Entry
    path: str
    """The store's object that holds the entry's bytes."""
    windows: tuple[PlacedWindow, ...] = ()


class PublishRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Parts of one or more runs that become one timestamp."""

    folder: str
    """An absolute path, or a folder of an object store."""
    path_id: str
    timestamp: str
    kind: Literal["raster", "vector"]
    format: Format
    parts: tuple[Part, ...]
    run: str
    function_sha256: str
    created: str
    derived_from: tuple[str, ...] = ()
    secret: str = ""
    """Name of the Secret with the keys of the object store."""
    partial: bool = False
    """Whether pixels may be missing."""
    missing: tuple[int, ...] = ()
    """Tasks that have no part."""
    holes: tuple[PlacedWindow, ...] = ()
    """Where their parts would lie, on every layer's grid."""
    origin: str = ""


def publish_parts(
    request: PublishRequest, work: Path, access: Access = OWN_MACHINE
) -> dict[str, Any]:
    """Publish and return the timestamp's uris and highest revision; `work` is an empty folder.

    `access`: with the keys of the object store. Raises NotAFileResultError, ShapeMismatchError,
    InconsistentPartsError and what reading the new layer raises; nothing is published then.
    """
    publication = Publication(
        path_id=request.path_id,
        timestamp=request.timestamp,
        kind=request.kind,
        sha256s=tuple(_name_of(part) for part in request.parts),
        file_name=f"data.{request.format}",
        lineage=Lineage(
            run=request.run,
            function_sha256=request.function_sha256,
            created=request.created,
            derived_from=request.derived_from,
        ),
        missing=request.missing,
        origin=request.origin,
    )
    shelf = open_shelf(request.folder, path_id=request.path_id, access=access)
    assemble = _assemble_rasters if request.kind == "raster" else _assemble_vectors
    # A folder of this machine was named by the Layer itself, wherever its volume is mounted.
    reading = access if "://" in request.folder else OWN_MACHINE
    added = publish(shelf, publication, partial(assemble, request, work), access=reading)
    latest = read_revision(shelf) or added
    return {"files": list(latest.hrefs(shelf)), "revision": latest.revision}


def _name_of(part: Part) -> str:
    """Return what no other part has: equal arrays of two places are two results."""
    if part.entry.codec != "npy":
        return part.entry.sha256
    return f"{part.entry.sha256} {msgspec.json.encode(part.windows).decode()}"


def _assemble_rasters(request: PublishRequest, work: Path, target: Path) -> None:
    parts: list[RasterPart] = []
    grid: RasterGrid | None = None
    for part in request.parts:
        path = _take_out(part, work, {"npy": ".npy", "geotiff": ".tif", "bytes": ".tif"})
        window = _find_window(part) if part.entry.codec == "npy" else None
        placed = {} if window is None else {"core": window.core, "padded": window.padded}
        parts.append(RasterPart(node=part.node, path=path, **placed))
        with _reading(part):
            grid = grid or _grid_of(path, part, window)
    assert grid is not None  # noqa: S101  # a request has parts
    holes = list(_holes_on(grid, request.holes)) if request.partial else None
    assemble_raster(parts, grid, target, holes=holes)


def _holes_on(grid: RasterGrid, holes: Iterable[PlacedWindow]) -> Iterator[Window]:
    """Yield the windows that lie on this grid, counted from its corner; others have no place."""
    a, b, c, d, e, f = grid.transform
    for hole in holes:
        if hole.transform[:2] != (a, b) or hole.transform[3:5] != (d, e) or b or d:
            continue
        column, row = (hole.transform[2] - c) / a, (hole.transform[5] - f) / e
        is_on_grid = abs(column - round(column)) < ON_GRID and abs(row - round(row)) < ON_GRID
        if is_on_grid and same_crs(hole.crs, grid.crs):
            top, left, height, width = hole.core
            yield (round(row) + top, round(column) + left, height, width)


def _assemble_vectors(request: PublishRequest, work: Path, target: Path) -> None:
    from geopod.layers.vector_files import as_geoparquet  # loads pyogrio

    suffixes = {"geoparquet": ".parquet", "bytes": ".bin"}
    parts = []
    for part in request.parts:
        with _reading(part):
            path = as_geoparquet(_take_out(part, work, suffixes), workdir=work)
        parts.append(VectorPart(node=part.node, path=path))
    output_format = cast("Literal['parquet', 'gpkg', 'fgb', 'geojson']", request.format)
    write_vector(parts, target, output_format=output_format)


def _take_out(part: Part, work: Path, suffixes: dict[str, str]) -> Path:
    """Return the part as a file of its own with the right suffix; raises NotAFileResultError."""
    entry = part.entry
    if entry.codec not in suffixes:
        kind = "raster" if "geotiff" in suffixes else "vector"
        told = f"{_type_name(entry)}, which a {kind} layer cannot take"
        raise NotAFileResultError.returned(node=part.node, type_name=told)
    target = work / f"{part.node}{suffixes[entry.codec]}"
    source = Path(part.path)
    if entry.start == 0 and source.stat().st_size == entry.bytes:
        target.symlink_to(source)
        return target
    with source.open("rb") as file:
        file.seek(entry.start)
        target.write_bytes(file.read(entry.bytes))
    return target


@contextmanager
def _reading(part: Part) -> Iterator[None]:
    """Say of a part that is no file of a layer which node returned it, not where it was looked for.

    Raises NotAFileResultError, InconsistentPartsError for a raster without a CRS or a grid.
    """
    try:
        yield
    except (LayerCRSError, UnsupportedGridError) as error:
        raise InconsistentPartsError(
            f"Of what node {part.node} returned: {error.fact}",
            fixes=("return {'raster', 'transform', 'crs'}", "return an array of core shape"),
            details={**error.details, "node": part.node},
        ) from error
    except LayerAccessError as error:
        what = str(part.entry.meta.get("mediaType", "a file"))
        raise NotAFileResultError.returned(
            node=part.node, type_name=f"{what}, {part.entry.bytes} bytes, which no layer can have"
        ) from error


def _find_window(part: Part) -> PlacedWindow:
    """Return the raster layer that an array belongs to, by its shape; raises ShapeMismatchError."""
    rows_and_columns = tuple(part.entry.meta["shape"][-2:])
    fitting = [
        window
        for window in part.windows
        if rows_and_columns in {window.core[2:], window.padded[2:]}
    ]
    if len({(window.core, window.transform, window.crs) for window in fitting}) == 1:
        return fitting[0]
    if not fitting and part.windows:
        first = part.windows[0]
        raise ShapeMismatchError.returned(
            node=part.node,
            shape=tuple(part.entry.meta["shape"]),
            core=first.core[2:],
            padded=first.padded[2:],
        )
    raise NotAFileResultError.returned(node=part.node, type_name=_type_name(part.entry))


def _grid_of(path: Path, part: Part, window: PlacedWindow | None) -> RasterGrid:
    """Return the grid of the first part: as planned, or as the file says.

    The layer's nodata is one for pixels of the layer's type alone.
    """
    if window is not None:
        is_alike = np.dtype(part.entry.meta["dtype"]).newbyteorder("=") == window.dtype
        nodata = nodata_number(window.nodata) if is_alike else None
        return RasterGrid(crs=window.crs, transform=window.transform, nodata=nodata)
    name = "the raster"
    source = LayerSource(key=name, path_id=name, timestamp=name, hrefs=(str(path),))
    raster = read_header(source).raster
    if raster is None:
        raise NotAFileResultError.returned(node=part.node, type_name="a vector file")
    header = raster.header
    nodata = nodata_number(header.nodata)
    return RasterGrid(crs=header.crs, transform=header.transform, nodata=nodata, bands=header.bands)


def _type_name(entry: Entry) -> str:
    """Return what a task returned, in words."""
    words = {
        "arrow": "a table without geometry",
        "geotiff": "a raster",
        "json": "JSON",
        "npy": "an array",
        "tree": "arrays in a list or dictionary",
    }
    return str(entry.meta.get("type") or words.get(entry.codec, entry.codec))


def main() -> int:
    """Answer the request on stdin; the process of this module."""
    never_load_pandas()
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=PublishRequest)
    answer: dict[str, Any]
    with tempfile.TemporaryDirectory(prefix="geopod-publish-") as work:
        try:
            also = {request.path_id: request.secret} if request.secret else None
            answer = publish_parts(request, Path(work), read_access(os.environ, also=also))
        except GeopodError as error:
            answer = {"error": error.to_wire()}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
