"""The field's jobs as geopod's functions: each works through its node's part in strips.

A strip has about as many pixels as one of the dask stack's chunks, so both need memory for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STRIP, RADIUS = 256, 3
SIDE = 2 * RADIUS + 1


@dataclass(frozen=True, slots=True)
class Zones:
    """Squares over a raster: `size` pixels wide, `across` in a row, from its upper-left corner."""

    left: float
    top: float
    pixel: float
    size: int
    across: int

    @property
    def count(self) -> int:
        return self.across**2


def mean_ndvi(params):
    """Return sum and count of NDVI over this node's own pixels."""
    (layer,) = params.values()
    rows, cols = layer["core"]
    total = 0.0
    for top in range(rows.start, rows.stop, STRIP):
        strip = layer["raster"][:, top : min(top + STRIP, rows.stop), cols]
        total += ndvi(strip[0], strip[3]).sum()
    return np.array([total, (rows.stop - rows.start) * (cols.stop - cols.start)])


def ndvi(red, nir):
    red, nir = red.astype("float64"), nir.astype("float64")
    return (nir - red) / np.maximum(nir + red, 1)


def zonal_sums(zones: Zones, band: int) -> Callable[..., np.ndarray]:
    """Return the function that sums a band in every zone, over a node's own pixels."""
    left, up, pixel = zones.left, zones.top, zones.pixel
    size, across, count = zones.size, zones.across, zones.count

    def sums(params):
        (layer,) = params.values()
        rows, cols = layer["core"]
        place = layer["transform"]
        first_row, first_col = round((up - place.f) / pixel), round((place.c - left) / pixel)
        found = np.zeros(count)
        col = (np.arange(cols.start, cols.stop) + first_col) // size
        for top in range(rows.start, rows.stop, STRIP):
            bottom = min(top + STRIP, rows.stop)
            row = (np.arange(top, bottom) + first_row) // size
            each = (row[:, None] * across + col).ravel()
            values = layer["raster"][band, top:bottom, cols].astype("float64").ravel()
            found += np.bincount(each, weights=values, minlength=count)
        return found

    return sums


def focal(params):
    """Return sum and count of the 7 x 7 mean of band 1 over this node's own pixels."""
    (layer,) = params.values()
    raster, (rows, cols) = layer["raster"], layer["core"]
    left, right = max(cols.start - RADIUS, 0), min(cols.stop + RADIUS, raster.shape[2])
    beside = (left - cols.start + RADIUS, cols.stop + RADIUS - right)
    total = 0.0
    for top in range(rows.start, rows.stop, STRIP):
        bottom = min(top + STRIP, rows.stop)
        first, last = max(top - RADIUS, 0), min(bottom + RADIUS, raster.shape[1])
        around = (first - top + RADIUS, bottom + RADIUS - last)
        strip = raster[0, first:last, left:right].astype("float64")
        strip[strip == layer["nodata"]] = 0.0  # what lies beyond the layer
        strip = np.pad(strip, (around, beside))
        total += mean_around(strip).sum()
    return np.array([total, (rows.stop - rows.start) * (cols.stop - cols.start)])


def mean_around(block):
    """Return the 7 x 7 mean of every pixel that is three or more away from the block's edge."""
    height, width = block.shape[0] - SIDE + 1, block.shape[1] - SIDE + 1
    total = np.zeros((height, width))
    for down in range(SIDE):
        for right in range(SIDE):
            total += block[down : down + height, right : right + width]
    return total / SIDE**2


def field_means(params):
    """Return the sum of the fields' mean near infrared, and how many there are."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    fields = next(layer for layer in params.values() if hasattr(layer, "geometry"))
    scene = next(layer for layer in params.values() if layer is not fields)
    extent = scene["extent"]
    edges = {"xmin": "xMin", "ymin": "yMin", "xmax": "xMax", "ymax": "yMax"}
    place = {edge: extent[name] for edge, name in edges.items()}
    band = NumPyRasterSource(scene["raster"][3], nodata=scene["nodata"], **place)
    means = exact_extract(band, fields, ["mean"], output="pandas")["mean"]
    return np.array([np.nansum(means), len(means)])
