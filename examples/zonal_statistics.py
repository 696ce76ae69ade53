"""Statistics per field by exactextract, which weighs a pixel by the part of it that a field covers.

A field has one node that owns it, and `cover: features` gives that node all pixels below its own
fields: so means and maxima are right at once, and the tables only need to be put together.
`field_sums.py` does without either and adds up what all nodes measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopod
import pandas as pd
from sample_layers import reflectance


def measure(params):
    """Return count, mean and maximum of near infrared for each field that this node owns."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    scene, fields = params["scene"], params["fields"]
    extent = scene["extent"]
    nir = NumPyRasterSource(
        scene["raster"][3],
        xmin=extent["xMin"],
        ymin=extent["yMin"],
        xmax=extent["xMax"],
        ymax=extent["yMax"],
        nodata=scene["nodata"],
    )
    statistics = ["count", "mean", "max"]
    return exact_extract(nir, fields, statistics, include_cols=["field"], output="pandas")


def main(folder):
    """Print the five greenest fields; return the table of all."""
    scene, fields = reflectance(folder)
    with (
        geopod.connect("local") as client,
        client.environment(
            layers=[scene, fields], nodes=4, partitioning={"cover": "features"}
        ) as env,
    ):
        parts = env.execute(measure)
    table = pd.concat(parts).set_index("field").sort_index()
    print(table.sort_values("mean", ascending=False).head().to_string())
    return table


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples").resolve()
    target.mkdir(parents=True, exist_ok=True)
    main(target)
