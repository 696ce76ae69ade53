"""What raster files say of themselves: grid, bands, nodata, blocks; no pixel is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import RPCTransformer, from_gcps

from geopod.api.plan import Number, RasterHeader
from geopod.errors import LayerCRSError, UnknownBandError, UnsupportedGridError
from geopod.layers.crs import Box, canonical_crs
from geopod.layers.gdal import gdal_settings, open_raster_file
from geopod.layers.grids import Coefficients
from geopod.layers.sources import LayerSource, SourceFile

_MaskKind = Literal["nodata", "alpha", "perDataset", "allValid"]
_SAME_LATTICE = 1e-3
"""Files whose pixels lie less than this part of a pixel apart are on one grid (rounded headers)."""
_DTYPES = {"complex_int16": "complex64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGrid:
    """Where the pixels of one file lie."""

    transform: Coefficients
    """North up, unless the grid is rotated or mirrored."""
    shape: tuple[int, int]
    south_up: bool = False
    """The file's rows run the other way."""
    is_rectified: bool = True
    """False: control points or RPCs place the pixels, `transform` is only fitted to them."""

    @property
    def is_north_up(self) -> bool:
        """Whether pixels can be delivered as they are."""
        a, b, _, d, e, _ = self.transform
        return self.is_rectified and a > 0.0 > e and b == d == 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedRaster:
    """What the files of one raster layer say together."""

    header: RasterHeader
    bounds: Box
    is_rectified: bool
    written: NDArray[np.bool_] | None
    """(block rows, block columns), north up: which hold data; None: all, or not known."""


def read_raster_header(source: LayerSource, files: Sequence[SourceFile]) -> OpenedRaster:
    """Return the header of a layer of one file or of a mosaic.

    Raises UnknownBandError, LayerCRSError, UnsupportedGridError, LayerAccessError.
    """
    with gdal_settings(), ExitStack() as stack:
        datasets = [
            stack.enter_context(open_raster_file(file, path_id=source.path_id)) for file in files
        ]
        first = datasets[0]
        grids = [read_grid(dataset, key=source.key) for dataset in datasets]
        grid = join_grids(grids, key=source.key)
        indexes = choose_bands(first, source.bands, key=source.key)
        dtype = _common_dtype(source, datasets, indexes)
        header = RasterHeader(
            crs=_common_crs(source, datasets),
            transform=grid.transform,
            shape=grid.shape,
            dtype=dtype,
            nodata=_plan_number(_nodata(source, first, indexes, dtype)),
            bands=tuple(band_names(first)[index - 1] for index in indexes),
            band_indexes=indexes,
            block_shape=first.block_shapes[indexes[0] - 1],
            mask=_mask_kind(first, indexes),
            south_up=grids[0].south_up,
            scales=tuple(first.scales[index - 1] for index in indexes),
            offsets=tuple(first.offsets[index - 1] for index in indexes),
        )
        return OpenedRaster(
            header=header,
            bounds=_footprint(grid),
            is_rectified=grid.is_rectified,
            written=_written_blocks(first, grid, indexes[0]) if len(files) == 1 else None,
        )


def read_grid(dataset: Any, *, key: str) -> FileGrid:
    """Return a file's grid; raises UnsupportedGridError if the file does not say where it lies."""
    shape = (dataset.height, dataset.width)
    points, _ = dataset.gcps
    if not dataset.transform.is_identity:
        a, b, c, d, e, f = dataset.transform[:6]
        if b == d == 0.0 and a > 0.0 and e > 0.0:
            flipped = (a, 0.0, c, 0.0, -e, f + shape[0] * e)
            return FileGrid(transform=flipped, shape=shape, south_up=True)
        return FileGrid(transform=(a, b, c, d, e, f), shape=shape)
    if not points and dataset.rpcs is not None:
        points = _corner_points(dataset)
    if not points:
        raise UnsupportedGridError.no_transform(key=key)
    fitted = from_gcps(points)[:6]
    return FileGrid(transform=fitted, shape=shape, is_rectified=False)


def join_grids(grids: Sequence[FileGrid], *, key: str) -> FileGrid:
    """Return the grid that holds all files of a mosaic, on the lattice of the first.

    Raises UnsupportedGridError if the files do not share a lattice: resampling them is a decision
    that the layer's author takes.
    """
    first = grids[0]
    if len(grids) == 1:
        return first
    for number, grid in enumerate(grids):
        _check_lattice(first, grid, number=number, key=key)
    a, _, c, _, e, f = first.transform
    edges = [_footprint(grid) for grid in grids]
    left = round((min(edge[0] for edge in edges) - c) / a)
    right = round((max(edge[2] for edge in edges) - c) / a)
    top = round((max(edge[3] for edge in edges) - f) / e)
    bottom = round((min(edge[1] for edge in edges) - f) / e)
    return FileGrid(
        transform=(a, 0.0, c + left * a, 0.0, e, f + top * e),
        shape=(bottom - top, right - left),
        south_up=first.south_up,
    )


def band_names(dataset: Any) -> tuple[str, ...]:
    """Return each band's description; its number where it has none."""
    return tuple(
        description or str(number) for number, description in enumerate(dataset.descriptions, 1)
    )


def choose_bands(dataset: Any, asked: Sequence[str | int], *, key: str) -> tuple[int, ...]:
    """Return the 1-based numbers of the bands asked for; nothing asked: all but alpha.

    Raises UnknownBandError.
    """
    names = band_names(dataset)
    if not asked:
        alpha = alpha_band(dataset)
        return tuple(number for number in range(1, dataset.count + 1) if number != alpha) or (1,)
    numbers = {str(number): number for number in range(1, len(names) + 1)}
    numbers |= {name: number for number, name in reversed(list(enumerate(names, 1)))}
    try:
        return tuple(numbers[str(band)] for band in asked)
    except KeyError as error:
        raise UnknownBandError.unknown(key=key, names=names, asked=error.args[0]) from error


def alpha_band(dataset: Any) -> int | None:
    """Return the number of the band that says how opaque a pixel is; 0: it is not there."""
    colours = list(dataset.colorinterp)
    return colours.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colours else None


def _common_crs(source: LayerSource, datasets: Sequence[Any]) -> str:
    texts = []
    for dataset in datasets:
        found = dataset.crs or dataset.gcps[1]
        text = found.to_wkt() if found else source.crs
        if text is None and dataset.rpcs is not None:
            text = "EPSG:4326"
        if text is None:
            raise LayerCRSError.missing(
                key=source.key, path_id=source.path_id, bounds=tuple(dataset.bounds)
            )
        texts.append(canonical_crs(text, path_id=source.path_id))
    if len(set(texts)) > 1:
        raise _differ(source.key, "CRS", texts)
    return texts[0]


def _common_dtype(source: LayerSource, datasets: Sequence[Any], indexes: tuple[int, ...]) -> str:
    counts = [dataset.count for dataset in datasets]
    if len(set(counts)) > 1:
        raise _differ(source.key, "band count", [str(count) for count in counts])
    dtypes: list[str] = [dataset.dtypes[index - 1] for dataset in datasets for index in indexes]
    if len(set(dtypes)) > 1:
        raise _differ(source.key, "data type", dtypes)
    return _DTYPES.get(dtypes[0], dtypes[0])


def _differ(key: str, what: str, found: Sequence[str]) -> UnsupportedGridError:
    return UnsupportedGridError(
        f"{key}: bands and files have different {what}: {', '.join(dict.fromkeys(found))}.",
        fixes=("convert them to one", "name bands of one type: bands=[…]", "one layer each"),
        details={"reason": "UnsupportedGrid", "key": key, "found": list(found)},
    )


def _check_lattice(first: FileGrid, other: FileGrid, *, number: int, key: str) -> None:
    if not other.is_north_up:
        raise UnsupportedGridError(
            f"{key}: file {number} of a mosaic is rotated or placed by control points.",
            fixes=("warp it to a north-up grid", "one layer each"),
            details={"reason": "UnsupportedGrid", "key": key, "file": number},
        )
    a, _, c, _, e, f = first.transform
    columns = (other.transform[2] - c) / a
    rows = (other.transform[5] - f) / e
    drift = max(
        abs(other.transform[0] / a - 1.0) * other.shape[1],
        abs(other.transform[4] / e - 1.0) * other.shape[0],
        abs(columns - round(columns)),
        abs(rows - round(rows)),
    )
    if drift > _SAME_LATTICE:
        raise UnsupportedGridError(
            f"{key}: file {number} lies {drift:.3g} px off the grid of file 0 "
            f"(pixels {other.transform[0]:.6g} and {a:.6g}).",
            fixes=("resample the files to one grid", "one layer each"),
            details={"reason": "UnsupportedGrid", "key": key, "file": number, "drift": drift},
        )


def _footprint(grid: FileGrid) -> Box:
    a, b, c, d, e, f = grid.transform
    rows, columns = grid.shape
    corners = [(0, 0), (columns, 0), (0, rows), (columns, rows)]
    x = [a * column + b * row + c for column, row in corners]
    y = [d * column + e * row + f for column, row in corners]
    return (min(x), min(y), max(x), max(y))


def _corner_points(dataset: Any) -> list[GroundControlPoint]:
    """Return where the RPCs put the raster's corners."""
    rows, columns = [0, 0, dataset.height, dataset.height], [0, dataset.width, 0, dataset.width]
    with RPCTransformer(dataset.rpcs) as rpcs:
        x, y = rpcs.xy(rows, columns, offset="ul")
    return [
        GroundControlPoint(row=place[0], col=place[1], x=place[2], y=place[3])
        for place in zip(rows, columns, x, y, strict=True)
    ]


def _mask_kind(dataset: Any, indexes: tuple[int, ...]) -> _MaskKind:
    # GDAL itself takes an alpha band for a mask only if it is of 8 or 16 bits.
    if alpha_band(dataset) is not None:
        return "alpha"
    flags = dataset.mask_flag_enums[indexes[0] - 1]
    if MaskFlags.nodata in flags:
        return "nodata"
    return "allValid" if MaskFlags.all_valid in flags else "perDataset"


def _nodata(
    source: LayerSource, dataset: Any, indexes: tuple[int, ...], dtype: str
) -> float | int | None:
    """Return the layer's nodata as a value of its type; None if no pixel can have it."""
    found = dataset.nodatavals[indexes[0] - 1]
    value = source.nodata if found is None else found
    if value is None:
        return None
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        return float(value)
    limits = np.iinfo(kind)
    if not math.isfinite(value) or value != int(value) or not limits.min <= value <= limits.max:
        return None
    return int(value)


def _plan_number(value: float | None) -> Number | str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _written_blocks(dataset: Any, grid: FileGrid, index: int) -> NDArray[np.bool_] | None:
    """Return which blocks of a sparse GeoTIFF hold data; None for one that is not sparse."""
    if dataset.driver != "GTiff" or not grid.is_north_up:
        return None
    height, width = dataset.block_shapes[index - 1]
    written = np.array(
        [
            [
                dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=index) is not None
                for column in range(-(-dataset.width // width))
            ]
            for row in range(-(-dataset.height // height))
        ],
        dtype=np.bool_,
    )
    if written.all():
        return None
    return written[::-1] if grid.south_up else written
