"""The field's three jobs at equal cores: NDVI, zonal sums, a focal filter. Peer: dask's own stack.

geopod: two nodes of one process each. dask: two workers of one thread each, rioxarray over the
same file in chunks of 1,024 pixels. Both answers are checked to be equal before they are timed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from bench.measure import Row, interleave
from bench.reading import write_fields, write_scene

WORKERS = 2
GATE = 1 / 1.5
RADIUS = 3
ZONES = 16
"""Zones per side: squares of 256 x 256 pixels of the scene."""


def compare(folder: Path) -> list[Row]:
    """Return one row per job: first run with staging, later runs over staged layers."""
    scene = write_scene(folder)
    write_fields(folder)
    dask = DaskStack(scene)
    try:
        return [
            _row("NDVI, mean over the scene", scene, mean_ndvi, dask.ndvi, overlap=0),
            _row("zonal sums, 256 zones", scene, zonal_sums, dask.zonal, overlap=0),
            _row("focal mean 7 x 7, then its mean", scene, focal, dask.focal, overlap=RADIUS),
        ]
    finally:
        dask.close()


def _row(
    question: str,
    scene: Path,
    function: Callable[..., object],
    peer: Callable[[], np.ndarray],
    *,
    overlap: int,
) -> Row:
    import geopod

    with geopod.connect("local") as client:
        environment = client.environment(
            layers=[str(scene)], nodes=WORKERS, overlap=overlap, progress=False
        )
        try:

            def call() -> np.ndarray:
                return np.sum(environment.execute(function, progress=False), axis=0)

            np.testing.assert_allclose(call(), peer(), rtol=1e-6)
            spreads = interleave({"geopod": call, "dask": peer}, rounds=3, warm=0)
        finally:
            environment.delete(results=True)
    notes = {"geopod": "over staged layers", "dask": "reads the file each time"}
    return Row(f"{question}, {WORKERS} workers", spreads, {"dask": GATE}, notes=notes)


def mean_ndvi(params):
    """Return sum and count of NDVI over this node's own pixels."""
    (layer,) = params.values()
    rows, cols = layer["core"]
    red = layer["raster"][0, rows, cols].astype("float64")
    nir = layer["raster"][3, rows, cols].astype("float64")
    index = (nir - red) / np.maximum(nir + red, 1)
    return np.array([index.sum(), index.size])


def zonal_sums(params):
    """Return the sum of band 4 in every zone, over this node's own pixels."""
    (layer,) = params.values()
    rows, cols = layer["core"]
    values = layer["raster"][3, rows, cols].astype("float64")
    left = round((layer["transform"].c - 500_000) / 10) + cols.start
    top = round((5_200_000 - layer["transform"].f) / 10) + rows.start
    row = (np.arange(values.shape[0]) + top) // 256
    col = (np.arange(values.shape[1]) + left) // 256
    zones = row[:, None] * 16 + col[None, :]
    return np.bincount(zones.ravel(), weights=values.ravel(), minlength=256)


def focal(params):
    """Return sum and count of the 7 x 7 mean of band 1 over this node's own pixels."""
    (layer,) = params.values()
    rows, cols = layer["core"]
    values = np.pad(layer["raster"][0].astype("float64"), 3)
    total = np.zeros(layer["raster"].shape[1:])
    for down in range(7):
        for right in range(7):
            total += values[down : down + total.shape[0], right : right + total.shape[1]]
    own = (total / 49)[rows, cols]
    return np.array([own.sum(), own.size])


class DaskStack:
    """rioxarray and dask.array on a local cluster with as many workers."""

    def __init__(self, scene: Path) -> None:
        import rioxarray
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
        self._client = Client(self._cluster)
        self._open = lambda: (
            rioxarray.open_rasterio(
                scene, chunks={"band": -1, "x": 1024, "y": 1024}, lock=False
            ).data
        )
        with rasterio.open(scene) as source:
            self._shape = source.shape

    def ndvi(self) -> np.ndarray:
        data = self._open().astype("float64")
        index = (data[3] - data[0]) / np.maximum(data[3] + data[0], 1)
        return np.array([index.sum().compute(), index.size])

    def zonal(self) -> np.ndarray:
        import dask.array as da

        values = self._open()[3].astype("float64")
        row = da.arange(self._shape[0], chunks=1024) // 256
        col = da.arange(self._shape[1], chunks=1024) // 256
        zones = row[:, None] * ZONES + col[None, :]
        found = da.bincount(zones.ravel(), weights=values.ravel(), minlength=ZONES * ZONES)
        return np.asarray(found.compute())

    def focal(self) -> np.ndarray:
        values = self._open()[0].astype("float64")
        smooth = values.map_overlap(_mean, depth=RADIUS, boundary=0, dtype="float64")
        return np.array([smooth.sum().compute(), smooth.size])

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


def _mean(block: np.ndarray) -> np.ndarray:
    """Return the 7 x 7 mean; the block's own margin is cut off by dask."""
    values = np.pad(block, RADIUS)
    total = np.zeros_like(block)
    for down in range(2 * RADIUS + 1):
        for right in range(2 * RADIUS + 1):
            total += values[down : down + total.shape[0], right : right + total.shape[1]]
    return total / (2 * RADIUS + 1) ** 2
