"""What `f` gets per raster layer: a dict with array, extent and transform."""

# mypy: disable-error-code="explicit-override"
# `typing.override` came with 3.12; the runner runs on 3.10.

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from .context import extent_of

KEYS_AS_STAGED = ("crs", "nodata", "bands", "dtype", "fill", "scales", "offsets")


class Raster(dict):  # type: ignore[type-arg]  # `dict[str, Any]` as a base differs on 3.10
    """One raster layer of the node's partition. Pickles as a plain dict."""

    @property
    def masked(self) -> Any:
        """The array as a masked array: nodata (and NaN, if nodata is NaN) is masked."""
        numpy = importlib.import_module("numpy")
        array, nodata = self["raster"], self["nodata"]
        if nodata is None:
            return numpy.ma.MaskedArray(array, mask=numpy.zeros(array.shape, bool))
        is_missing = numpy.isnan(array) if nodata != nodata else array == nodata  # noqa: PLR0124  # NaN
        return numpy.ma.MaskedArray(array, mask=is_missing, fill_value=nodata)

    def xarray(self) -> Any:
        """Return the array as an `xarray.DataArray` (band, y, x) with pixel-centre coordinates."""
        numpy = importlib.import_module("numpy")
        xarray = importlib.import_module("xarray")
        array, transform = self["raster"], self["transform"]
        rows, columns = array.shape[-2:]
        return xarray.DataArray(
            array,
            dims=("band", "y", "x"),
            coords={
                "band": list(self["bands"]),
                "y": transform.f + (numpy.arange(rows) + 0.5) * transform.e,
                "x": transform.c + (numpy.arange(columns) + 0.5) * transform.a,
            },
            name=self["pathId"],
            attrs={"crs": self["crs"], "nodata": self["nodata"], "transform": tuple(transform)[:6]},
        )

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def read_raster(folder: Path, layer: dict[str, Any]) -> Raster:
    """Return a fresh Raster of a staged layer: the array private to this process and writable."""
    affine = importlib.import_module("affine")
    first_row, last_row, first_column, last_column = layer["core"]
    values: dict[str, Any] = {
        "raster": map_array(folder / layer["file"]),
        "extent": extent_of(layer["extent"]),
        "transform": affine.Affine(*layer["transform"]),
    }
    values.update((key, _copied(layer.get(key))) for key in KEYS_AS_STAGED)
    values["core"] = (slice(first_row, last_row), slice(first_column, last_column))
    values["core_extent"] = extent_of(layer["coreExtent"])
    values["pathId"], values["timestamp"] = layer["pathId"], layer["timestamp"]
    values["date"] = layer.get("date")
    return Raster(values)


def map_array(path: Path) -> Any:
    """Map a `.npy` file copy-on-write: writing to it changes neither file nor other processes."""
    numpy = importlib.import_module("numpy")
    reader = numpy.lib.format
    with path.open("rb") as file:
        version = reader.read_magic(file)
        read_header = reader.read_array_header_1_0 if version == (1, 0) else _header_2_0(reader)
        shape, is_fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"{path.name} holds Python objects; a staged array never does")
        if 0 in shape:
            return numpy.empty(shape, dtype, order="F" if is_fortran else "C")
        mapped = numpy.memmap(
            file, dtype, "c", file.tell(), shape, order="F" if is_fortran else "C"
        )
    return numpy.asarray(mapped).view(numpy.ndarray)


def _header_2_0(reader: Any) -> Any:
    return reader.read_array_header_2_0


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
