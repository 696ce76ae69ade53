"""Open a raster with one driver and settled GDAL options, and close without leaving a trace."""

from __future__ import annotations

import re
import secrets
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.env
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError, RasterioIOError

from geopod.errors import LayerAccessError
from geopod.errors.wording import size_text
from geopod.layers.companions import companion_images
from geopod.layers.ellipsis import ELLIPSIS
from geopod.layers.sources import SourceFile
from geopod.layers.variables import ARRAYS
from geopod.layers.vsi import gdal_path, remote_options, without_queries

CACHE_BYTES = 64 << 20
"""GDAL takes 5 % of the host's memory by default, a container has less."""
_OPEN_OPTIONS = {"Zarr": {"USE_ZMETADATA": "NO"}}
"""Of a store, the metadata that `zarr` has checked."""
_FENCED = {"HFA": ".img,.ige,.rrd", "SRTMHGT": ".hgt", "USGSDEM": ".dem"}
"""Driver -> all that it may ask a store for: it looks for a mask whatever it is told of side files,
and GDAL opens that with any driver. A VRT would read what the layer's author must not see."""
HEADER_ERRORS = (RasterioError, CRSError, CPLE_BaseError, UnicodeDecodeError)
"""What rasterio raises of a header that makes no sense to it."""
_UNPACKED = {"ENVI", "netCDF"}
_COMPLEX_INT = {"complex_int16": "int32"}
"""GDAL's type that numpy has not: another one of its size."""
MOST_BLOCK_BYTES = 1 << 30
"""A block is decoded whole, whatever is read of it: a small file may ask for any amount."""


@contextmanager
def gdal_settings(files: Sequence[SourceFile] = (), **options: Any) -> Iterator[None]:
    """Set what reading a layer's files needs; the options found are there again afterwards.

    Files of one layer: they share its credentials.
    """
    remote = next((file.remote for file in files if file.remote is not None), None)
    with rasterio.Env(
        GDAL_CACHEMAX=CACHE_BYTES,
        # Masks, world files and headers lie beside a local raster; an agent's own setting for
        # object stores hides them.
        GDAL_DISABLE_READDIR_ON_OPEN="FALSE" if remote is None else "EMPTY_DIR",
        # A short cut that takes a file which is cut off for a whole one.
        GDAL_PNG_WHOLE_IMAGE_OPTIM="NO",
        **options,
    ):
        if remote is not None:
            # Not by Env(): it leaves the keys of AWS to boto3, which would look around.
            rasterio.env.setenv(**remote_options(remote))
            if allowed := ",".join({_FENCED[one.driver] for one in files if one.driver in _FENCED}):
                rasterio.env.setenv(CPL_VSIL_CURL_ALLOWED_EXTENSIONS=allowed)
        yield


def open_raster_file(source: SourceFile, *, path_id: str) -> Any:
    """Return an open rasterio dataset, or what reads like one; raises LayerAccessError.

    It is open within `gdal_settings` of its layer: GDAL signs each of its requests.
    """
    if source.driver == ELLIPSIS:
        from geopod.layers.ellipsis_tiles import open_tiles  # only for layers that lie there

        return open_tiles(source)
    if source.driver in ARRAYS:
        from geopod.layers.arrays import open_array  # loads pyfive

        return open_array(source, path_id=path_id)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            if source.remote is None:
                _check_images(source.path, path_id=path_id)
            options = _OPEN_OPTIONS.get(source.driver, {})
            dataset = rasterio.open(gdal_path(source), driver=source.driver, **options)
    except HEADER_ERRORS as error:
        raise unreadable(error, path_id=path_id, source=source) from error
    # First: to ask which files a dataset has is to open its overviews.
    wrong = _names_overviews(dataset) or _wrong(dataset, source) or _cut_off(dataset, source)
    if wrong is not None:
        dataset.close()
        raise LayerAccessError.unreachable(
            path_id=path_id, words=wrong, details={"href": source.href}
        )
    return dataset


def exact_nodata(dataset: Any, index: int) -> float | int | None:
    """Return a band's nodata digit by digit; rasterio tells those of 64 bits as doubles.

    Of the header alone: GDAL describes the dataset as a VRT, in memory.
    """
    if dataset.driver == ELLIPSIS or dataset.driver in ARRAYS:
        value: float | int | None = dataset.nodatavals[index - 1]
        return value
    place = f"/vsimem/{secrets.token_hex(8)}.vrt"
    rasterio.shutil.copy(dataset, place, driver="VRT")
    try:
        with rasterio.open(place, driver="VRT") as described:
            text = "".join(described.tags(ns="xml:VRT").values())
    finally:
        rasterio.shutil.delete(place)
    band = re.search(rf'<VRTRasterBand[^>]* band="{index}".*?</VRTRasterBand>', text, re.DOTALL)
    found = band and re.search(r"<NoDataValue>([^<]*)</NoDataValue>", band[0])
    if not found:
        return None
    return int(found[1]) if re.fullmatch(r"-?\d+", found[1]) else float(found[1])


def unreadable(
    error: Exception, *, path_id: str, source: SourceFile | None = None
) -> LayerAccessError:
    """Return what GDAL said, without what may be a key in an address."""
    details = {} if source is None else {"href": source.href}
    deepest: BaseException = error
    # rasterio's own words only point to GDAL's.
    while str(deepest).startswith("Read failed") and deepest.__cause__ is not None:
        deepest = deepest.__cause__
    return LayerAccessError.unreachable(
        path_id=path_id, words=without_queries(str(deepest)), details=details
    )


def _check_images(path: Path, *, path_id: str) -> None:
    """Raise LayerAccessError for overviews and masks beside a file that are no plain pixels."""
    for image in companion_images(path):
        try:
            with rasterio.open(image, driver="GTiff") as dataset:
                wrong = _names_overviews(dataset)
        except RasterioIOError:
            wrong = f"{image} is no GeoTIFF, as overviews and masks are"
        if wrong is not None:
            raise LayerAccessError.unreachable(
                path_id=path_id, words=wrong, details={"href": str(path)}
            )


def _names_overviews(dataset: Any) -> str | None:
    """Return why a dataset is refused whose metadata would make GDAL open any file or address."""
    named = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    return named and f"{dataset.name} has its overviews in {named}; gdaladdo -ro writes them beside"


def _cut_off(dataset: Any, source: SourceFile) -> str | None:
    """Return that a file ends before its pixels do, in a format that would read as zeros then."""
    is_packed = dataset.tags(ns="ENVI").get("file_compression", "0") != "0"
    if source.remote is not None or source.driver not in _UNPACKED or is_packed:
        return None
    size = source.path.stat().st_size
    needed = dataset.count * dataset.height * dataset.width * _pixel_bytes(dataset)
    if size >= needed:
        return None
    return f"{source.href} is cut off: its pixels take {needed:,} bytes, it has {size:,}"


def _pixel_bytes(dataset: Any) -> int:
    """Return how many bytes one pixel of the first band takes in its file."""
    name: str = dataset.dtypes[0]
    return np.dtype(_COMPLEX_INT.get(name, name)).itemsize


def _wrong(dataset: Any, source: SourceFile) -> str | None:
    """Return why a dataset that could be opened must not be read."""
    if not dataset.count:
        names = [name.rpartition(":")[2] for name in dataset.subdatasets]
        return (
            f"{source.href} has {len(names)} rasters ({', '.join(names[:8])}), not one; "
            "name it: #<variable>"
        )
    height, width = dataset.block_shapes[0]
    # Bands that lie pixel by pixel are decoded together.
    is_by_pixel = dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "PIXEL"
    bands = dataset.count if is_by_pixel else 1
    block = height * width * bands * _pixel_bytes(dataset)
    if block > MOST_BLOCK_BYTES:
        what = f"{dataset.dtypes[0]}" + (f", {bands} bands at once," if bands > 1 else "")
        return (
            f"one block of {height} x {width} {what} takes {size_text(block)} to decode, "
            f"{size_text(MOST_BLOCK_BYTES)} is the limit; write it in tiles (COG)"
        )
    if source.remote is None:
        is_folder = source.path.is_dir()
        home = source.path.resolve() if is_folder else source.path.resolve().parent
        for part in dataset.files:
            place = Path(part).resolve()
            if not (place.is_relative_to(home) if is_folder else place.parent == home):
                return f"{source.href} reads {part}, which lies outside its folder"
    return None
