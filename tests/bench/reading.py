"""Reading one partition as a node does, beside bare rasterio and pyogrio on the same windows."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import rasterio
from bench.measure import Row, interleave
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.layers.raster import open_raster
from geopod.layers.sources import LayerSource
from geopod.layers.stage_vectors import stage_vector
from rasterio.transform import from_origin
from rasterio.windows import Window

SIZE, BANDS, FEATURES, NODES = 4096, 4, 100_000, 4
RADIUS = 30.0
READ_GATE = 1.15


def partition_reads(folder: Path) -> list[Row]:
    """A tiled raster of 134 MB and 100,000 polygons, cut for four nodes."""
    scene, fields = write_scene(folder), write_fields(folder)
    sources = tuple(
        LayerSource(key=path.stem, path_id=path.stem, timestamp=path.stem, hrefs=(str(path),))
        for path in (scene, fields)
    )
    plan, _ = plan_layers(PlanRequest(layers=sources, nodes=NODES))
    raster, vector = plan.layers
    part = plan.partitions[1]
    megabytes = np.prod(part.padded["scene"][2:]) * BANDS * 2 / 1e6
    window, target = part.padded["scene"], folder / "staged.arrow"

    def bare_raster() -> None:
        with rasterio.open(scene) as source:
            source.read(window=Window(window[1], window[0], window[3], window[2]))

    def read_raster() -> None:
        with open_raster(raster) as layer:
            layer.read(window)

    return [
        Row(
            f"one partition of a raster ({megabytes:.0f} MB)",
            interleave({"rasterio": bare_raster, "geopod": read_raster}, rounds=9),
            {"rasterio": READ_GATE},
        ),
        Row(
            "one partition of 100,000 polygons, staged",
            interleave(
                {
                    "pyogrio": lambda: pyogrio.read_dataframe(
                        fields, bbox=part.core, use_arrow=True
                    ),
                    "geopod": lambda: stage_vector(vector, plan, part, target),
                },
                rounds=9,
            ),
            {"pyogrio": READ_GATE},
        ),
    ]


def write_scene(folder: Path) -> Path:
    """Write four bands of uint16, deflated in blocks of 512 pixels."""
    chance = np.random.default_rng(7)
    path = folder / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=SIZE, width=SIZE, count=BANDS, dtype="uint16",
        crs="EPSG:32632", transform=from_origin(500_000, 5_200_000, 10, 10), tiled=True,
        blockxsize=512, blockysize=512, compress="deflate", interleave="pixel",
    ) as target:  # fmt: skip
        for band in range(1, BANDS + 1):
            target.write(chance.integers(0, 4096, (SIZE, SIZE), "uint16"), band)
    return path


def write_fields(folder: Path, *, count: int = FEATURES, size: int = SIZE) -> Path:
    """Write small polygons in a scene of `size` pixels as FlatGeobuf, with its spatial index."""
    chance = np.random.default_rng(7)
    # What lies across the scene's edge with its middle outside is nobody's.
    side = size * 10 - 2 * RADIUS
    points = gpd.points_from_xy(
        500_000 + RADIUS + chance.random(count) * side,
        5_200_000 - RADIUS - chance.random(count) * side,
    )
    fields = gpd.GeoDataFrame(
        {"id": np.arange(count), "yield": chance.random(count)},
        geometry=gpd.GeoSeries(points, crs="EPSG:32632").buffer(RADIUS),
    )
    path = folder / "fields.fgb"
    pyogrio.write_dataframe(fields, path)
    return path
