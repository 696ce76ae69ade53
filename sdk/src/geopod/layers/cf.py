"""What the CF conventions say of an array: its grid, its steps, and the numbers that are none.

Source: https://cfconventions.org/cf-conventions/cf-conventions.html
"""

from __future__ import annotations

import base64
import binascii
import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from geopod.layers.chunks import ArrayFile, ArrayVariable, groups_above
from geopod.layers.grids import Coefficients
from geopod.layers.variables import MOST_BANDS, MOST_COORDINATES

_EVEN = 1e-2
"""Places that are off an even spacing by less than this part of a pixel are on it (rounding)."""
_X_NAMES = frozenset({"x", "lon", "longitude", "long", "easting"})
_Y_NAMES = frozenset({"y", "lat", "latitude", "northing"})
_X_STANDARD = frozenset({"longitude", "projection_x_coordinate", "projection_x_angular_coordinate"})
_Y_STANDARD = frozenset({"latitude", "projection_y_coordinate", "projection_y_angular_coordinate"})
_EAST = frozenset({"degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"})
_NORTH = frozenset(
    {"degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"}
)
_METRES = {"km": 1000.0, "kilometre": 1000.0, "kilometer": 1000.0}
_RADIANS = {"rad": 1.0, "radian": 1.0, "radians": 1.0, "microradian": 1e-6}
_HALF_TURN = 180.0
# What netCDF writes where nothing was written, unless a variable says otherwise; not for bytes.
# Source: https://docs.unidata.ucar.edu/netcdf-c/current/netcdf_8h_source.html
_NETCDF_FILLS = {
    "i2": -32_767, "u2": 65_535, "i4": -2_147_483_647, "u4": 4_294_967_295,
    "i8": -9_223_372_036_854_775_806, "u8": 18_446_744_073_709_551_614,
    "f4": float(np.float32(9.969209968386869e36)), "f8": 9.969209968386869e36,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What an array is as a raster; its rows and columns run as they are stored."""

    row_axis: int
    column_axis: int
    transform: Coefficients | None
    """None: nothing says where its pixels lie."""
    uneven: tuple[float, float] | None
    """The smallest and largest step of rows or columns that are not evenly apart."""
    crs: CRS | None
    is_geographic: bool
    """Its coordinates are degrees north and east."""
    nodata: float | int | None
    scale: float
    offset: float
    steps: tuple[Mapping[str, str], ...]
    """Of each band: dimension -> value, with `#units` and `#calendar` in `tags`."""
    tags: Mapping[str, str]


def read_meaning(file: ArrayFile, variable: ArrayVariable, *, dtype: np.dtype[Any]) -> Meaning:
    """Return what an array means; its coordinates are read, its pixels are not.

    Raises LayerAccessError for coordinates that cannot be read.
    """
    axes = [_read_axis(file, variable, number) for number in range(len(variable.dimensions))]
    row_axis, column_axis = _find_rows_and_columns(axes)
    rows, columns = axes[row_axis], axes[column_axis]
    mapping = _grid_mapping(file, variable)
    is_geographic = rows.unit in _NORTH and columns.unit in _EAST
    crs = _mapping_crs(file, mapping)
    is_degrees = is_geographic if crs is None else bool(crs.is_geographic)
    places = _places(rows, columns, mapping, is_degrees=is_degrees)
    others = [axis for number, axis in enumerate(axes) if number not in {row_axis, column_axis}]
    sizes = [axis.size for axis in others]
    return Meaning(
        row_axis=row_axis,
        column_axis=column_axis,
        transform=places or _written_transform(mapping),
        uneven=rows.uneven or columns.uneven,
        crs=crs,
        is_geographic=is_geographic,
        nodata=_nodata(variable, dtype),
        scale=_number(variable.attributes.get("scale_factor"), 1.0),
        offset=_number(variable.attributes.get("add_offset"), 0.0),
        steps=tuple(_steps(others)) if math.prod(sizes) <= MOST_BANDS else (),
        tags={
            f"{axis.name}#{what}": str(axis.attributes[what])
            for axis in others
            for what in ("units", "calendar")
            if what in axis.attributes
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """One dimension, with its coordinates if there are any."""

    name: str
    size: int
    values: NDArray[Any] | None
    attributes: Mapping[str, Any]

    @property
    def unit(self) -> str:
        return str(self.attributes.get("units", "")).strip().lower()

    @property
    def numbers(self) -> NDArray[np.float64]:
        """Its coordinates, unpacked."""
        scale = _number(self.attributes.get("scale_factor"), 1.0)
        offset = _number(self.attributes.get("add_offset"), 0.0)
        values = np.zeros(0) if self.values is None else self.values
        return values.astype(np.float64) * scale + offset

    @property
    def uneven(self) -> tuple[float, float] | None:
        """The smallest and largest step, if the coordinates are not evenly apart."""
        if self.values is None or self.size < 3:  # noqa: PLR2004  # one step is even
            return None
        numbers = self.numbers
        steps = np.abs(np.diff(numbers))
        even = np.linspace(numbers[0], numbers[-1], self.size)
        rounding = np.finfo(np.float32).eps if self.values.dtype == np.float32 else 0.0
        most = _EVEN * abs(numbers[-1] - numbers[0]) / (self.size - 1)
        most += rounding * float(np.abs(numbers[[0, -1]]).max())
        off = float(np.abs(numbers - even).max())
        return None if off <= most else (float(steps.min()), float(steps.max()))


def _read_axis(file: ArrayFile, variable: ArrayVariable, number: int) -> _Axis:
    path, size = variable.dimensions[number], variable.array.layout.shape[number]
    name = path.rpartition("/")[2] or f"dim{number}"
    found = file.find(path) if path and path != variable.path else None
    if found is None or found.array.layout.shape != (size,):
        return _Axis(name=name, size=size, values=None, attributes={})
    if size > MOST_COORDINATES:
        raise file.refused(f"dimension {name!r} has {size} steps, {MOST_COORDINATES} at most")
    return _Axis(name=name, size=size, values=found.whole(), attributes=found.attributes)


def _find_rows_and_columns(axes: Sequence[_Axis]) -> tuple[int, int]:
    """Return which axes are y and x: by what they say of themselves, else the last two."""
    y = [number for number, axis in enumerate(axes) if _is_axis(axis, "y", _Y_STANDARD, _NORTH)]
    x = [number for number, axis in enumerate(axes) if _is_axis(axis, "x", _X_STANDARD, _EAST)]
    if not (y and x):
        y = [number for number, axis in enumerate(axes) if axis.name.lower() in _Y_NAMES]
        x = [number for number, axis in enumerate(axes) if axis.name.lower() in _X_NAMES]
    return (y[0], x[0]) if len(y) == len(x) == 1 else (len(axes) - 2, len(axes) - 1)


def _is_axis(axis: _Axis, letter: str, standard: frozenset[str], units: frozenset[str]) -> bool:
    attributes = axis.attributes
    return (
        str(attributes.get("axis", "")).lower() == letter
        or attributes.get("standard_name") in standard
        or axis.unit in units
    )


def _places(
    rows: _Axis, columns: _Axis, mapping: Mapping[str, Any], *, is_degrees: bool
) -> Coefficients | None:
    """Return the transform that evenly spaced coordinates of pixel centres make."""
    y, x = (axis.numbers * _unit_size(axis, mapping) for axis in (rows, columns))
    if not len(y) or not len(x):
        return None
    if is_degrees and min(x[0], x[-1]) > _HALF_TURN:
        x -= 2 * _HALF_TURN
    e, a = ((one[-1] - one[0]) / (len(one) - 1) if len(one) > 1 else 0.0 for one in (y, x))
    # One row or column is as large as the other way says.
    e, a = e or -abs(a), a or abs(e)
    if not (a and e and all(map(math.isfinite, (x[0], a, y[0], e)))):
        return None
    return (float(a), 0.0, float(x[0] - a / 2), 0.0, float(e), float(y[0] - e / 2))


def _unit_size(axis: _Axis, mapping: Mapping[str, Any]) -> float:
    """Return how much of the CRS's unit one unit of an axis is."""
    height = mapping.get("perspective_point_height")
    if axis.unit in _RADIANS and height is not None:
        return _RADIANS[axis.unit] * _number(height, 1.0)
    return _METRES.get(axis.unit, 1.0)


def _grid_mapping(file: ArrayFile, variable: ArrayVariable) -> Mapping[str, Any]:
    """Return the attributes of the variable that an array's `grid_mapping` names."""
    words = str(variable.attributes.get("grid_mapping", "")).replace(":", " ").split()
    for group in groups_above(variable.path) if words else ():
        found = file.attributes(f"{group}/{words[0]}" if group else words[0])
        if found is not None:
            return found
    return {}


def _mapping_crs(file: ArrayFile, mapping: Mapping[str, Any]) -> CRS | None:
    """Return the CRS of a grid mapping; raises LayerAccessError for one that PROJ does not know."""
    text = mapping.get("crs_wkt") or mapping.get("spatial_ref")
    if not text and "grid_mapping_name" not in mapping:
        return None
    try:
        return CRS.from_wkt(str(text)) if text else CRS.from_cf(dict(mapping))
    except (CRSError, KeyError, TypeError, ValueError) as error:
        raise file.refused(f"its grid mapping is no CRS: {error}") from error


def _written_transform(mapping: Mapping[str, Any]) -> Coefficients | None:
    """Return the transform that GDAL writes where an array has no coordinates."""
    words = str(mapping.get("GeoTransform", "")).split()
    try:
        c, a, b, f, d, e = map(float, words)
    except ValueError:
        return None
    return (a, b, c, d, e, f)


def _nodata(variable: ArrayVariable, dtype: np.dtype[Any]) -> float | int | None:
    """Return the value that stands for none, in the type of the raster."""
    attributes, layout = variable.attributes, variable.array.layout
    for name in ("_FillValue", "missing_value"):
        value = _plain_number(attributes.get(name), layout.dtype)
        if value is not None:
            return _as_type(value, layout.dtype, dtype)
    fill = layout.fill
    if isinstance(fill, (float, np.floating)) and math.isnan(fill):
        return math.nan
    default = _NETCDF_FILLS.get(layout.dtype.str[1:])
    return default if default is not None and fill == default else None


def _as_type(value: float, stored: np.dtype[Any], dtype: np.dtype[Any]) -> float | int:
    """Return a stored value as the raster has it: numbers may be stored with a sign they lack."""
    if stored.kind == "i" and dtype.kind == "u" and value < 0:
        return int(value) + (1 << (8 * stored.itemsize))
    return value


def _plain_number(value: Any, dtype: np.dtype[Any]) -> float | int | None:
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        value = _from_base64(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Written in double precision, compared in single.
    return float(np.float32(value)) if dtype.str[1:] == "f4" else value


def _from_base64(text: str) -> float | None:
    """Return a number as xarray writes those that JSON has no word for: eight bytes in base64."""
    try:
        return float(struct.unpack("<d", base64.b64decode(text, validate=True))[0])
    except (binascii.Error, struct.error, ValueError):
        return None


def _number(value: Any, otherwise: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return otherwise


def _steps(axes: Sequence[_Axis]) -> list[Mapping[str, str]]:
    """Return dimension -> value of each band, the last dimension runs fastest."""
    if all(axis.values is None for axis in axes):
        return []
    names = [axis.name for axis in axes]
    columns = [
        [str(number) for number in range(1, axis.size + 1)]
        if axis.values is None
        else [_written(value) for value in axis.values.tolist()]
        for axis in axes
    ]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*columns)]


def _written(value: Any) -> str:
    return f"{value:.16g}" if isinstance(value, float) else str(value)
