"""The same jobs on dask: rioxarray or odc-stac over dask.array, and dask-geopandas."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import rasterio
from bench.jobs import RADIUS, Zones, mean_around, ndvi

CHUNK = 1024
FIELD_PARTS = 8


class DaskStack:
    """A local cluster with as many workers of one thread each."""

    def __init__(self, scene: Path, workers: int) -> None:
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
        self._client = Client(self._cluster)
        self._scene = scene
        with rasterio.open(scene) as source:
            self._shape = source.shape
        self._fields = self._kept = None

    def _open(self):
        import rioxarray

        chunks = {"band": -1, "x": CHUNK, "y": CHUNK}
        return rioxarray.open_rasterio(self._scene, chunks=chunks, lock=False).data

    def ndvi(self) -> np.ndarray:
        return self._ndvi(self._open())

    def ndvi_in_memory(self) -> np.ndarray:
        """NDVI of what the workers have in their memory since the first time."""
        if self._kept is None:
            self._kept = self._open().persist()
        return self._ndvi(self._kept)

    def _ndvi(self, data) -> np.ndarray:
        index = ndvi(data[0], data[3])
        return np.array([index.sum().compute(), index.size])

    def ndvi_by_odc(self) -> np.ndarray:
        import odc.stac

        data = odc.stac.load(
            [_item(self._scene)], bands=["scene.1", "scene.4"], chunks={"x": CHUNK, "y": CHUNK}
        )
        red, nir = (data[name].data[0] for name in data.data_vars)
        index = ndvi(red, nir)
        return np.array([index.sum().compute(), index.size])

    def zonal(self, zones: Zones, band: int) -> np.ndarray:
        import dask.array as da

        values = self._open()[band].astype("float64")
        row = da.arange(self._shape[0], chunks=CHUNK) // zones.size
        col = da.arange(self._shape[1], chunks=CHUNK) // zones.size
        each = row[:, None] * zones.across + col[None, :]
        # By block: one bincount over all of it would put the blocks into rows of pixels first.
        blocks = tuple((1,) * count for count in values.numblocks)
        found = da.map_blocks(
            _sums, each, values, zones.count,
            new_axis=2, chunks=(*blocks, (zones.count,)), dtype="float64",
        )  # fmt: skip
        return np.asarray(found.sum(axis=(0, 1)).compute())

    def focal(self) -> np.ndarray:
        values = self._open()[0].astype("float64")
        around = {"depth": RADIUS, "boundary": 0, "trim": False, "dtype": "float64"}
        return np.array([values.map_overlap(mean_around, **around).sum().compute(), values.size])

    def keep_fields(self, path: Path) -> None:
        """Put the fields into the workers' memory, near ones together."""
        import dask_geopandas
        import geopandas as gpd

        fields = gpd.read_file(path)
        fields = fields.iloc[np.argsort(fields.hilbert_distance())].reset_index(drop=True)
        self._fields = dask_geopandas.from_geopandas(fields, npartitions=FIELD_PARTS).persist()

    def field_means(self) -> np.ndarray:
        found = self._fields.map_partitions(_means, str(self._scene), meta=("mean", "float64"))
        means = found.compute()
        return np.array([np.nansum(means), len(means)])

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


def _sums(each, values, count: int):
    """Return a block's sum in every zone."""
    return np.bincount(each.ravel(), weights=values.ravel(), minlength=count)[None, None]


def _means(fields, scene: str):
    """Read the window of these fields once, and average over each."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource
    from rasterio.windows import Window, bounds, from_bounds

    with rasterio.open(scene) as source:
        window = _whole_pixels(from_bounds(*fields.total_bounds, source.transform))
        window = window.intersection(Window(0, 0, source.width, source.height))
        values, nodata = source.read(4, window=window), int(source.nodata)
        left, bottom, right, top = bounds(window, source.transform)
    place = {"xmin": left, "ymin": bottom, "xmax": right, "ymax": top}
    band = NumPyRasterSource(values, nodata=nodata, **place)
    return exact_extract(band, fields, ["mean"], output="pandas")["mean"]


def _whole_pixels(window):
    """Return the smallest window of whole pixels around another."""
    from rasterio.windows import Window

    (top, bottom), (left, right) = window.toranges()
    rows = (math.floor(top), math.ceil(bottom))
    return Window.from_slices(rows, (math.floor(left), math.ceil(right)), boundless=True)


def _item(scene: Path):
    """Describe a scene as an item of a STAC catalogue."""
    from datetime import UTC, datetime

    import pystac
    from rasterio.warp import transform_bounds

    with rasterio.open(scene) as source:
        box = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
        grid = {
            "proj:code": f"EPSG:{source.crs.to_epsg()}",
            "proj:shape": list(source.shape),
            "proj:transform": list(source.transform)[:6],
        }
        bands = [{"data_type": "uint16", "nodata": source.nodata} for _ in range(source.count)]
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        id="scene",
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=list(box),
        datetime=datetime(2026, 1, 1, tzinfo=UTC),
        properties={},
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    )
    asset = pystac.Asset(href=str(scene), media_type=pystac.MediaType.COG, roles=["data"])
    asset.extra_fields = {**grid, "raster:bands": bands}
    item.add_asset("scene", asset)
    return item
