"""Rasters: an array with its transform, CRS and nodata as GeoTIFF, written strip by strip."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from geopod.codecs.array import load_array
from geopod.codecs.doubles import EXACT, may_round
from geopod.codecs.encoded import Encoded, MalformedValueError, Source, new_file, settled

TILE = 256
PREDICTORS = {"f": 3, "i": 2, "u": 2}
"""TIFF's horizontal differencing for integers, its floating point predictor for floats."""
EXTENT_KEYS = ("xMin", "yMin", "xMax", "yMax")
NO_ALPHA = "NO"
"""GDAL takes the last of four bands of 8 bits for transparency, unless told otherwise."""
STORED_AS = {"bool": np.uint8, "float16": np.float32}
"""Types that GeoTIFF lacks, and the smallest one that holds each of their values."""


def encode_raster(source: Source, meta: dict[str, Any], *, workdir: Path) -> Encoded:
    """Write an `.npy` (band, row, column, or row, column) as tiled GeoTIFF.

    `meta`: `transform` (six numbers, row-wise), `crs` (text or None), `nodata` (a number, `"nan"`
    or None), `bands` (names, optional). Raises MalformedValueError for what GeoTIFF cannot hold.
    """
    array = load_array(source)
    pixels = array[np.newaxis] if array.ndim == 2 else array  # noqa: PLR2004  # rows, columns
    if pixels.ndim != 3 or not pixels.size:  # noqa: PLR2004  # bands, rows, columns
        raise MalformedValueError(f"a raster of shape {array.shape}")
    stored = STORED_AS.get(pixels.dtype.name)
    dtype = pixels.dtype.newbyteorder("=") if stored is None else np.dtype(stored)
    path = new_file(workdir, ".tif")
    try:
        transform = Affine(*meta["transform"])
        profile = _profile(pixels, dtype, nodata_number(meta.get("nodata")))
        _write(path, pixels, meta, {**profile, "transform": transform, "dtype": dtype})
    except (RasterioError, KeyError, TypeError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise MalformedValueError(f"no raster that GeoTIFF can hold: {_words(error)}") from error
    described = {
        "shape": list(array.shape),
        "dtype": dtype.name,
        "transform": list(transform)[:6],
        "crs": meta.get("crs"),
        "nodata": meta.get("nodata"),
        "bounds": _bounds(transform, *pixels.shape[1:]),
    }
    return Encoded("geotiff", settled(path), described)


def _words(error: Exception) -> str:
    """Return why, without a full stop; of a CRS GDAL says only that some WKT is wrong."""
    if isinstance(error, CRSError):
        return "its 'crs' is none that GDAL knows"
    return str(error).rstrip(".")


def _bounds(transform: Affine, height: int, width: int) -> list[float]:
    """Return [xMin, yMin, xMax, yMax] of the outer edges, also of a rotated grid."""
    a, b, c, d, e, f = list(transform)[:6]
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    xs = [a * column + b * row + c for column, row in corners]
    ys = [d * column + e * row + f for column, row in corners]
    return [min(xs), min(ys), max(xs), max(ys)]


def nodata_number(nodata: Any) -> float | int | None:
    """Return a nodata value; NaN and infinities are written as text, which every JSON has."""
    return float(nodata) if isinstance(nodata, str) else nodata


def wrong_nodata(dtype: np.dtype[Any], nodata: float | None) -> str | None:
    """Return why a nodata would be written as another number: rasterio takes it as a double."""
    if not may_round(dtype) or nodata is None or -EXACT <= nodata <= EXACT:
        return None
    told = nodata if isinstance(nodata, int) else f"{nodata:.0f}"
    return (
        f"nodata {told} of {dtype.name} is beyond 2**53 ({EXACT:,}), up to which it is "
        "written exactly; return 'nodata' with a smaller number"
    )


def _profile(pixels: NDArray[Any], dtype: np.dtype[Any], nodata: float | None) -> dict[str, Any]:
    count, height, width = pixels.shape
    if words := wrong_nodata(dtype, nodata):
        raise ValueError(words)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "nodata": nodata,
        "compress": "deflate",
        "predictor": PREDICTORS.get(dtype.kind, 1),
        "interleave": "band",
        "bigtiff": "IF_SAFER",
        "alpha": NO_ALPHA,
    }
    if min(height, width) >= TILE:
        profile.update(tiled=True, blockxsize=TILE, blockysize=TILE)
    return profile


def _write(path: Path, pixels: NDArray[Any], meta: dict[str, Any], profile: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # f may mean the identity
        with rasterio.open(path, "w", crs=meta.get("crs"), **profile) as target:
            for band, window in _strips(pixels):
                rows = window.toslices()[0]
                target.write(pixels[band, rows].astype(profile["dtype"]), band + 1, window=window)
            for number, name in enumerate(meta.get("bands") or (), start=1):
                target.set_band_description(number, str(name))


def _strips(pixels: NDArray[Any]) -> Iterator[tuple[int, Window]]:
    """Yield (band, window) in the order of the file, so that no tile is written twice."""
    count, height, width = pixels.shape
    for band in range(count):
        for row in range(0, height, TILE):
            yield band, Window(0, row, width, min(TILE, height - row))


def read_raster(path: Path) -> dict[str, Any]:
    """Return a GeoTIFF as `f` returns and receives rasters: array, transform, crs, nodata, extent.

    `raster` is (band, row, column). Raises MalformedValueError for a file that is no raster.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                raster, profile, bands = source.read(), source.profile, source.descriptions
    except RasterioError as error:
        raise MalformedValueError(f"no raster: {error}") from error
    edges = _bounds(profile["transform"], *raster.shape[1:])
    return {
        "raster": raster,
        "extent": dict(zip(EXTENT_KEYS, edges, strict=True)),
        "transform": profile["transform"],
        "crs": _crs_text(profile["crs"]),
        "nodata": profile["nodata"],
        "dtype": profile["dtype"],
        "bands": [band or str(number) for number, band in enumerate(bands, start=1)],
    }


def _crs_text(crs: Any) -> str | None:
    return None if crs is None else str(crs.to_string())
