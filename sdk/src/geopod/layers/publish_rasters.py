"""Put the nodes' arrays together into one Cloud Optimized GeoTIFF, in bounded memory.

Parts are disjoint windows of one grid. One writer writes them, in the order of the nodes, into a
plain tiled GeoTIFF, which GDAL's COG driver then copies: never two writers in one file
(corteva/rioxarray#220, mapchete/mapchete#260).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RasterioWindow

from geopod.codecs.array import load_array
from geopod.codecs.raster import NO_ALPHA, PREDICTORS
from geopod.layers.gdal import gdal_settings
from geopod.layers.grids import Window, shift_transform
from geopod.layers.publish_pieces import (
    Piece,
    RasterGrid,
    RasterPart,
    check_pieces,
    check_writable,
    measure_part,
)

TILE = 512
_STRIP_BYTES = 16 << 20


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
        pieces = [measure_part(part, grid) for part in ordered]
        frame = check_pieces(pieces, holes)
        check_writable(pieces[0])
        plain = target.with_suffix(".parts.tif")
        try:
            _write_plain(pieces, frame, grid, plain)
            _copy_to_cog(plain, target, np.dtype(pieces[0].dtype))
        finally:
            plain.unlink(missing_ok=True)
    return target


def is_cog(path: Path) -> bool:
    """Say whether GDAL's own layout mark says COG and large images have overviews."""
    with rasterio.open(path, driver="GTiff") as source:
        layout = source.tags(ns="IMAGE_STRUCTURE").get("LAYOUT")
        is_small = max(source.shape) <= TILE
        return layout == "COG" and (is_small or bool(source.overviews(1)))


def _write_plain(pieces: Sequence[Piece], frame: Window, grid: RasterGrid, path: Path) -> None:
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
        "alpha": NO_ALPHA,
    }
    with rasterio.open(path, "w", **profile) as target:
        if first.part.path.suffix != ".npy":
            _copy_meaning(first.part.path, target)
        for piece in pieces:
            row, column = piece.window[0] - frame[0], piece.window[1] - frame[1]
            for offset, pixels in _read_strips(piece):
                window = RasterioWindow(column, row + offset, pixels.shape[2], pixels.shape[1])
                target.write(pixels.astype(first.dtype, copy=False), window=window)
        for number, name in enumerate(grid.bands[: first.count], start=1):
            target.set_band_description(number, name)


def _copy_meaning(path: Path, target: Any) -> None:
    """Take over what a file says of its bands: colours, scale, offset, unit."""
    with rasterio.open(path, driver="GTiff") as source:
        for number, colour in enumerate(source.colorinterp, start=1):
            if colour is ColorInterp.palette:
                target.write_colormap(number, source.colormap(number))
        target.colorinterp = source.colorinterp
        if (set(source.scales), set(source.offsets)) != ({1.0}, {0.0}):
            target.scales, target.offsets = source.scales, source.offsets
        if any(source.units):
            target.units = [unit or "" for unit in source.units]


def _read_strips(piece: Piece) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first row, pixels) of a piece from top to bottom."""
    _, _, height, width = piece.window
    row_bytes = piece.count * width * np.dtype(piece.dtype).itemsize
    rows = max(1, _STRIP_BYTES // max(1, row_bytes))
    with _open_part(piece) as read:
        for row in range(0, height, rows):
            yield row, read(row, min(rows, height - row))


@contextmanager
def _open_part(piece: Piece) -> Iterator[Any]:
    """Return a function (first row, rows) -> pixels of the piece's window."""
    _, _, height, width = piece.window
    top, left = piece.trim
    if piece.part.path.suffix == ".npy":
        array = load_array(piece.part.path)
        bands = array[np.newaxis] if array.ndim == 2 else array  # noqa: PLR2004  # (row, column)
        yield lambda row, rows: bands[:, top + row : top + row + rows, left : left + width]
        return
    with rasterio.open(piece.part.path, driver="GTiff") as source:
        if piece.is_south_up:
            yield lambda row, rows: source.read(
                window=RasterioWindow(0, height - row - rows, width, rows)
            )[:, ::-1]
        else:
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
