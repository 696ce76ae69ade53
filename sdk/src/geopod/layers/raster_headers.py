"""What raster files say of themselves: grid, bands, nodata, blocks; no pixel is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags

from geopod.api.plan import Number, RasterHeader
from geopod.codecs.doubles import may_round
from geopod.errors import LayerCRSError, UnknownBandError, UnsupportedGridError
from geopod.layers.crs import Box, canonical_crs
from geopod.layers.file_grids import FileGrid, footprint, join_grids, place_grid, read_grid
from geopod.layers.gdal import (
    HEADER_ERRORS,
    exact_nodata,
    gdal_settings,
    open_raster_file,
    unreadable,
)
from geopod.layers.sources import LayerSource, SourceFile
from geopod.layers.together import ask_all
from geopod.layers.variables import step_names

_MaskKind = Literal["nodata", "alpha", "perDataset", "allValid"]
_MOST_TAGS = 65_536
"""Blocks whose tags are asked for: a header may claim any number of them."""
_DTYPES = {"complex_int16": "complex64"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedRaster:
    """What the files of one raster layer say together."""

    header: RasterHeader
    bounds: Box
    is_rectified: bool
    written: NDArray[np.bool_] | None
    """(block rows, block columns), north up: which hold data; None: all, or not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileHead:
    """What must agree in the files of a mosaic, and where one of them lies."""

    grid: FileGrid
    crs: str
    count: int
    dtypes: tuple[str, ...]
    nodata: str


def read_raster_header(source: LayerSource, files: Sequence[SourceFile]) -> OpenedRaster:
    """Return the header of a layer of one file or of a mosaic; at most a few are open at a time.

    Raises UnknownBandError, LayerCRSError, UnsupportedGridError, LayerAccessError.
    """
    try:
        return _read_opened(source, files)
    except HEADER_ERRORS as error:
        raise unreadable(error, path_id=source.path_id, source=files[0]) from error


def _read_opened(source: LayerSource, files: Sequence[SourceFile]) -> OpenedRaster:
    with gdal_settings(files), open_raster_file(files[0], path_id=source.path_id) as first:
        head = _read_head(first, source, files[0])
        names = band_names(first)
        indexes = choose_bands(first, source.bands, key=source.key)
        if files[0].variable is not None and files[0].variable.step:
            indexes = _choose_steps(names, indexes, files[0].variable.step, key=source.key)
        dtype = _layer_dtype(first, indexes, key=source.key)
        header = RasterHeader(
            crs=canonical_crs(head.crs, path_id=source.path_id),
            transform=head.grid.transform,
            shape=head.grid.shape,
            dtype=dtype,
            nodata=_plan_number(_nodata(source, first, indexes, dtype)),
            bands=tuple(names[index - 1] for index in indexes),
            band_indexes=indexes,
            block_shape=first.block_shapes[indexes[0] - 1],
            read_bytes=getattr(first, "read_bytes", msgspec.UNSET),
            mask=_mask_kind(first, indexes),
            south_up=head.grid.south_up,
            scales=tuple(first.scales[index - 1] for index in indexes),
            offsets=tuple(first.offsets[index - 1] for index in indexes),
        )
        if len(files) == 1:
            return OpenedRaster(
                header=header,
                bounds=footprint(head.grid),
                is_rectified=head.grid.is_rectified,
                written=_written_blocks(first, head.grid, indexes[0]),
            )
    return _join_files(source, files, head, header)


def _join_files(
    source: LayerSource, files: Sequence[SourceFile], head: _FileHead, header: RasterHeader
) -> OpenedRaster:
    """Return what the files of a mosaic say, of which the first one's `header` is known."""

    def read(file: SourceFile) -> _FileHead:
        with gdal_settings(files), open_raster_file(file, path_id=source.path_id) as dataset:
            return _read_head(dataset, source, file)

    are_remote = files[0].remote is not None
    heads = [head, *ask_all(read, files[1:], are_remote=are_remote)]
    for what, found in (
        ("CRS", [canonical_crs(text, path_id=source.path_id) for text in _distinct(heads, "crs")]),
        ("band count", _distinct(heads, "count")),
        ("data type", [" ".join(types) for types in _distinct(heads, "dtypes")]),
        ("nodata", _distinct(heads, "nodata")),
    ):
        if len(set(found)) > 1:
            raise _differ(source.key, what, [str(one) for one in found])
    grid = join_grids([one.grid for one in heads], key=source.key)
    return OpenedRaster(
        header=msgspec.structs.replace(
            header,
            transform=grid.transform,
            shape=grid.shape,
            tiles=tuple(place_grid(one.grid, grid.transform) for one in heads),
        ),
        bounds=footprint(grid),
        is_rectified=grid.is_rectified,
        written=None,
    )


def _distinct(heads: Sequence[_FileHead], what: str) -> list[Any]:
    return list(dict.fromkeys(getattr(head, what) for head in heads))


def _read_head(dataset: Any, source: LayerSource, file: SourceFile) -> _FileHead:
    return _FileHead(
        grid=read_grid(dataset, key=source.key),
        crs=_crs_text(dataset, source, file),
        count=dataset.count,
        dtypes=tuple(dataset.dtypes),
        nodata=" ".join(map(str, dataset.nodatavals)),
    )


def band_names(dataset: Any) -> tuple[str, ...]:
    """Return each band's description, or what it is a step of; its number where it is neither."""
    if not any(dataset.descriptions) and (steps := step_names(dataset)):
        return steps
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


def _choose_steps(
    names: Sequence[str], indexes: tuple[int, ...], step: str, *, key: str
) -> tuple[int, ...]:
    """Return the bands whose names begin with `step`; raises UnknownBandError if there are none."""
    chosen = tuple(index for index in indexes if names[index - 1].startswith(step))
    if not chosen:
        raise UnknownBandError.unknown(key=key, names=names, asked=step)
    return chosen


def alpha_band(dataset: Any) -> int | None:
    """Return the number of the band that says how opaque a pixel is; 0: it is not there."""
    colours = list(dataset.colorinterp)
    return colours.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colours else None


def _crs_text(dataset: Any, source: LayerSource, file: SourceFile) -> str:
    found = dataset.crs or dataset.gcps[1]
    text = found.to_wkt() if found else source.crs
    if text is None and file.variable is not None:
        text = file.variable.crs
    if text is None:
        text = getattr(dataset, "implied_crs", None)
    if text is None and dataset.rpcs is not None:
        text = "EPSG:4326"
    if text is None:
        raise LayerCRSError.missing(
            key=source.key, path_id=source.path_id, bounds=tuple(dataset.bounds)
        )
    return str(text)


def _layer_dtype(dataset: Any, indexes: tuple[int, ...], *, key: str) -> str:
    dtypes: list[str] = [dataset.dtypes[index - 1] for index in indexes]
    if len(set(dtypes)) > 1:
        raise _differ(key, "data type", dtypes)
    return _DTYPES.get(dtypes[0], dtypes[0])


def _differ(key: str, what: str, found: Sequence[str]) -> UnsupportedGridError:
    return UnsupportedGridError(
        f"{key}: bands and files have different {what}: {', '.join(dict.fromkeys(found))}.",
        fixes=("convert them to one", "name bands of one type: bands=[…]", "one layer each"),
        details={"reason": "UnsupportedGrid", "key": key, "found": list(found)},
    )


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
    kind = np.dtype(dtype)
    found = (
        exact_nodata(dataset, indexes[0]) if may_round(kind) else dataset.nodatavals[indexes[0] - 1]
    )
    value = source.nodata if found is None else found
    if value is None:
        return None
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
    if -(-dataset.width // width) * -(-dataset.height // height) > _MOST_TAGS:
        return None
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
