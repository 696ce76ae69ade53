"""Returned rasters: dicts with array and transform, and arrays that fit the node's partition."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any

from .handover import HandedOver, Refused, Writer, plain_number

NUMBERS_OF_TRANSFORM = 6
DOUBLES_EXACT = 1 << 53
"""Up to here a nodata is written as it is."""


def place_array(value: Any, rasters: list[dict[str, Any]]) -> Any:
    """Return an array as a raster dict on the layer whose window has its shape.

    An array of padded shape is cropped to the core, one of core shape is taken as it is; any other
    shape, or one that fits layers on different grids, is Refused (ShapeMismatch). Values that are
    no array come back as they are.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray):
        return value
    size = value.shape[-2:]
    fits = [layer for layer in rasters if size in (padded_size(layer), core_size(layer))]
    grids = {(tuple(layer["transform"]), padded_size(layer)) for layer in fits}
    if len(grids) != 1:
        raise _mismatch(value, (fits or rasters), is_ambiguous=len(grids) > 1)
    return on_layer(value, fits[0])


def on_layer(array: Any, layer: dict[str, Any]) -> dict[str, Any]:
    """Return a raster dict of an array of the layer's core or padded shape: the core alone."""
    size = array.shape[-2:]
    first_row, last_row, first_column, last_column = layer["core"]
    if size != core_size(layer):
        if size != padded_size(layer):
            raise _mismatch(array, [layer], is_ambiguous=False)
        array = array[..., first_row:last_row, first_column:last_column]
    a, b, c, d, e, f = layer["transform"]
    corner_x = c + first_column * a + first_row * b
    corner_y = f + first_column * d + first_row * e
    return {
        "raster": array,
        "transform": (a, b, corner_x, d, e, corner_y),
        "crs": layer["crs"],
        "nodata": layer.get("nodata") if array.dtype == layer["dtype"] else None,
    }


def core_size(layer: dict[str, Any]) -> tuple[int, int]:
    """Return rows and columns of the node's own part."""
    first_row, last_row, first_column, last_column = layer["core"]
    return last_row - first_row, last_column - first_column


def padded_size(layer: dict[str, Any]) -> tuple[int, int]:
    """Return rows and columns with halo."""
    rows, columns = layer["shape"][-2:]
    return rows, columns


def hand_over_raster(
    value: Any, writer: Writer, rasters: list[dict[str, Any]], *, crops: bool
) -> HandedOver | None:
    """Hand over `{'raster', 'transform', 'crs'[, 'nodata']}` or `{'raster', 'like'}`; else None.

    `crops`: an array that still has a layer's halo loses it, since parts of one layer are disjoint.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, dict) or "raster" not in value:
        return None
    array = value["raster"]
    if not isinstance(array, numpy.ndarray) or array.dtype.hasobject or array.ndim not in {2, 3}:
        return None
    if "transform" not in value:
        layer = next((one for one in rasters if one["key"] == value.get("like")), None)
        if layer is None:
            return None
        value = {**on_layer(array, layer), **_own_nodata(value)}
    elif crops:
        value = _without_halo(value, rasters)
    return _write(value, writer)


def _own_nodata(value: dict[str, Any]) -> dict[str, Any]:
    return {"nodata": value["nodata"]} if "nodata" in value else {}


def _without_halo(value: dict[str, Any], rasters: list[dict[str, Any]]) -> dict[str, Any]:
    transform = _six(value["transform"])
    for layer in rasters:
        has_halo = core_size(layer) != padded_size(layer)
        if (
            has_halo
            and transform == list(layer["transform"])
            and value["raster"].shape[-2:] == padded_size(layer)
        ):
            cropped = on_layer(value["raster"], layer)
            return {**value, "raster": cropped["raster"], "transform": cropped["transform"]}
    return value


def _write(value: dict[str, Any], writer: Writer) -> HandedOver | None:
    transform = _six(value["transform"])
    if transform is None:
        return None
    array, nodata = value["raster"], value.get("nodata")
    if hasattr(array, "filled"):
        array = array.astype("uint8") if array.dtype.kind == "b" else array  # no third number
        nodata = _free_value(array) if nodata is None else nodata
        array = array.data if nodata is None else array.filled(nodata)
    meta: dict[str, Any] = {
        "transform": transform,
        "crs": crs_text(value.get("crs")),
        "nodata": plain_number(nodata),
    }
    bands = value.get("bands")
    if isinstance(bands, list | tuple) and len(bands) == (array.shape[0] if array.ndim > 2 else 1):  # noqa: PLR2004  # (band, row, col)
        meta["bands"] = [str(band) for band in bands]
    return writer.array("raster", array, meta)


def _free_value(array: Any) -> Any:
    """Return the fill value of a masked array, or another that none of its valid pixels has.

    numpy's own fill value is 999999, which in 8 bits is written as 63: valid pixels of that value
    would be lost. None: nothing is masked and the fill value is a pixel's.
    """
    numpy = sys.modules["numpy"]
    valid = array.compressed()
    fill = numpy.asarray(array.fill_value).astype(array.dtype)[()]
    if not (valid == fill).any():
        return fill
    if valid.size == array.size:
        return None
    if array.dtype.kind not in "iu":
        return numpy.nan
    ends = numpy.iinfo(array.dtype)
    is_small = array.dtype.itemsize == 1
    largest, smallest = min(ends.max, DOUBLES_EXACT), max(ends.min, -DOUBLES_EXACT)
    candidates = range(ends.max, ends.min - 1, -1) if is_small else (largest, smallest)
    free = next((value for value in candidates if not (valid == value).any()), None)
    if free is None:
        raise Refused("NotSerializable", type="masked raster without a number for nodata")
    return free


def _six(transform: Any) -> list[float] | None:
    """Return an Affine (or its first six numbers) as floats; None if it is no transform."""
    try:
        numbers = [float(number) for number in tuple(transform)[:NUMBERS_OF_TRANSFORM]]
    except (TypeError, ValueError):
        return None
    is_whole = len(numbers) == NUMBERS_OF_TRANSFORM and all(map(math.isfinite, numbers))
    return numbers if is_whole else None


def crs_text(crs: Any) -> str | None:
    """Return a CRS (text, pyproj's, rasterio's or an EPSG code) as `EPSG:4326`, else as WKT."""
    if crs is None or isinstance(crs, str):
        return crs
    if hasattr(crs, "__index__"):
        return f"EPSG:{operator.index(crs)}"
    to_authority = getattr(crs, "to_authority", None)
    found = to_authority() if to_authority else None
    if found and found[0] == "EPSG":
        return f"EPSG:{found[1]}"
    to_wkt = getattr(crs, "to_wkt", None)
    return str(to_wkt()) if to_wkt else str(crs)


def _mismatch(array: Any, rasters: list[dict[str, Any]], *, is_ambiguous: bool) -> Refused:
    return Refused(
        "ShapeMismatch",
        shape=list(array.shape),
        core=list(core_size(rasters[0])) if rasters else [],
        padded=list(padded_size(rasters[0])) if rasters else [],
        keys=[layer["key"] for layer in rasters] if is_ambiguous else [],
    )
