"""netCDF-4 by GDAL, Zarr 3 by zarr-python, and the same pixels as GeoTIFF: what ours is held to.

`HDF5` holds files that neither writes, made by h5py 3.16: links and data in other files, filters
that we have not got, and in `types.h5` the ways in which HDF5 stores an array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import zarr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

HDF5 = Path(__file__).parent / "data" / "hdf5"
DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Pixels (day, row, column) and where they lie."""

    values: NDArray[Any]
    transform: Affine
    crs: str = "EPSG:4326"
    nodata: float | None = None


def small_scene(**changes: Any) -> Scene:
    """Three days over 21 x 31 places: 50 to 40 N, 5 to 15 E."""
    usual = {
        "values": np.arange(3 * 21 * 31, dtype=np.float32).reshape(3, 21, 31),
        "transform": Affine(1 / 3, 0, 5 - 1 / 6, 0, -0.5, 50.25),
        "nodata": -5.0,
    }
    return Scene(**{**usual, **changes})


def wavy(count: int, height: int, width: int, *, dtype: Any = np.int16) -> NDArray[Any]:
    """Waves with noise, from a written seed: every pixel's place shows in its value."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).normal(0, 5, (count, height, width))
    return (100 * np.sin(rows / 17) + 100 * np.cos(columns / 23) + noise).astype(dtype)


def write_geotiff(path: Path, scene: Scene) -> Path:
    """Write the scene as GDAL reads it best."""
    count, height, width = scene.values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, tiled=True,
        dtype=scene.values.dtype, crs=scene.crs, transform=scene.transform, nodata=scene.nodata,
    ) as target:  # fmt: skip
        target.write(scene.values)
    return path


def write_netcdf4(path: Path, scene: Scene) -> Path:
    """Write the scene as `t2m` over `time`, one step a day; GDAL turns its rows upside down."""
    count = len(scene.values)
    plain = write_geotiff(path.with_suffix(".tif"), scene)
    with rasterio.open(plain, "r+") as target:
        target.update_tags(
            **{
                "NETCDF_DIM_EXTRA": "{time}",
                "NETCDF_DIM_time_DEF": f"{{{count},6}}",
                "NETCDF_DIM_time_VALUES": f"{{{','.join(map(str, range(count)))}}}",
                "time#units": "days since 2024-05-01",
            }
        )
        for number in target.indexes:
            target.update_tags(number, NETCDF_DIM_time=str(number - 1), NETCDF_VARNAME="t2m")
    rasterio.shutil.copy(plain, path, driver="netCDF", FORMAT="NC4", COMPRESS="DEFLATE")
    return path


def write_zarr3(
    store: Path, scene: Scene, *, with_coordinates: bool = True, **storage: Any
) -> Path:
    """Write the scene as `t2m` (time, y, x); without coordinates its CRS holds the transform."""
    count, height, width = scene.values.shape
    group = zarr.create_group(store=str(store), zarr_format=3)
    attributes: dict[str, Any] = {"grid_mapping": "crs"}
    if scene.nodata is not None:
        attributes["_FillValue"] = scene.nodata
    add_array(group, "t2m", scene.values, ("time", "y", "x"), attributes, **storage)
    days = {"units": "days since 2024-05-01", "calendar": "standard"}
    add_array(group, "time", np.arange(count), ("time",), days)
    mapping = {"crs_wkt": CRS(scene.crs).to_wkt()}
    if with_coordinates:
        a, _, c, _, e, f = scene.transform[:6]
        add_array(group, "x", c + (np.arange(width) + 0.5) * a, ("x",), {"axis": "X"})
        add_array(group, "y", f + (np.arange(height) + 0.5) * e, ("y",), {"axis": "Y"})
    else:
        mapping["GeoTransform"] = " ".join(map(repr, scene.transform.to_gdal()))
    add_array(group, "crs", np.zeros((), np.int32), (), mapping)
    return store


def add_array(
    group: Any,
    name: str,
    values: NDArray[Any],
    dimensions: Sequence[str],
    attributes: Mapping[str, Any],
    **storage: Any,
) -> None:
    """Add an array of version 3 to a group of zarr-python."""
    chunks = storage.pop("chunks", values.shape or "auto")
    array = group.create_array(
        name, data=values, dimension_names=dimensions, chunks=chunks, **storage
    )
    array.attrs.update(attributes)
