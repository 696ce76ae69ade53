"""Zarr stores, written chunk by chunk: none of the libraries that tests have writes them with CF.

Source of the layout: https://zarr-specs.readthedocs.io
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEGREES = {
    "lat": {"units": "degrees_north", "standard_name": "latitude"},
    "lon": {"units": "degrees_east", "standard_name": "longitude"},
}
DAYS = {"units": "days since 2024-05-01", "calendar": "standard"}


def temperatures() -> NDArray[np.float32]:
    """Three days over 21 x 31 places."""
    return np.arange(3 * 21 * 31, dtype="<f4").reshape(3, 21, 31)


def write_zarr(store: Path) -> Path:
    """Write `t2m` (time, lat, lon) with its coordinates: 50 to 40 N, 5 to 15 E, three days."""
    store.mkdir()
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    write_array(store / "time", np.arange(3, dtype="<i4"), ["time"], DAYS)
    write_array(store / "lat", np.linspace(50, 40, 21), ["lat"], DEGREES["lat"])
    write_array(store / "lon", np.linspace(5, 15, 31), ["lon"], DEGREES["lon"])
    dimensions = ["time", "lat", "lon"]
    write_array(store / "t2m", temperatures(), dimensions, {"units": "K"}, chunks=(1, 10, 10))
    return store


def write_array(
    folder: Path,
    values: NDArray[Any],
    dimensions: Sequence[str],
    attributes: Mapping[str, Any] | None = None,
    *,
    chunks: tuple[int, ...] = (),
) -> None:
    """Write an array of version 2; its chunks are compressed by zlib."""
    folder.mkdir(parents=True)
    chunks = chunks or values.shape
    about = {
        "zarr_format": 2, "shape": values.shape, "chunks": chunks, "dtype": values.dtype.str,
        "compressor": {"id": "zlib", "level": 1}, "fill_value": None, "filters": None,
        "order": "C",
    }  # fmt: skip
    (folder / ".zarray").write_text(json.dumps(about))
    named = {"_ARRAY_DIMENSIONS": list(dimensions), **(attributes or {})}
    (folder / ".zattrs").write_text(json.dumps(named))
    for place, chunk in _chunks(values, chunks):
        (folder / ".".join(map(str, place))).write_bytes(zlib.compress(chunk))


def change_json(path: Path, **changes: Any) -> None:
    """Set keys of a metadata file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _chunks(values: NDArray[Any], chunks: tuple[int, ...]) -> Any:
    """Yield each chunk's place and bytes, those at the edges filled with zeros."""
    counts = [-(-size // step) for size, step in zip(values.shape, chunks, strict=True)]
    for place in itertools.product(*map(range, counts)):
        whole = np.zeros(chunks, values.dtype)
        part = values[
            tuple(slice(at * step, (at + 1) * step) for at, step in zip(place, chunks, strict=True))
        ]
        whole[tuple(slice(size) for size in part.shape)] = part
        yield place, whole.tobytes()
