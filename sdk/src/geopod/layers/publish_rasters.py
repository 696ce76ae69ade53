"""Put the nodes' arrays together into one Cloud Optimized GeoTIFF, in bounded memory.

Parts are disjoint windows of one grid. One writer writes them, in the order of the nodes, into a
plain tiled GeoTIFF, which GDAL's COG driver then copies: never two writers in one file
(corteva/rioxarray#220, mapchete/mapchete#260).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from geopod.codecs.array import load_array
from geopod.codecs.raster import PREDICTORS, STORED_AS, wrong_nodata
from geopod.errors import InconsistentPartsError, ShapeMismatchError
from geopod.layers.crs import same_crs
from geopod.layers.gdal import gdal_settings
from geopod.layers.grids import Coefficients, Window, shift_transform

TILE = 512
_STRIP_BYTES = 16 << 20
ON_GRID = 1e-3
"""A GeoTIFF whose corner lies less than this part of a pixel off the lattice is on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterPart:
    """What one node returned for a raster layer."""

    node: int
    path: Path
    """`.npy` (band, row, column, or row, column), or a GeoTIFF that says itself where it lies."""
    core: Window | None = None
    """Of an `.npy`: the node's own window on the grid."""
    padded: Window | None = None
    """Of an `.npy`: the window with halo; an array of its shape is cut to `core`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterGrid:
    """The lattice that the parts lie on, and what all of them share."""

    crs: str
    transform: Coefficients
    """Of row 0, column 0; parts may lie anywhere on the lattice."""
    nodata: float | None = None
    bands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A part as it will be written."""

    part: RasterPart
    window: Window
    count: int
    dtype: str
    nodata: float | None
    crs: str
    trim: tuple[int, int]
    """Rows and columns to leave out at the top and left of the array."""

    @property
    def traits(self) -> dict[str, Any]:
        """What must be equal in all parts."""
        nodata = "nan" if self.nodata is not None and math.isnan(self.nodata) else self.nodata
        return {"dtype": self.dtype, "nodata": nodata, "bands": self.count, "crs": self.crs}


def assemble_raster(
    parts: Sequence[RasterPart],
    grid: RasterGrid,
    target: Path,
    *,
    holes: Sequence[Window] | None = None,
) -> Path:
    """Write the parts as one COG at `target` that covers exactly what they cover.

    `holes`: windows of parts that are missing; the COG covers these too and has nodata (else 0)
    wherever no part lies. None: nothing may be missing. Raises ShapeMismatchError (E310) for an
    array that is neither core nor padded window, InconsistentPartsError (E312) for parts that
    differ in type, overlap, or leave holes.
    """
    if not parts:
        raise ValueError("a raster of no parts")
    ordered = sorted(parts, key=lambda part: part.node)
    with gdal_settings():
        pieces = [_measure_part(part, grid) for part in ordered]
        frame = check_pieces(pieces, holes)
        if words := wrong_nodata(np.dtype(pieces[0].dtype), pieces[0].nodata):
            raise InconsistentPartsError(f"The parts are no GeoTIFF: {words}.")
        plain = target.with_suffix(".parts.tif")
        try:
            _write_plain(pieces, frame, grid, plain)
            _copy_to_cog(plain, target, np.dtype(pieces[0].dtype))
        finally:
            plain.unlink(missing_ok=True)
    return target


def check_pieces(pieces: Sequence[_Piece], holes: Sequence[Window] | None) -> Window:
    """Return the window that pieces and holes cover together; raises InconsistentPartsError."""
    first = pieces[0]
    wrong = [piece for piece in pieces if piece.traits != first.traits]
    if wrong:
        raise InconsistentPartsError.differ(
            wrong=len(wrong),
            total=len(pieces),
            node=wrong[0].part.node,
            has=wrong[0].traits,
            first=first.traits,
        )
    edges = np.array([piece.window for piece in pieces])
    reach = np.array([*edges, *(holes or ())])
    top, left = reach[:, :2].min(axis=0)
    bottom, right = (reach[:, :2] + reach[:, 2:]).max(axis=0)
    overlapping = _first_overlap(edges)
    if overlapping is not None:
        one, other = (pieces[index].part.node for index in overlapping)
        raise InconsistentPartsError(
            f"The parts of nodes {one} and {other} overlap; each pixel has one owner.",
            fixes=("return the core alone",),
            details={"nodes": [one, other]},
        )
    covered, whole = int(edges[:, 2:].prod(axis=1).sum()), int((bottom - top) * (right - left))
    if covered != whole and holes is None:
        raise InconsistentPartsError(
            f"The parts cover {covered} of {whole} pixels.",
            fixes=(
                "return the whole core of each partition",
                "partitions that make a rectangle",
                "write_to={…, 'partial': True}",
            ),
            details={"covered": covered, "pixels": whole},
        )
    return (int(top), int(left), int(bottom - top), int(right - left))


def is_cog(path: Path) -> bool:
    """Say whether GDAL's own layout mark says COG and large images have overviews."""
    with rasterio.open(path, driver="GTiff") as source:
        layout = source.tags(ns="IMAGE_STRUCTURE").get("LAYOUT")
        is_small = max(source.shape) <= TILE
        return layout == "COG" and (is_small or bool(source.overviews(1)))


def _measure_part(part: RasterPart, grid: RasterGrid) -> _Piece:
    if part.path.suffix != ".npy":
        return _measure_geotiff(part, grid)
    if part.core is None:
        raise ValueError(f"the array of node {part.node} has no window")
    array = load_array(part.path)
    shape = array.shape[-2:]
    padded = part.padded or part.core
    if array.ndim not in {2, 3} or shape not in {part.core[2:], padded[2:]}:
        raise ShapeMismatchError.returned(
            node=part.node, shape=array.shape, core=part.core[2:], padded=padded[2:]
        )
    is_core = shape == part.core[2:]
    return _Piece(
        part=part,
        window=part.core,
        count=1 if array.ndim == 2 else array.shape[0],  # noqa: PLR2004  # (row, column)
        dtype=np.dtype(STORED_AS.get(array.dtype.name, array.dtype)).name,
        nodata=grid.nodata,
        crs=grid.crs,
        trim=(0, 0) if is_core else (part.core[0] - padded[0], part.core[1] - padded[1]),
    )


def _measure_geotiff(part: RasterPart, grid: RasterGrid) -> _Piece:
    a, _, c, _, e, f = grid.transform
    with rasterio.open(part.path, driver="GTiff") as source:
        crs = source.crs.to_wkt() if source.crs else ""
        there = source.transform
        column, row = (there.c - c) / a, (there.f - f) / e
        drift = max(
            abs(there.a / a - 1) * source.width,
            abs(there.e / e - 1) * source.height,
            abs(column - round(column)),
            abs(row - round(row)),
        )
        if drift > ON_GRID or there.b or there.d:
            raise InconsistentPartsError(
                f"The raster of node {part.node} lies {drift:.3g} px off the grid of the layer.",
                fixes=("return the transform that params gave", "return an array of core shape"),
                details={"node": part.node, "transform": list(there)[:6]},
            )
        return _Piece(
            part=part,
            window=(round(row), round(column), source.height, source.width),
            count=source.count,
            dtype=source.dtypes[0],
            nodata=source.nodata,
            crs=grid.crs if crs and same_crs(crs, grid.crs) else crs,
            trim=(0, 0),
        )


def _first_overlap(windows: NDArray[np.int64]) -> tuple[int, int] | None:
    """Return two windows (n, 4) that share a pixel, if there are any."""
    stop = windows[:, :2] + windows[:, 2:]
    for index in range(len(windows) - 1):
        later = slice(index + 1, None)
        meets = ((windows[later, :2] < stop[index]) & (windows[index, :2] < stop[later])).all(
            axis=1
        )
        if meets.any():
            return index, index + 1 + int(meets.argmax())
    return None


def _write_plain(pieces: Sequence[_Piece], frame: Window, grid: RasterGrid, path: Path) -> None:
    """Write all pieces, in order, into an uncompressed tiled GeoTIFF.

    Pieces share tiles; a compressed tile that is written twice would leave a gap in the file.
    """
    first = pieces[0]
    profile = {
        "driver": "GTiff",
        "width": frame[3],
        "height": frame[2],
        "count": first.count,
        "dtype": first.dtype,
        "crs": first.crs,
        "transform": Affine(*shift_transform(grid.transform, row=frame[0], column=frame[1])),
        "nodata": first.nodata,
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "interleave": "band",
        "bigtiff": "IF_SAFER",
        "sparse_ok": True,
    }
    with rasterio.open(path, "w", **profile) as target:
        for piece in pieces:
            row, column = piece.window[0] - frame[0], piece.window[1] - frame[1]
            for offset, pixels in _read_strips(piece):
                window = RasterioWindow(column, row + offset, pixels.shape[2], pixels.shape[1])
                target.write(pixels.astype(first.dtype, copy=False), window=window)
        for number, name in enumerate(grid.bands[: first.count], start=1):
            target.set_band_description(number, name)


def _read_strips(piece: _Piece) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first row, pixels) of a piece from top to bottom."""
    _, _, height, width = piece.window
    row_bytes = piece.count * width * np.dtype(piece.dtype).itemsize
    rows = max(1, _STRIP_BYTES // max(1, row_bytes))
    with _open_part(piece) as read:
        for row in range(0, height, rows):
            yield row, read(row, min(rows, height - row))


@contextmanager
def _open_part(piece: _Piece) -> Iterator[Any]:
    """Return a function (first row, rows) -> pixels of the piece's window."""
    _, _, _, width = piece.window
    top, left = piece.trim
    if piece.part.path.suffix == ".npy":
        array = load_array(piece.part.path)
        bands = array[np.newaxis] if array.ndim == 2 else array  # noqa: PLR2004  # (row, column)
        yield lambda row, rows: bands[:, top + row : top + row + rows, left : left + width]
        return
    with rasterio.open(piece.part.path, driver="GTiff") as source:
        yield lambda row, rows: source.read(window=RasterioWindow(0, row, width, rows))


def _copy_to_cog(plain: Path, target: Path, dtype: np.dtype[Any]) -> None:
    work = target.with_suffix(".writing.tif")
    rasterio.shutil.copy(
        plain,
        work,
        driver="COG",
        COMPRESS="DEFLATE",
        PREDICTOR=PREDICTORS.get(dtype.kind, 1),
        BLOCKSIZE=TILE,
        BIGTIFF="IF_SAFER",
        # Averages would invent values in rasters of classes.
        OVERVIEW_RESAMPLING="NEAREST",
    )
    if not is_cog(work):
        work.unlink()
        raise OSError(f"GDAL wrote {target.name} without the layout of a COG")
    work.rename(target)
