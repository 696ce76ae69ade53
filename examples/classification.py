"""Land cover by scikit-learn: learn from the pixels of a few fields, then classify every pixel.

Two runs on the same warm nodes. The first returns the pixels of fields whose cover is known, a
forest of trees learns from them here, and the second run classifies all pixels with it and writes
them as one cloud-optimized GeoTIFF.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopod
import numpy as np
from sample_layers import reflectance
from sklearn.ensemble import RandomForestClassifier

COVER = {1: "bare soil", 2: "crops", 3: "meadow"}
KNOWN = {34: 1, 39: 1, 30: 2, 46: 2, 37: 3, 50: 3}
"""Field -> its cover, as someone saw it there."""


def learn_from(known):
    """Return the function that gives the pixels of known fields in a node's own part."""

    def training_pixels(params):
        import shapely

        scene, fields = params["scene"], params["fields"]
        rows, cols = scene["core"]
        bands = scene["raster"][:, rows, cols]
        col, row = np.meshgrid(
            np.arange(cols.start, cols.stop) + 0.5, np.arange(rows.start, rows.stop) + 0.5
        )
        x, y = scene["transform"] * (col, row)
        there = (bands != scene["nodata"]).all(axis=0)
        found = [np.empty((0, len(bands) + 1), bands.dtype)]
        for field, shape in zip(fields["field"], fields.geometry, strict=True):
            if field in known:
                pixels = bands[:, there & shapely.contains_xy(shape, x, y)].T
                found.append(np.insert(pixels, 0, known[field], axis=1))
        return np.concatenate(found)

    return training_pixels


def classifier(forest):
    """Return the function that classifies a part: the number of the cover, 0 without data."""

    def classify(params):
        scene = params["scene"]
        rows, cols = scene["core"]
        return classify_pixels(forest, scene["raster"][:, rows, cols], scene["nodata"])

    return classify


def classify_pixels(forest, bands, nodata):
    """Return the cover of each pixel: (1, rows, columns)."""
    pixels = bands.reshape(len(bands), -1).T
    cover = forest.predict(pixels).astype("uint8")
    cover[(pixels == nodata).any(axis=1)] = 0
    return cover.reshape(1, *bands.shape[1:])


def main(folder):
    """Write the cover as one GeoTIFF; return its path, the forest, and what it learned from."""
    scene, fields = reflectance(folder)
    with geopod.connect("local") as client:
        client.add_layer("cover", type="raster", write_to=folder / "cover")
        with client.environment(layers=[scene, fields], nodes=4, features="clip") as env:
            learned = np.concatenate(env.execute(learn_from(KNOWN)))
            forest = RandomForestClassifier(n_estimators=10, max_depth=6, random_state=7)
            forest.fit(learned[:, 1:], learned[:, 0])
            env.execute(classifier(forest), write_to=("cover", "2024"))
        cog = client.get_layer("cover").files("2024")[-1]  # the newest lies on top
    print(f"{len(COVER)} kinds of cover from {len(learned)} pixels: {cog}")
    return Path(cog), forest, learned


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples").resolve()
    target.mkdir(parents=True, exist_ok=True)
    main(target)
