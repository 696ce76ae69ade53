"""Parts of a raster layer as nodes returned them: where each lies, and whether they are one grid.

Parts are disjoint windows of one lattice, of one type; nothing is written here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.dtypes import check_dtype
from rasterio.enums import MaskFlags

from geopod.codecs.array import load_array
from geopod.codecs.doubles import may_round
from geopod.codecs.raster import STORED_AS, wrong_nodata
from geopod.errors import InconsistentPartsError, ShapeMismatchError
from geopod.layers.crs import same_crs
from geopod.layers.gdal import exact_nodata
from geopod.layers.grids import Coefficients, Window

ON_GRID = 1e-3
"""A GeoTIFF whose corner lies less than this part of a pixel off the lattice is on it."""
_SAME_GRID = "return the transform that params gave"
_READ_AS = {"complex_int16": "complex64"}
"""Types of GDAL that numpy lacks, and what rasterio reads them as."""


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
    nodata: float | int | None = None
    bands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part as it will be written."""

    part: RasterPart
    window: Window
    count: int
    dtype: str
    nodata: float | int | None
    crs: str
    trim: tuple[int, int]
    """Rows and columns to leave out at the top and left of the array."""
    meaning: Mapping[str, Any] = field(default_factory=dict)
    """Scale and offset of the bands, where a file says some."""
    is_south_up: bool = False
    """Its first row is the southern one."""

    @property
    def traits(self) -> dict[str, Any]:
        """What must be equal in all parts."""
        nodata = "nan" if self.nodata is not None and math.isnan(self.nodata) else self.nodata
        plain = {"dtype": self.dtype, "nodata": nodata, "bands": self.count, "crs": self.crs}
        return {**plain, **self.meaning}


def measure_part(part: RasterPart, grid: RasterGrid) -> Piece:
    """Return where a part lies; raises ShapeMismatchError.

    InconsistentPartsError for a part off the grid, or of values that are no pixels.
    """
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
    dtype = np.dtype(STORED_AS.get(array.dtype.name, array.dtype)).name
    if not check_dtype(dtype):
        raise InconsistentPartsError(
            f"The parts are no GeoTIFF: it has no {array.dtype}.",
            fixes=("return numbers, as array.astype('int64')",),
        )
    return Piece(
        part=part,
        window=part.core,
        count=1 if array.ndim == 2 else array.shape[0],  # noqa: PLR2004  # (row, column)
        dtype=dtype,
        nodata=grid.nodata,
        crs=grid.crs,
        trim=(0, 0) if is_core else (part.core[0] - padded[0], part.core[1] - padded[1]),
    )


def check_writable(piece: Piece) -> None:
    """Raise InconsistentPartsError for bands or nodata that GeoTIFF does not have."""
    words = wrong_nodata(np.dtype(piece.dtype), piece.nodata)
    if piece.count < 1:
        words = "they have no bands"
    if words:
        raise InconsistentPartsError(f"The parts are no GeoTIFF: {words}.")


def check_pieces(pieces: Sequence[Piece], holes: Sequence[Window] | None) -> Window:
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


def _measure_geotiff(part: RasterPart, grid: RasterGrid) -> Piece:
    a, _, c, _, e, f = grid.transform
    with rasterio.open(part.path, driver="GTiff") as source:
        crs = source.crs.to_wkt() if source.crs else ""
        if source.mask_flag_enums[0] == [MaskFlags.per_dataset]:
            raise InconsistentPartsError(
                f"The raster of node {part.node} has a mask beside its pixels: it would be lost.",
                fixes=("return {'raster', 'transform', 'crs', 'nodata'}",),
                details={"node": part.node},
            )
        dtype = np.dtype(_READ_AS.get(source.dtypes[0], source.dtypes[0]))
        there, is_south_up = source.transform, source.transform.e > 0
        if is_south_up:
            there = there @ Affine(1.0, 0.0, 0.0, 0.0, -1.0, source.height)
        if there.b or there.d:
            raise InconsistentPartsError(
                f"The raster of node {part.node} is rotated: its transform is {there[:6]}.",
                fixes=("return an Affine, not GDAL's order of numbers", _SAME_GRID),
                details={"node": part.node, "transform": list(there)[:6]},
            )
        column, row = (there.c - c) / a, (there.f - f) / e
        drift = max(
            abs(there.a / a - 1) * source.width,
            abs(there.e / e - 1) * source.height,
            abs(column - round(column)),
            abs(row - round(row)),
        )
        if drift > ON_GRID:
            raise InconsistentPartsError(
                f"The raster of node {part.node} lies {drift:.3g} px off the grid of the layer.",
                fixes=(_SAME_GRID, "return an array of core shape"),
                details={"node": part.node, "transform": list(there)[:6]},
            )
        return Piece(
            part=part,
            window=(round(row), round(column), source.height, source.width),
            count=source.count,
            dtype=dtype.name,
            nodata=exact_nodata(source, 1) if may_round(dtype) else source.nodata,
            crs=grid.crs if crs and same_crs(crs, grid.crs) else crs,
            trim=(0, 0),
            meaning=_meaning(source),
            is_south_up=is_south_up,
        )


def _meaning(source: Any) -> dict[str, Any]:
    """Return how a file's pixels are to be understood, if not as they are."""
    if (set(source.scales), set(source.offsets)) == ({1.0}, {0.0}):
        return {}
    return {"scales": source.scales, "offsets": source.offsets}


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
