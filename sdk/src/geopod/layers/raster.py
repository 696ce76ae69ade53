"""Read windows of a raster layer on its delivered grid: north up, one type, holes filled.

A plain file is read window by window. A warped layer is read in whole blocks of its fixed grid
only, so that a block is the same whoever reads it (the project's geodata design, §3 and §8).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rasterio.errors import RasterioError

from geopod.api.plan import LayerPlan, RasterHeader, WarpGrid
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.crs import query_boxes
from geopod.layers.gdal import gdal_settings, unreadable
from geopod.layers.grids import (
    Coefficients,
    Window,
    intersect,
    slices_within,
    walk_blocks,
    window_extent,
)
from geopod.layers.raster_files import Pixels, RasterFile, fill_value, open_file
from geopod.layers.sources import planned_source

WARP_KERNEL = 8
"""Pixels around a window that resampling may take in."""
_WHOLE_EARTH = (-720.0, -90.0, 720.0, 90.0)


@dataclass(frozen=True, slots=True)
class RasterLayer:
    """A raster layer that is open for reading."""

    files: tuple[RasterFile, ...]
    """A later one lies on top."""
    shape: tuple[int, int]
    count: int
    dtype: np.dtype[Any]
    fill: float
    """What stands where the layer has no pixel: nodata, else NaN, else 0."""
    block: tuple[int, int]
    has_validity: bool = False
    """A last band says where there are pixels: 1 or 0."""
    bands_together: int | None = None
    """How many bands lie in one chunk of an array; None: not an array."""
    bands_read: int = 0
    """How many bands are read whichever are asked for: a tile of a service holds all of them."""

    def read(self, window: Window) -> Pixels:
        """Return (band, row, column) of a window, `fill` where there is no pixel.

        The window may reach outside the layer. Reading whole blocks is the caller's business.
        """
        is_alone = len(self.files) == 1 and not self.has_validity
        pixels = None
        present = np.zeros(window[2:], np.bool_)
        for file in self.files:
            part = intersect(window, file.covers)
            if part is None:
                continue
            data, there = file.read(part)
            if is_alone and part == window and there is None:
                return data
            pixels = self._filled(window) if pixels is None else pixels
            rows, columns = slices_within(part, window)
            np.copyto(pixels[:, rows, columns], data, where=True if there is None else there)
            if there is None:
                present[rows, columns] = True
            else:
                present[rows, columns] |= there if there.ndim == 2 else there.any(axis=0)  # noqa: PLR2004  # (row, column)
        pixels = self._filled(window) if pixels is None else pixels
        return (
            np.concatenate([pixels, present[None].astype(self.dtype)])
            if self.has_validity
            else pixels
        )

    def _filled(self, window: Window) -> Pixels:
        return np.full((self.count, *window[2:]), self.fill, self.dtype)

    def pieces(self, window: Window, *, most_bytes: int) -> Iterator[tuple[int, Window, Pixels]]:
        """Yield first band, part and pixels of all that a window holds, about `most_bytes` at once.

        A part is whole blocks. The band that says where there are pixels comes after the others.
        """
        groups = self._band_groups(most_bytes=most_bytes)
        if not self.has_validity:
            for first, bands in groups:
                for part in bands.walk(window, most_bytes=most_bytes):
                    yield first, part, bands.read(part)
            return
        # A group of bands knows of its own pixels only: they are put together part by part.
        for part in groups[0][1].walk(window, most_bytes=most_bytes):
            present = np.zeros((1, *part[2:]), self.dtype)
            for first, bands in groups:
                pixels = bands.read(part)
                np.maximum(present, pixels[-1:], out=present)
                yield first, part, pixels[:-1]
            yield self.count, part, present

    def _band_groups(self, *, most_bytes: int) -> list[tuple[int, RasterLayer]]:
        """Return the bands of an array in groups: where each begins, and the layer of it alone.

        A block of all its bands may take any amount; whole chunks where they take less than
        `most_bytes`. Any other layer is one group.
        """
        at_once = self.count
        if self.bands_together is not None:
            block = min(self.block[0], self.shape[0]) * min(self.block[1], self.shape[1])
            fits = max(1, most_bytes // (block * self.dtype.itemsize))
            at_once = fits - fits % self.bands_together or fits
        groups = []
        for first in range(0, self.count, at_once):
            files = tuple(
                replace(file, indexes=file.indexes[first : first + at_once]) for file in self.files
            )
            groups.append((first, replace(self, files=files, count=len(files[0].indexes))))
        return groups

    def walk(self, window: Window, *, most_bytes: int) -> Iterator[Window]:
        """Cut a window into parts of whole blocks that hold about `most_bytes` each."""
        first = self.files[0].covers
        # The blocks of a file that is turned upside down count from its last row.
        phase_row = first[0] + (first[2] if self.files[0].flipped else 0)
        return walk_blocks(
            window,
            self.block,
            phase=(phase_row, first[1]),
            most_pixels=max(
                1, most_bytes // (max(self.count, self.bands_read) * self.dtype.itemsize)
            ),
        )


@contextmanager
def open_raster(
    layer: LayerPlan,
    *,
    window: Window | None = None,
    with_validity: bool = False,
    access: Access = OWN_MACHINE,
) -> Iterator[RasterLayer]:
    """Open the files of a raster layer as the plan delivers it; close them on exit.

    `window`: what will be read; files of a mosaic that lie elsewhere stay closed. None: anything.
    `with_validity`: a last band says where there are pixels (1) and where there are none (0).
    Raises LayerAccessError, also for what GDAL finds wrong while reading.
    """
    header = layer.raster
    if header is None:
        raise ValueError(f"{layer.key} is not a raster layer")
    sources = [
        planned_source(href, "raster", layer.driver, path_id=layer.path_id, access=access)
        for href in files_within(layer, window)
    ]
    with gdal_settings(sources), ExitStack() as stack:
        try:
            needs_nodata = with_validity or len(layer.hrefs) > 1
            files = []
            for source in sources:
                files.append(open_file(layer, header, source, needs_nodata=needs_nodata))
                stack.callback(files[-1].handle.close)
            yield RasterLayer(
                files=tuple(files),
                shape=header.warp.shape if header.warp else header.shape,
                count=len(header.band_indexes),
                dtype=np.dtype(header.dtype),
                fill=fill_value(header),
                block=(header.warp.block,) * 2 if header.warp else header.block_shape,
                has_validity=with_validity,
                bands_together=getattr(files[0].handle.dataset, "bands_together", None),
                bands_read=getattr(files[0].handle.dataset, "bands_read", 0),
            )
        except RasterioError as error:
            raise unreadable(error, path_id=layer.path_id) from error


def delivered_grid(header: RasterHeader) -> tuple[Coefficients, tuple[int, int], str]:
    """Return transform, shape and CRS of the grid that pixels are delivered on."""
    if header.warp is not None:
        return header.warp.transform, header.warp.shape, header.warp.crs
    return header.transform, header.shape, header.crs


def files_within(layer: LayerPlan, window: Window | None) -> tuple[str, ...]:
    """Return the uris of a layer that have pixels in a window of the delivered grid.

    Of a mosaic; at least one, and those of a warped one by their outlines.
    """
    header = layer.raster
    if header is None or window is None or not header.tiles:
        return layer.hrefs
    boxes: list[Window] | None = [window]
    if header.warp is not None:
        boxes = before_warp(header, header.warp, window)
    if boxes is None:
        return layer.hrefs
    found = tuple(
        href
        for href, tile in zip(layer.hrefs, header.tiles, strict=True)
        if any(intersect(tile, box) is not None for box in boxes)
    )
    return found or layer.hrefs[:1]


def before_warp(header: RasterHeader, warp: WarpGrid, window: Window) -> list[Window] | None:
    """Return the windows of a layer's own grid that whole blocks around `window` are made of.

    None: any part of it may be.
    """
    side = warp.block
    top, left = window[0] // side * side, window[1] // side * side
    bottom = -(-(window[0] + window[2]) // side) * side
    right = -(-(window[1] + window[3]) // side) * side
    whole = (top, left, bottom - top, right - left)
    boxes = query_boxes(
        window_extent(warp.transform, whole), warp.crs, header.crs, within=_WHOLE_EARTH
    )
    if boxes is None or header.transform[1] or header.transform[3]:
        return None
    a, _, c, _, e, f = header.transform
    return [
        (
            math.floor((y_max - f) / e) - WARP_KERNEL,
            math.floor((x_min - c) / a) - WARP_KERNEL,
            math.ceil((y_min - y_max) / e) + 2 * WARP_KERNEL + 1,
            math.ceil((x_max - x_min) / a) + 2 * WARP_KERNEL + 1,
        )
        for x_min, y_min, x_max, y_max in boxes
    ]
