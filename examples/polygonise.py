"""Polygons of high ground: every node draws its own part, the seams are dissolved at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas as gpd
import geopod
import pandas as pd
from sample_layers import elevation

ABOVE_M = (300, 500, 700)


def outline(params):
    """Return the polygons of each height band in this node's own part, as features."""
    import numpy as np
    import rasterio.features
    import shapely
    from rasterio.transform import Affine

    dem = params["srtm"]
    rows, cols = dem["core"]
    heights = dem["raster"][0, rows, cols]
    bands = np.digitize(heights, ABOVE_M).astype("uint8")
    bands[heights == dem["nodata"]] = 0
    place = dem["transform"] @ Affine.translation(cols.start, rows.start)
    found = list(rasterio.features.shapes(bands, mask=bands > 0, transform=place))
    return gpd.GeoDataFrame(
        {"above": [ABOVE_M[int(band) - 1] for _, band in found]},
        geometry=[shapely.geometry.shape(outline) for outline, _ in found],
        crs=dem["crs"],
    )


def main(folder):
    """Write the height bands as a GeoPackage; return its path."""
    dem = elevation(folder)
    with (
        geopod.connect("local") as client,
        client.environment(layers=[dem], nodes=4) as env,
    ):
        parts = env.execute(outline)
    bands = pd.concat(parts).dissolve("above")
    target = folder / "heights.gpkg"
    bands.to_file(target, driver="GPKG")
    print(f"{sum(map(len, parts))} polygons in {len(bands)} bands: {target}")
    return target


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples").resolve()
    target.mkdir(parents=True, exist_ok=True)
    main(target)
