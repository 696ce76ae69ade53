"""Read windows of a raster layer on its delivered grid: north up, one type, holes filled.

A plain file is read window by window. A warped layer is read in whole blocks of its fixed grid
only, so that a block is the same whoever reads it (the project's geodata design, §3 and §8).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from geopod.api.plan import LayerPlan, RasterHeader, WarpGrid
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.crs import query_boxes
from geopod.layers.file_grids import place_grid, read_grid
from geopod.layers.gdal import gdal_settings, open_raster_file, unreadable
from geopod.layers.grids import (
    Coefficients,
    Window,
    intersect,
    slices_within,
    walk_blocks,
    window_extent,
)
from geopod.layers.raster_headers import alpha_band
from geopod.layers.sources import SourceFile, planned_source

Pixels = NDArray[Any]
_KERNEL = 8
"""Pixels around a window that resampling may take in."""
_WHOLE_EARTH = (-720.0, -90.0, 720.0, 90.0)


@dataclass(frozen=True, slots=True)
class RasterFile:
    """One open file, placed on the layer's delivered grid."""

    dataset: Any
    """rasterio dataset or WarpedVRT"""
    covers: Window
    indexes: tuple[int, ...]
    flipped: bool
    block: int | None
    """Side of the blocks that may be read, whole ones only; None: any window."""
    alpha: int | None
    """Number of the band that says which pixels there are."""
    has_mask: bool
    """A mask of the file says which pixels there are."""
    nodata: float | None
    """Pixels of this value let the files below shine through; None: all pixels count."""

    def read(self, window: Window) -> tuple[Pixels, NDArray[np.bool_] | None]:
        """Return the pixels of a window inside `covers`, and which of them there are (None: all).

        Shapes: (band, row, column) both, or the second (row, column).
        """
        data = self._bands(self.indexes, window)
        there: NDArray[np.bool_] | None = None
        if self.alpha is not None:
            there = self._bands((self.alpha,), window)[0] > 0
        elif self.has_mask:
            mask = self.dataset.dataset_mask(window=self._of_file(window)) > 0
            there = mask[::-1] if self.flipped else mask
        if self.nodata is None:
            return data, there
        is_value = ~np.isnan(data) if math.isnan(self.nodata) else data != self.nodata
        return data, is_value if there is None else is_value & there

    def _bands(self, indexes: tuple[int, ...], window: Window) -> Pixels:
        if self.block is None:
            data: Pixels = self.dataset.read(indexes, window=self._of_file(window))
            return data[:, ::-1] if self.flipped else data
        data = np.empty((len(indexes), *window[2:]), self.dataset.dtypes[indexes[0] - 1])
        for whole, part in _whole_blocks(window, self.covers, self.block):
            pixels = self.dataset.read(indexes, window=_rasterio_window(whole))
            data[:, *slices_within(part, window)] = pixels[:, *slices_within(part, whole)]
        return data

    def _of_file(self, window: Window) -> RasterioWindow:
        """Return a window of the delivered grid in the file's own rows and columns."""
        row, column = window[0] - self.covers[0], window[1] - self.covers[1]
        if self.flipped:
            row = self.covers[2] - row - window[2]
        return _rasterio_window((row, column, window[2], window[3]))


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

    def walk(self, window: Window, *, most_bytes: int) -> Iterator[Window]:
        """Cut a window into parts of whole blocks that hold about `most_bytes` each."""
        first = self.files[0].covers
        # The blocks of a file that is turned upside down count from its last row.
        phase_row = first[0] + (first[2] if self.files[0].flipped else 0)
        return walk_blocks(
            window,
            self.block,
            phase=(phase_row, first[1]),
            most_pixels=max(1, most_bytes // (self.count * self.dtype.itemsize)),
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
            files = tuple(
                _open_file(layer, header, source, stack, needs_nodata=needs_nodata)
                for source in sources
            )
            yield RasterLayer(
                files=files,
                shape=header.warp.shape if header.warp else header.shape,
                count=len(header.band_indexes),
                dtype=np.dtype(header.dtype),
                fill=fill_value(header),
                block=(header.warp.block,) * 2 if header.warp else header.block_shape,
                has_validity=with_validity,
            )
        except RasterioError as error:
            raise unreadable(error, path_id=layer.path_id) from error


def files_within(layer: LayerPlan, window: Window | None) -> tuple[str, ...]:
    """Return the uris of a layer that have pixels in a window of the delivered grid.

    Of a mosaic; at least one, and those of a warped one by their outlines.
    """
    header = layer.raster
    if header is None or window is None or not header.tiles:
        return layer.hrefs
    boxes: list[Window] | None = [window]
    if header.warp is not None:
        boxes = _before_warp(header, header.warp, window)
    if boxes is None:
        return layer.hrefs
    found = tuple(
        href
        for href, tile in zip(layer.hrefs, header.tiles, strict=True)
        if any(intersect(tile, box) is not None for box in boxes)
    )
    return found or layer.hrefs[:1]


def _before_warp(header: RasterHeader, warp: WarpGrid, window: Window) -> list[Window] | None:
    """Return the windows of a layer's own grid that whole blocks around `window` are made of."""
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
            math.floor((y_max - f) / e) - _KERNEL,
            math.floor((x_min - c) / a) - _KERNEL,
            math.ceil((y_min - y_max) / e) + 2 * _KERNEL + 1,
            math.ceil((x_max - x_min) / a) + 2 * _KERNEL + 1,
        )
        for x_min, y_min, x_max, y_max in boxes
    ]


def fill_value(header: RasterHeader) -> float:
    """Return what a pixel outside the layer is: nodata, else NaN for floats, else 0."""
    nodata = nodata_value(header)
    if nodata is not None:
        return nodata
    return math.nan if np.dtype(header.dtype).kind in "fc" else 0


def nodata_value(header: RasterHeader) -> float | int | None:
    """Return nodata as a number; the plan writes those that JSON has no word for as text."""
    return float(header.nodata) if isinstance(header.nodata, str) else header.nodata


def delivered_grid(header: RasterHeader) -> tuple[Coefficients, tuple[int, int], str]:
    """Return transform, shape and CRS of the grid that pixels are delivered on."""
    if header.warp is not None:
        return header.warp.transform, header.warp.shape, header.warp.crs
    return header.transform, header.shape, header.crs


def _open_file(
    layer: LayerPlan,
    header: RasterHeader,
    source: SourceFile,
    stack: ExitStack,
    *,
    needs_nodata: bool,
) -> RasterFile:
    dataset = stack.enter_context(open_raster_file(source, path_id=layer.path_id))
    nodata = nodata_value(header)
    alpha = alpha_band(dataset) if header.mask == "alpha" else None
    if header.warp is not None:
        view = stack.enter_context(_warped(dataset, header, header.warp, alpha=alpha))
        return RasterFile(
            dataset=view,
            covers=(0, 0, *header.warp.shape),
            indexes=header.band_indexes,
            flipped=False,
            block=header.warp.block,
            # A view that has no value for what is not there has a band for it, the last one.
            alpha=alpha or (view.count if view.count > dataset.count else None),
            has_mask=False,
            nodata=nodata if needs_nodata else None,
        )
    grid = read_grid(dataset, key=layer.key)
    return RasterFile(
        dataset=dataset,
        covers=place_grid(grid, header.transform),
        indexes=header.band_indexes,
        flipped=grid.south_up,
        block=None,
        alpha=alpha,
        has_mask=header.mask == "perDataset",
        nodata=nodata if needs_nodata else None,
    )


def _warped(dataset: Any, header: RasterHeader, warp: WarpGrid, *, alpha: int | None) -> Any:
    """Return a view of a file on the plan's grid; pixels that are not there stay recognisable."""
    nodata = nodata_value(header)
    absent: dict[str, Any] = {"src_nodata": nodata, "nodata": nodata}
    if alpha is not None:
        absent = {"src_alpha": alpha}
    elif nodata is None or header.mask == "perDataset":
        absent = {"add_alpha": True}
    return WarpedVRT(
        dataset,
        src_crs=header.crs,
        crs=warp.crs,
        transform=Affine(*warp.transform),
        height=warp.shape[0],
        width=warp.shape[1],
        resampling=Resampling[warp.resampling],
        **absent,
    )


def _whole_blocks(window: Window, grid: Window, side: int) -> Iterator[tuple[Window, Window]]:
    """Yield each block of `grid` that a window touches, and the part of it inside the window."""
    for row in range(window[0] // side * side, window[0] + window[2], side):
        for column in range(window[1] // side * side, window[1] + window[3], side):
            whole = intersect((row, column, side, side), grid)
            part = None if whole is None else intersect(whole, window)
            if whole is not None and part is not None:
                yield whole, part


def _rasterio_window(window: Window) -> RasterioWindow:
    row, column, height, width = window
    return RasterioWindow(column, row, width, height)
