"""Classic netCDF files, written byte by byte: none of the libraries that tests have writes them.

Source of the layout: https://docs.unidata.ucar.edu/nug/current/file_format_specifications.html
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHAR, _FLOAT, _DOUBLE = 2, 5, 6
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12


def write_netcdf(path: Path, values: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> Path:
    """Write `values` (row, column) as `elevation` over `lat` (rows) and `lon` (columns)."""
    variables = (
        ("lat", (0,), y, {"units": "degrees_north", "standard_name": "latitude"}),
        ("lon", (1,), x, {"units": "degrees_east", "standard_name": "longitude"}),
        ("elevation", (0, 1), values.astype(">f4"), {"units": "m"}),
    )
    dimensions = _name("lat") + _int(len(y)) + _name("lon") + _int(len(x))
    head = b"CDF\x01" + _int(0) + _int(_DIMENSION) + _int(2) + dimensions
    head += _attributes({"Conventions": "CF-1.6"})

    def table(starts: tuple[int, ...]) -> bytes:
        entries = b"".join(
            _name(name)
            + _int(len(axes))
            + b"".join(map(_int, axes))
            + _attributes(about)
            + _int(_FLOAT if array.ndim > 1 else _DOUBLE)
            + _int(len(_data(array)))
            + _int(start)
            for (name, axes, array, about), start in zip(variables, starts, strict=True)
        )
        return _int(_VARIABLE) + _int(len(variables)) + entries

    start = len(head) + len(table((0, 0, 0)))
    sizes = [len(_data(array)) for _, _, array, _ in variables]
    starts = (start, start + sizes[0], start + sizes[0] + sizes[1])
    body = b"".join(_data(array) for _, _, array, _ in variables)
    path.write_bytes(head + table(starts) + body)
    return path


def _data(array: NDArray[Any]) -> bytes:
    data = array.astype(">f4" if array.ndim > 1 else ">f8").tobytes()
    return data + b"\0" * (-len(data) % 4)


def _int(value: int) -> bytes:
    return struct.pack(">i", value)


def _name(text: str) -> bytes:
    data = text.encode()
    return _int(len(data)) + data + b"\0" * (-len(data) % 4)


def _attributes(named: Mapping[str, str]) -> bytes:
    entries = b"".join(_name(name) + _int(_CHAR) + _name(text) for name, text in named.items())
    return _int(_ATTRIBUTE) + _int(len(named)) + entries


def irregular_axis(count: int, *, start: float = 10.0) -> NDArray[np.float64]:
    """Ascending positions whose steps lie between 0.0214 and 0.0223."""
    steps = np.random.default_rng(7).uniform(0.0214, 0.0223, count - 1)
    return start + np.concatenate([[0.0], np.cumsum(steps)])
