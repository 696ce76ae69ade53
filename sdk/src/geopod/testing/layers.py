"""Small layers made by code, as files that a node would read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from geopod import codecs
from geopod.errors import InvalidInputError

RASTER_DIMENSIONS = 3


@dataclass(frozen=True, slots=True, eq=False)
class RasterDouble:
    """An array with a place on Earth: make one with `raster`."""

    array: Any
    """(band, row, column)"""
    crs: str
    transform: tuple[float, float, float, float, float, float]
    nodata: float | None = None
    bands: tuple[str, ...] = ()

    @override
    def __repr__(self) -> str:
        return f"<RasterDouble {self.array.dtype} {self.array.shape} in {self.crs}>"

    def write(self, folder: Path, name: str) -> Path:
        """Write the raster as `<name>.tif` and return its path."""
        import numpy as np

        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, self.array, allow_pickle=False)
        described = {
            "transform": self.transform,
            "crs": self.crs,
            "nodata": self.nodata,
            "bands": list(self.bands),
        }
        written = codecs.encode("raster", buffer.getvalue(), described, workdir=folder).data
        path = folder / f"{name}.tif"
        if isinstance(written, bytes):
            path.write_bytes(written)
        else:
            written.rename(path)
        return path


def raster(
    array: Any,
    *,
    crs: str = "EPSG:32632",
    origin: tuple[float, float] = (500_000.0, 5_600_000.0),
    pixel: float = 10.0,
    nodata: float | None = None,
    bands: Sequence[str] = (),
) -> RasterDouble:
    """Return a raster layer of an array (row, column) or (band, row, column).

    `origin`: x and y of its upper-left corner, in `crs`; `pixel`: the edge of a pixel in the unit
    of `crs`. Raises InvalidInputError for an array of another shape.
    """
    import numpy as np

    values = np.asarray(array)
    if values.ndim == RASTER_DIMENSIONS - 1:
        values = values[np.newaxis]
    if values.ndim != RASTER_DIMENSIONS or not values.size:
        raise InvalidInputError.value(
            name="array",
            value=np.shape(array),
            why="is no shape of a raster",
            fix="raster(np.zeros((3, 4)))",
        )
    transform = (pixel, 0.0, origin[0], 0.0, -pixel, origin[1])
    return RasterDouble(values, crs, transform, nodata, tuple(bands))


def write_layer(layer: Any, folder: Path, name: str) -> Path:
    """Return a file of a layer: a RasterDouble, a GeoDataFrame, or the path of a file."""
    if isinstance(layer, RasterDouble):
        return layer.write(folder, name)
    if isinstance(layer, (str, Path)):
        return Path(layer).absolute()
    if hasattr(layer, "to_parquet") and getattr(layer, "crs", None) is not None:
        path = folder / f"{name}.parquet"
        layer.to_parquet(path)
        return path
    raise InvalidInputError.value(
        name=name,
        value=layer,
        why="is no layer",
        fix="raster(array), a GeoDataFrame with a CRS, or the path of a file",
    )
