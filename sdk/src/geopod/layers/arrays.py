"""An array as a raster: what planning and staging ask of a rasterio dataset, over our own readers.

The bands are the steps of its other dimensions, in the order they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as RasterioWindow

from geopod.errors import LayerAccessError
from geopod.layers.cf import Meaning, read_meaning
from geopod.layers.chunks import ArrayFile, ArrayVariable
from geopod.layers.grids import Window
from geopod.layers.hdf5 import Hdf5File
from geopod.layers.sources import SourceFile
from geopod.layers.variables import HDF5, MOST_BANDS
from geopod.layers.zarr3 import Zarr3Store

_LEAST_DIMENSIONS = 2
_PART_BYTES = 16 << 20
# Types that rasters do not have, and what holds all their values.
_WIDER = {"b1": "u1", "f2": "f4"}


def open_array(source: SourceFile, *, path_id: str) -> ArrayDataset:
    """Return the array that a source names as a raster; raises LayerAccessError."""
    file: ArrayFile = (
        Hdf5File(source.place, path_id=path_id)
        if source.driver == HDF5
        else Zarr3Store(source.place, path_id=path_id)
    )
    try:
        name = source.variable.name if source.variable else _only_name(file)
        return ArrayDataset(file, _find(file, name), driver=source.driver)
    except BaseException:
        file.close()
        raise


def _find(file: ArrayFile, name: str) -> ArrayVariable:
    variable = file.find(name.strip("/"))
    if variable is None:
        raise file.refused(f"there is no array {name!r}{_there_are(file)}")
    return variable


def _only_name(file: ArrayFile) -> str:
    names = file.names()
    if len(names) != 1:
        raise file.refused(f"name one of its arrays{_there_are(file)}: #<array>")
    return names[0]


def _there_are(file: ArrayFile) -> str:
    names = file.names()
    return f" ({', '.join(names[:16])})" if names else ""


class ArrayDataset:
    """One array, with the part of rasterio's dataset that geopod uses."""

    gcps: tuple[list[Any], None] = ([], None)
    rpcs = None

    def __init__(self, file: ArrayFile, variable: ArrayVariable, *, driver: str) -> None:
        layout = variable.array.layout
        if len(layout.shape) < _LEAST_DIMENSIONS or not math.prod(layout.shape):
            raise file.refused(f"{variable.path!r} of shape {layout.shape} has no pixels")
        self.driver = driver
        self._file = file
        self._variable = variable
        self._dtype = _raster_dtype(variable)
        self.meaning: Meaning = read_meaning(file, variable, dtype=self._dtype)
        rows, columns = self.meaning.row_axis, self.meaning.column_axis
        self._others = [axis for axis in range(len(layout.shape)) if axis not in {rows, columns}]
        self._steps = tuple(layout.shape[axis] for axis in self._others)
        self.height, self.width = layout.shape[rows], layout.shape[columns]
        self.count = math.prod(self._steps)
        if self.count > MOST_BANDS:
            raise file.refused(
                f"{variable.path!r} has {self.count} bands, {MOST_BANDS} at most; "
                "write fewer steps into one array"
            )
        self.block_shapes = [(layout.chunks[rows], layout.chunks[columns])] * self.count

    @property
    def indexes(self) -> range:
        """The numbers of its bands."""
        return range(1, self.count + 1)

    @property
    def transform(self) -> Affine:
        """Where its pixels lie; the identity: nobody knows."""
        places = self.meaning.transform
        return Affine.identity() if places is None else Affine(*places)

    @property
    def crs(self) -> CRS | None:
        """The CRS that it names."""
        return self.meaning.crs

    @property
    def implied_crs(self) -> str | None:
        """The CRS of degrees north and east, where nothing else is said."""
        return "EPSG:4326" if self.meaning.is_geographic else None

    @property
    def uneven_steps(self) -> tuple[float, float] | None:
        """The smallest and largest step of rows or columns that are not evenly apart."""
        return self.meaning.uneven

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Its outer edges."""
        x, y = zip(self.transform @ (0, 0), self.transform @ (self.width, self.height), strict=True)
        return (min(x), min(y), max(x), max(y))

    @property
    def dtypes(self) -> list[str]:
        """The type of each band."""
        return [self._dtype.name] * self.count

    @property
    def nodatavals(self) -> list[float | None]:
        """The value of each band that stands for none."""
        return [self.meaning.nodata] * self.count

    @property
    def scales(self) -> list[float]:
        """What each band's values are multiplied by to give what they mean."""
        return [self.meaning.scale] * self.count

    @property
    def offsets(self) -> list[float]:
        """What is added then."""
        return [self.meaning.offset] * self.count

    @property
    def descriptions(self) -> list[None]:
        """No band has one: its step is its name."""
        return [None] * self.count

    @property
    def colorinterp(self) -> list[ColorInterp]:
        """No band is a colour."""
        return [ColorInterp.undefined] * self.count

    @property
    def mask_flag_enums(self) -> list[list[MaskFlags]]:
        """How each band says where it has pixels."""
        flag = MaskFlags.all_valid if self.meaning.nodata is None else MaskFlags.nodata
        return [[flag]] * self.count

    @property
    def read_bytes(self) -> int:
        """How much it takes to read: a chunk, twice what it is decoded from, a part's pixels."""
        return 3 * self._variable.array.layout.chunk_bytes + _PART_BYTES

    @property
    def bands_together(self) -> int:
        """How many bands lie in one chunk, if they follow one another."""
        chunks = self._variable.array.layout.chunks
        return chunks[self._others[-1]] if self._others else 1

    def tags(self, index: int | None = None, ns: str | None = None) -> Mapping[str, str]:
        """Return a band's steps, or what their numbers are, as GDAL does for netCDF."""
        if ns is not None:
            return {}
        if index is None:
            return self.meaning.tags
        if not self.meaning.steps:
            return {}
        step = self.meaning.steps[index - 1]
        return {f"NETCDF_DIM_{name}": value for name, value in step.items()}

    def tag_namespaces(self) -> list[str]:
        """Return nothing: it has tags of its own only."""
        return []

    def read(self, indexes: Sequence[int], window: RasterioWindow) -> NDArray[Any]:
        """Return (band, row, column) of a window inside it."""
        part = (window.row_off, window.col_off, window.height, window.width)
        return self.read_bands(indexes, (int(part[0]), int(part[1]), int(part[2]), int(part[3])))

    def read_bands(self, indexes: Sequence[int], window: Window) -> NDArray[Any]:
        """Return (band, row, column) of a window inside it; each chunk of bands is read once."""
        values = np.empty((len(indexes), *window[2:]), self._dtype)
        done = 0
        for first, length in _runs(indexes, self._steps[-1] if self._steps else 1):
            values[done : done + length] = self._read_run(first - 1, length, window)
            done += length
        return values

    def _read_run(self, first: int, length: int, window: Window) -> NDArray[Any]:
        """Return bands that follow one another along the last of the other dimensions."""
        array = self._variable.array
        box = [slice(0, 0)] * len(array.layout.shape)
        box[self.meaning.row_axis] = slice(window[0], window[0] + window[2])
        box[self.meaning.column_axis] = slice(window[1], window[1] + window[3])
        place = np.unravel_index(first, self._steps) if self._steps else ()
        for axis, step in zip(self._others, place, strict=True):
            box[axis] = slice(int(step), int(step) + 1)
        if self._others:
            last = box[self._others[-1]]
            box[self._others[-1]] = slice(last.start, last.start + length)
        order = (*self._others, self.meaning.row_axis, self.meaning.column_axis)
        values = array.read(tuple(box)).transpose(order).reshape(length, *window[2:])
        is_unsigned = values.dtype.kind == "i" and self._dtype.kind == "u"
        return values.view(self._dtype) if is_unsigned else values.astype(self._dtype, copy=False)

    def refused(self, words: str) -> LayerAccessError:
        """Return the error that says what is wrong with the array."""
        return self._file.refused(f"{self._variable.path!r}: {words}")

    def close(self) -> None:
        """Close its file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _raster_dtype(variable: ArrayVariable) -> np.dtype[Any]:
    stored = variable.array.layout.dtype
    if str(variable.attributes.get("_Unsigned", "")).lower() == "true" and stored.kind == "i":
        return np.dtype(f"u{stored.itemsize}")
    kind = stored.str[1:]
    return np.dtype(_WIDER.get(kind, kind))


def _runs(indexes: Sequence[int], row: int) -> list[tuple[int, int]]:
    """Return (first, length) of numbers that follow one another within a row of `row` of them."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and index == sum(runs[-1]) and (index - 1) % row:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((index, 1))
    return runs
