"""Vegetation index (NDVI) of a four-band scene, node by node, and its mean over the whole."""

from __future__ import annotations

import sys
from pathlib import Path

import geopod
import numpy as np
from sample_layers import reflectance


def ndvi(params):
    """Return the sum and count of NDVI over this node's own pixels with data."""
    scene = params["scene"]
    rows, cols = scene["core"]
    red = scene["raster"][scene["bands"].index("red"), rows, cols].astype("float64")
    nir = scene["raster"][scene["bands"].index("nir"), rows, cols].astype("float64")
    valid = (red != scene["nodata"]) & (nir != scene["nodata"])
    index = (nir[valid] - red[valid]) / (nir[valid] + red[valid])
    histogram, _ = np.histogram(index, bins=10, range=(-1, 1))
    return {"sum": float(index.sum()), "count": int(index.size), "histogram": histogram}


def main(folder):
    """Print the mean NDVI and its histogram; return both."""
    scene, _ = reflectance(folder)
    with geopod.connect("local") as client, client.environment(layers=[scene], nodes=3) as env:
        parts = env.execute(ndvi)
    count = sum(part["count"] for part in parts)
    mean = sum(part["sum"] for part in parts) / count
    histogram = np.sum([part["histogram"] for part in parts], axis=0)
    print(f"mean NDVI {mean:.4f} over {count} pixels; histogram {histogram.tolist()}")
    return mean, histogram


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples").resolve()
    target.mkdir(parents=True, exist_ok=True)
    main(target)
