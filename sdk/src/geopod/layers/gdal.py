"""Open a raster with one driver and settled GDAL options, and close without leaving a trace."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from geopod.errors import LayerAccessError
from geopod.layers.sources import SourceFile

CACHE_BYTES = 64 << 20
"""GDAL takes 5 % of the host's memory by default, a container has less."""


@contextmanager
def gdal_settings(**options: Any) -> Iterator[None]:
    """Set what reading local rasters needs; the options found are there again afterwards."""
    with rasterio.Env(
        GDAL_CACHEMAX=CACHE_BYTES,
        # Masks, world files and headers lie beside a local raster; an agent's own setting for
        # object stores hides them.
        GDAL_DISABLE_READDIR_ON_OPEN="FALSE",
        **options,
    ):
        yield


def open_raster_file(source: SourceFile, *, path_id: str) -> Any:
    """Return an open rasterio dataset; raises LayerAccessError with GDAL's own words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(source.path, driver=source.driver)
    except RasterioIOError as error:
        raise LayerAccessError.unreachable(
            path_id=path_id, words=str(error), details={"href": str(source.path)}
        ) from error
