"""Layers for the examples: real data that installed packages carry, and one small generated scene.

* Elevation: SRTM of Jacksboro, Tennessee, that matplotlib ships (344 x 403, 1/1200 degree).
* Countries: Natural Earth's 177 countries, public domain, that pyogrio ships.
* Reflectance: four bands of uint16, generated from a written seed, with fields to average over.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from matplotlib import cbook
from rasterio.transform import from_origin
from shapely.geometry import box

NODATA = -32768


def elevation(folder: Path) -> Path:
    """Write the elevation model as a tiled GeoTIFF and return its path.

    The file that matplotlib ships has `ymin` and `ymax` swapped: its first row is the northern one,
    so the upper-left corner is (xmin, ymin).
    """
    dem = cbook.get_sample_data("jacksboro_fault_dem.npz")
    height, width = dem["elevation"].shape
    path = folder / "srtm.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="int16",
        crs="EPSG:4326",
        nodata=NODATA,
        transform=from_origin(dem["xmin"], dem["ymin"], dem["dx"], dem["dy"]),
        tiled=True,
        blockxsize=128,
        blockysize=128,
        compress="deflate",
    ) as target:
        target.write(dem["elevation"], 1)
        target.descriptions = ("elevation",)
    return path


def countries() -> Path:
    """Return the path of Natural Earth's countries."""
    folder = files("pyogrio") / "tests" / "fixtures" / "naturalearth_lowres"
    return Path(str(folder)) / "naturalearth_lowres.shp"


def reflectance(folder: Path, *, size: int = 512) -> tuple[Path, Path]:
    """Write a four-band scene (blue, green, red, nir) and 64 fields; return both paths."""
    chance = np.random.default_rng(7)
    rows, cols = np.mgrid[0:size, 0:size]
    vigour = 0.5 + 0.5 * np.sin(rows / 37) * np.cos(cols / 53)
    bands = np.stack(
        [
            900 + 100 * chance.random((size, size)),
            1000 + 200 * vigour,
            1400 - 900 * vigour + 100 * chance.random((size, size)),
            1800 + 3000 * vigour,
        ]
    ).astype("uint16")
    bands[:, :40, :40] = 0  # a corner without data
    transform = from_origin(500_000, 5_200_000, 10, 10)
    scene = folder / "scene.tif"
    with rasterio.open(
        scene,
        "w",
        driver="GTiff",
        height=size,
        width=size,
        count=4,
        dtype="uint16",
        crs="EPSG:32632",
        nodata=0,
        transform=transform,
        tiled=True,
        blockxsize=128,
        blockysize=128,
    ) as target:
        target.write(bands)
        target.descriptions = ("blue", "green", "red", "nir")
    step = size * 10 / 8
    corners = [(500_000 + i * step, 5_200_000 - j * step) for j in range(8) for i in range(8)]
    fields = gpd.GeoDataFrame(
        {"field": range(64)},
        geometry=[box(x + 30, y - step + 20, x + step - 40, y - 10) for x, y in corners],
        crs="EPSG:32632",
    )
    path = folder / "fields.gpkg"
    fields.to_file(path, driver="GPKG")
    return scene, path
