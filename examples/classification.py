"""Land cover without training data: k-means on a sample of all nodes, then every pixel's class.

Two runs on the same warm nodes. The first returns a few pixels of each node, the second classifies
all pixels by the centres that the sample gave, and writes them as one cloud-optimized GeoTIFF.
With scikit-learn in your environment use `sklearn.cluster.KMeans` for `find_centres`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopod
import numpy as np
from sample_layers import reflectance

CLASSES = 5
STRIDE = 16


def sample(params):
    """Return every 16th pixel with data of this node's own part: (pixels, bands)."""
    scene = params["scene"]
    rows, cols = scene["core"]
    pixels = scene["raster"][:, rows, cols][:, ::STRIDE, ::STRIDE].reshape(4, -1).T
    return pixels[(pixels != scene["nodata"]).all(axis=1)]


def find_centres(pixels, rounds=20):
    """Return k-means centres (classes, bands), darkest first."""
    centres = pixels[np.linspace(0, len(pixels) - 1, CLASSES).astype(int)].astype("float64")
    for _ in range(rounds):
        nearest = nearest_centre(pixels, centres)
        for number in range(CLASSES):
            if (nearest == number).any():
                centres[number] = pixels[nearest == number].mean(axis=0)
    return centres[np.argsort(centres.sum(axis=1))]


def nearest_centre(pixels, centres):
    """Return the number of the centre that is closest to each pixel."""
    distances = ((pixels[:, None, :].astype("float64") - centres) ** 2).sum(axis=2)
    return distances.argmin(axis=1)


def classifier(centres):
    """Return the function that classifies a part: 1 to 5, 0 without data."""

    def classify(params):
        scene = params["scene"]
        rows, cols = scene["core"]
        bands = scene["raster"][:, rows, cols]
        pixels = bands.reshape(4, -1).T
        classes = nearest_centre(pixels, centres) + 1
        classes[(pixels == scene["nodata"]).any(axis=1)] = 0
        return classes.reshape(1, *bands.shape[1:]).astype("uint8")

    return classify


def main(folder):
    """Write the classes as one GeoTIFF; return its path and the centres."""
    scene, _ = reflectance(folder)
    with geopod.connect("local") as client:
        client.add_layer("cover", type="raster", write_to=folder / "cover")
        with client.environment(layers=[scene], nodes=4) as env:
            centres = find_centres(np.concatenate(env.execute(sample)))
            env.execute(classifier(centres), write_to=("cover", "2024"))
        (cog,) = client.get_layer("cover").files("2024")
    print(f"{CLASSES} classes: {cog}")
    return Path(cog), centres


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples").resolve()
    target.mkdir(parents=True, exist_ok=True)
    main(target)
