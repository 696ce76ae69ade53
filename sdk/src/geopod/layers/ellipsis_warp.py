"""Pixels of Ellipsis Drive on a plan's grid of another CRS, in whole blocks of that grid.

Of each block the tiles that lie below it are read, and GDAL warps those: a block is the same
whoever reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import rasterio
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterioWindow

from geopod.api.plan import RasterHeader
from geopod.errors.wording import size_text
from geopod.layers.ellipsis_tiles import Pixels, TileDataset
from geopod.layers.grids import Window, intersect, shift_transform
from geopod.layers.raster import WARP_KERNEL, before_warp

MOST_SOURCE_BYTES = 128 << 20
"""Of the pixels below one block: a coarse grid over fine tiles would ask for any number."""
KEPT_BYTES = 96 << 20
"""Decoded tiles that are kept: neighbouring blocks share those at their edges."""


class WarpedTiles:
    """A view of tiles on the grid of a plan, read block by block."""

    def __init__(
        self,
        tiles: TileDataset,
        header: RasterHeader,
        view: Callable[[Any], tuple[Any, ...]],
    ) -> None:
        transform: Any = tuple(tiles.transform[:6])
        self._tiles = tiles
        self._header = msgspec.structs.replace(header, transform=transform)
        self._view = view
        self._last: tuple[Window, Pixels] | None = None
        tiles.keeps = KEPT_BYTES

    @property
    def count(self) -> int:
        """How many bands there are."""
        return self._tiles.count

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Their types."""
        return self._tiles.dtypes

    def read(self, indexes: Sequence[int], *, window: RasterioWindow) -> Pixels:
        """Return (band, row, column) of a whole block; raises LayerAccessError."""
        wanted = (window.row_off, window.col_off, window.height, window.width)
        if self._last is None or self._last[0] != wanted:
            self._last = None
            self._last = (wanted, self._read_block(wanted, window))
        return self._last[1][[index - 1 for index in indexes]]

    def close(self) -> None:
        """Forget what was read."""
        self._last = None

    def _read_block(self, block: Window, window: RasterioWindow) -> Pixels:
        found = np.zeros((self.count, *block[2:]), self.dtypes[0])
        for below in self._windows(block):
            pixels = self._warp(below, window)
            np.copyto(found, pixels, where=pixels[-1] > 0)
        return found

    def _windows(self, block: Window) -> list[Window]:
        """Return the windows of the tiles' own grid that a block is made of."""
        warp = self._header.warp
        whole = (0, 0, *self._tiles.shape)
        boxes = None if warp is None else before_warp(self._header, warp, block)
        found = []
        for row, column, height, width in [whole] if boxes is None else boxes:
            # A kernel is as wide as the pixels that it makes.
            scale = max(height / block[2], width / block[3])
            more = WARP_KERNEL * max(0, math.ceil(scale) - 1)
            around = (row - more, column - more, height + 2 * more, width + 2 * more)
            found.append(intersect(around, whole))
        windows = [window for window in found if window is not None]
        self._check_size(windows, block)
        return windows

    def _check_size(self, windows: Sequence[Window], block: Window) -> None:
        pixels = sum(window[2] * window[3] for window in windows)
        size = pixels * self.count * np.dtype(self.dtypes[0]).itemsize
        if size > MOST_SOURCE_BYTES:
            raise self._tiles.place.refused(
                f"a block of {block[2]} x {block[3]} pixels of the job's grid takes "
                f"{size_text(size)} of it, {size_text(MOST_SOURCE_BYTES)} is the limit; "
                "take a finer grid, or its own: crs='EPSG:3857'"
            )

    def _warp(self, below: Window, window: RasterioWindow) -> Pixels:
        pixels = self._tiles.read_all(below)
        transform: Any = tuple(self._tiles.transform[:6])
        with MemoryFile() as memory:
            # A mask, not the last band: GDAL takes that for a share, of a number we do not know.
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
                memory.open(
                    driver="GTiff",
                    count=self.count - 1,
                    height=below[2],
                    width=below[3],
                    dtype=pixels.dtype,
                    crs=self._tiles.crs,
                    transform=Affine(*shift_transform(transform, row=below[0], column=below[1])),
                ) as target,
            ):
                target.write(pixels[:-1])
                target.write_mask(pixels[-1] > 0)
            with memory.open() as dataset:
                views = self._view(dataset)
                try:
                    warped: Pixels = views[-1].read(window=window)
                finally:
                    for view in reversed(views):
                        view.close()
        return warped
