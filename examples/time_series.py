"""A trend per pixel over twelve months: `params` has one raster per timestamp, in their order."""

from __future__ import annotations

import sys
from pathlib import Path

import geopod
import numpy as np
import rasterio
from rasterio.transform import from_origin

MONTHS = [f"2024-{month:02d}" for month in range(1, 13)]
NODATA = -9999.0


def monthly(folder, *, size=256):
    """Write twelve rasters of one grid with clouds (nodata) in other places; return the paths."""
    chance = np.random.default_rng(7)
    rows, cols = np.mgrid[0:size, 0:size]
    slope = np.sin(rows / 31) * 0.02
    paths = []
    for number, month in enumerate(MONTHS):
        values = 0.4 + 0.2 * np.cos(cols / 47) + slope * number
        values += 0.01 * chance.standard_normal((size, size))
        row, col = chance.integers(0, size - 60, 2)
        values[row : row + 60, col : col + 60] = NODATA
        paths.append(folder / f"{month}.tif")
        with rasterio.open(
            paths[-1],
            "w",
            driver="GTiff",
            height=size,
            width=size,
            count=1,
            dtype="float32",
            crs="EPSG:32632",
            nodata=NODATA,
            transform=from_origin(500_000, 5_200_000, 10, 10),
            tiled=True,
            blockxsize=64,
            blockysize=64,
        ) as target:
            target.write(values.astype("float32"), 1)
    return paths


def trend(params):
    """Return the slope per month of each pixel's own line through the months that it has."""
    months = list(params.values())
    rows, cols = months[0]["core"]
    stack = np.stack([month["raster"][0, rows, cols] for month in months])
    return slopes(stack, months[0]["nodata"])[np.newaxis]


def slopes(stack, nodata):
    """Return the least-squares slope over axis 0; nodata where there are under three values."""
    there = stack != nodata
    values = np.where(there, stack, 0.0).astype("float64")
    times = np.arange(len(stack), dtype="float64")[:, None, None] * there
    count = there.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (times**2).sum(axis=0) - times.sum(axis=0) ** 2 / count
        joint = (times * values).sum(axis=0) - times.sum(axis=0) * values.sum(axis=0) / count
        return np.where(count > 2, joint / spread, nodata).astype("float32")  # noqa: PLR2004


def main(folder):
    """Write the trend as one cloud-optimized GeoTIFF; return its path."""
    with geopod.connect("local") as client:
        for month, path in zip(MONTHS, monthly(folder), strict=True):
            client.add_layer("ndvi", path, type="raster", timestamp=month)
        client.add_layer("trend", type="raster", write_to=folder / "trend")
        months = [("ndvi", month) for month in MONTHS]
        with client.environment(layers=months, nodes=3) as env:
            env.execute(trend, write_to=("trend", "2024"))
        cog = client.get_layer("trend").files("2024")[-1]  # the newest lies on top
    print(f"trend over {len(MONTHS)} months: {cog}")
    return Path(cog)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples").resolve()
    target.mkdir(parents=True, exist_ok=True)
    main(target)
