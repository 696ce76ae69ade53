"""The main job: one function on four warm nodes, each over its own part of two real layers.

    make demo            (or: python examples/demo.py [FOLDER])

It prints one result per node, runs again over the same warm nodes, writes a hillshade as one
cloud-optimized GeoTIFF, checks it against the whole raster, and draws a map.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import geopod
import numpy as np
from sample_layers import countries, elevation

NODES = 4


def survey(params):
    """Say what this node's part of the elevation model looks like."""
    from shapely.geometry import Point

    dem, nations = params["srtm"], params["naturalearth_lowres"]
    rows, cols = dem["core"]
    heights = dem["raster"][0, rows, cols]
    row, col = np.unravel_index(np.argmax(heights), heights.shape)
    x, y = dem["transform"] * (cols.start + col + 0.5, rows.start + row + 0.5)
    return {
        "extent": dem["core_extent"],
        "pixels": int(heights.size),
        "sum": int(heights.sum(dtype="int64")),
        "highest": int(heights.max()),
        "at": [float(x), float(y)],
        "country": nations[nations.contains(Point(x, y))]["name"].iloc[0],
    }


def hillshade(params):
    """Shade this node's part; the halo of one pixel around it hides its borders."""
    dem = params["srtm"]
    heights = dem["raster"][0].astype("float64")
    heights[heights == dem["nodata"]] = np.nan
    return shade(heights)[np.newaxis]  # as large as the raster: geopod cuts the halo off


def shade(heights):
    """Shade a height field as if lit from the north-west, 45 degrees high (Horn 1981).

    A missing neighbour (NaN, or beyond the border) is taken to be as high as the pixel itself.
    """
    metres = 92.6  # 1/1200 degree of latitude
    rows, cols = heights.shape
    padded = np.pad(heights, 1, constant_values=np.nan)

    def neighbour(down, right):
        there = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + cols]
        return np.where(np.isnan(there), heights, there)

    west = neighbour(-1, -1) + 2 * neighbour(0, -1) + neighbour(1, -1)
    east = neighbour(-1, 1) + 2 * neighbour(0, 1) + neighbour(1, 1)
    north = neighbour(-1, -1) + 2 * neighbour(-1, 0) + neighbour(-1, 1)
    south = neighbour(1, -1) + 2 * neighbour(1, 0) + neighbour(1, 1)
    slope_x, slope_y = (east - west) / (8 * metres), (south - north) / (8 * metres)
    light = (slope_x / 2 + slope_y / 2 + np.sqrt(0.5)) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return (255 * np.clip(np.nan_to_num(light), 0, 1)).astype("uint8")


def print_nodes(results):
    """Print one line per node: the partition it had and what it found there."""
    print(
        f"{'node':>4}  {'west':>9} {'south':>8} {'east':>9} {'north':>8}  "
        f"{'pixels':>7} {'mean m':>7} {'highest':>8}  at"
    )
    for node, found in enumerate(results):
        x_min, y_min, x_max, y_max = (found["extent"][k] for k in ("xMin", "yMin", "xMax", "yMax"))
        print(
            f"{node:>4}  {x_min:9.4f} {y_min:8.4f} {x_max:9.4f} {y_max:8.4f}  "
            f"{found['pixels']:>7} {found['sum'] / found['pixels']:7.1f} {found['highest']:>6} m  "
            f"{found['at'][0]:.4f}, {found['at'][1]:.4f} ({found['country']})"
        )


def check_hillshade(dem, shaded):
    """Compare the assembled hillshade with the one of the whole raster, pixel by pixel."""
    import rasterio

    with rasterio.open(dem) as source, rasterio.open(shaded) as result:
        whole = shade(source.read(1).astype("float64"))
        parts = result.read(1)
        same_grid = (source.transform, source.crs) == (result.transform, result.crs)
    different = int((whole != parts).sum())
    print(
        f"hillshade of {NODES} parts against the whole: {different} of {whole.size} pixels differ"
    )
    if different or not same_grid:
        raise SystemExit("the assembled hillshade is not the whole raster's")
    return parts


def draw(results, shaded, extent, path):
    """Draw the shaded relief, the partition borders and each node's figures."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    figure, axes = plt.subplots(figsize=(8, 7), layout="constrained")
    axes.imshow(shaded, cmap="gray", extent=extent)
    for node, found in enumerate(results):
        box = found["extent"]
        corner, size = (
            (box["xMin"], box["yMin"]),
            (box["xMax"] - box["xMin"], box["yMax"] - box["yMin"]),
        )
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="tab:orange", linewidth=2))
        axes.plot(*found["at"], marker="^", color="tab:red")
        axes.text(
            corner[0] + size[0] / 2, corner[1] + size[1] / 2,
            f"node {node}\nmean {found['sum'] / found['pixels']:.0f} m\n"
            f"highest {found['highest']} m",
            ha="center", va="center", bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0},
        )  # fmt: skip
    axes.set(xlabel="longitude", ylabel="latitude", title="Jacksboro, Tennessee, on four nodes")
    figure.savefig(path, dpi=110)


def main(folder):
    """Run the whole demo and leave its files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    dem = elevation(folder)
    with geopod.connect("local") as client:
        started = time.perf_counter()
        client.add_layer("hillshade", type="raster", write_to=folder / "hillshade")
        with client.environment(
            layers=[dem, countries()], nodes=NODES, overlap=1, features="intersects"
        ) as env:
            print(f"{NODES} nodes ready after {time.perf_counter() - started:.2f} s")
            started = time.perf_counter()
            results = env.execute(survey)
            first = time.perf_counter() - started
            print_nodes(results)
            started = time.perf_counter()
            again = env.execute(survey)
            second = time.perf_counter() - started
            print(f"first run {first:.3f} s, second run over the same warm nodes {second:.3f} s")
            if again != results:
                raise SystemExit("the second run gave other results than the first")
            env.execute(hillshade, write_to=("hillshade", "demo"))
        cog = client.get_layer("hillshade").files("demo")[-1]  # the newest lies on top
    shaded = check_hillshade(dem, cog)
    boxes = [found["extent"] for found in results]
    extent = (
        min(b["xMin"] for b in boxes), max(b["xMax"] for b in boxes),
        min(b["yMin"] for b in boxes), max(b["yMax"] for b in boxes),
    )  # fmt: skip
    draw(results, shaded, extent, folder / "demo.png")
    print(f"map: {folder / 'demo.png'}\nhillshade: {cog}")
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo").resolve())
