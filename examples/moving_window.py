"""A 9 x 9 median filter whose result has no seams: the nodes' parts overlap by four pixels."""

from __future__ import annotations

import sys
from pathlib import Path

import geopod
import numpy as np
from sample_layers import elevation

WINDOW = 9


def smooth(params):
    """Return the median of the 9 x 9 neighbourhood of every pixel, as large as the raster."""
    dem = params["srtm"]
    return median(dem["raster"][0], dem["nodata"])[np.newaxis]


def median(heights, nodata):
    """Return the moving median; pixels without data, and those beyond the border, do not count."""
    valid = np.where(heights == nodata, np.nan, heights.astype("float32"))
    padded = np.pad(valid, WINDOW // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW))
    flat = windows.reshape(*heights.shape, -1)
    result = np.full(heights.shape, nodata, dtype="float32")
    seen = ~np.isnan(valid)
    result[seen] = np.nanmedian(flat[seen], axis=-1)
    return result


def main(folder):
    """Write the smoothed elevation model as one cloud-optimized GeoTIFF; return its path."""
    dem = elevation(folder)
    with geopod.connect("local") as client:
        client.add_layer("smooth", type="raster", write_to=folder / "smooth")
        with client.environment(layers=[dem], nodes=4, overlap=WINDOW // 2) as env:
            env.execute(smooth, write_to=("smooth", "9x9"))
        cog = client.get_layer("smooth").files("9x9")[-1]  # the newest lies on top
    print(f"smoothed: {cog}")
    return Path(cog)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples").resolve()
    target.mkdir(parents=True, exist_ok=True)
    main(target)
