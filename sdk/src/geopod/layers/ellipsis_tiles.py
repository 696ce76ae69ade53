"""Pixels of Ellipsis Drive: whole tiles of one zoom, read as windows of Web Mercator's grid.

The plain tiles are asked for and no others: their archives and sampled windows are cut, styled or
resampled by the server. A tile that is not there (204) has no pixels.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterioWindow

from geopod.layers.ellipsis import ELLIPSIS, EllipsisPlace
from geopod.layers.ellipsis_info import (
    DTYPES,
    HALF_EARTH,
    TILE,
    EllipsisInfo,
    TileBox,
    read_info,
    read_tile_box,
)
from geopod.layers.grids import Window, intersect, slices_within
from geopod.layers.sources import SourceFile
from geopod.layers.together import ask_all

_NO_CONTENT = 204
_SPARE_BYTES = 1 << 16
"""What a tile may have beside its pixels."""
_PART_BYTES = 16 << 20
"""Pixels that are read at once."""
_MOST_SIDE = 2 * TILE
"""Of the blocks that a tile says it is stored in."""

Pixels = NDArray[Any]


@dataclass(eq=False, kw_only=True)
class TileDataset:
    """A raster of Ellipsis Drive, with those parts of a rasterio dataset that layers take.

    Its last band says where there are pixels; one is added where the path has a single band.
    """

    place: EllipsisPlace
    info: EllipsisInfo
    box: TileBox
    keeps: int = 0
    """Bytes of decoded tiles that are kept."""
    driver = ELLIPSIS
    crs = CRS.from_epsg(3857)
    gcps: tuple[tuple[Any, ...], None] = ((), None)
    rpcs = None
    _kept: OrderedDict[tuple[int, int], Pixels | None] = field(default_factory=OrderedDict)
    _last: tuple[Window, Pixels] | None = None

    def __post_init__(self) -> None:
        names = self.info.bands
        pixel = 2.0 * HALF_EARTH / (TILE << self.info.zoom)
        west = self.box.x * TILE * pixel - HALF_EARTH
        north = HALF_EARTH - self.box.y * TILE * pixel
        self.descriptions = names if len(names) > 1 else (*names, "validity")
        self.count = len(self.descriptions)
        self.dtypes = (self.info.dtype,) * self.count
        self.colorinterp = (*(ColorInterp.undefined,) * (self.count - 1), ColorInterp.alpha)
        self.nodatavals = (None,) * self.count
        self.scales, self.offsets = (1.0,) * self.count, (0.0,) * self.count
        self.block_shapes = ((TILE, TILE),) * self.count
        self.transform = Affine(pixel, 0.0, west, 0.0, -pixel, north)
        self.height, self.width = self.shape = (self.box.rows * TILE, self.box.columns * TILE)
        self._tile_bytes = self.count * TILE * TILE * np.dtype(self.info.dtype).itemsize
        self.bands_read = self.count
        self.read_bytes = 4 * self._tile_bytes + _PART_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tag_namespaces(self) -> tuple[str, ...]:
        """Return none: a tile has no tags."""
        return ()

    def read(self, indexes: Sequence[int], *, window: RasterioWindow) -> Pixels:
        """Return (band, row, column) of a window; raises LayerAccessError."""
        wanted = (window.row_off, window.col_off, window.height, window.width)
        if self._last is None or self._last[0] != wanted:
            self._last = None
            self._last = (wanted, self.read_all(wanted))
        return self._last[1][[index - 1 for index in indexes]]

    def read_all(self, window: Window) -> Pixels:
        """Return all bands of a window inside its shape; each tile is asked for once."""
        pixels = np.zeros((self.count, *window[2:]), self.info.dtype)
        top, left = window[0] // TILE, window[1] // TILE
        rows = range(top, -(-(window[0] + window[2]) // TILE))
        columns = range(left, -(-(window[1] + window[3]) // TILE))
        wanted = [(row, column) for row in rows for column in columns]
        for place, tile in self._tiles(wanted):
            whole = (place[0] * TILE, place[1] * TILE, TILE, TILE)
            part = intersect(whole, window)
            if tile is not None and part is not None:
                pixels[:, *slices_within(part, window)] = tile[:, *slices_within(part, whole)]
        return pixels

    def close(self) -> None:
        """Forget what was read."""
        self._kept.clear()
        self._last = None

    def _tiles(
        self, wanted: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Pixels | None]]:
        """Yield each (row, column) with its pixels; None: it has none."""
        missing = [place for place in wanted if place not in self._kept]
        found = {place: self._kept[place] for place in wanted if place in self._kept}
        yield from found.items()
        for place, body in zip(missing, ask_all(self._ask, missing, are_remote=True), strict=True):
            tile = None if body is None else self._decode(body)
            self._keep(place, tile)
            yield place, tile

    def _keep(self, place: tuple[int, int], tile: Pixels | None) -> None:
        if self.keeps < self._tile_bytes:
            return
        self._kept[place] = tile
        while len(self._kept) * self._tile_bytes > self.keeps:
            self._kept.popitem(last=False)

    def _ask(self, place: tuple[int, int]) -> bytes | None:
        row, column = place
        tile = f"{self.info.zoom}/{self.box.x + column}/{self.box.y + row}"
        answer = self.place.ask(
            f"/raster/timestamp/{self.info.timestamp}/tile/{tile}",
            most_bytes=self._tile_bytes * 9 // 8 + _SPARE_BYTES,
            query={"applyStyle": False},
        )
        return None if answer.status == _NO_CONTENT else answer.body

    def _decode(self, body: bytes) -> Pixels:
        try:
            found = decode_tile(body, len(self.info.bands))
        except (RasterioError, ValueError) as error:
            raise self.place.refused(f"a tile cannot be read: {error}") from error
        pixels = found.astype(self.info.dtype, copy=False)
        if pixels.dtype.kind in "iu" and not np.array_equal(pixels, found):
            raise self.place.refused(f"a tile has values that are no {self.info.dtype}")
        return (
            pixels if len(self.info.bands) > 1 else np.concatenate([pixels, np.ones_like(pixels)])
        )


def decode_tile(body: bytes, count: int) -> Pixels:
    """Return the bands of a TIFF of one tile, side by side or a page each.

    Raises ValueError, RasterioError for anything else.
    """
    if not body:
        raise ValueError("it is empty")
    with warnings.catch_warnings(), MemoryFile(body) as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(driver="GTiff") as first:
            pages = first.subdatasets if first.count == 1 else []
            if not pages:
                return _read_page(first, count)
        if len(pages) != count:
            raise ValueError(f"it has {len(pages)} pages, not {count}")
        found = []
        for page in pages:
            with rasterio.open(page, driver="GTiff") as dataset:
                found.append(_read_page(dataset, 1))
        return np.concatenate(found)


def _read_page(dataset: Any, count: int) -> Pixels:
    if (dataset.count, dataset.height, dataset.width) != (count, TILE, TILE):
        shape = f"{dataset.count} x {dataset.height} x {dataset.width}"
        raise ValueError(f"it is {shape}, not {count} x {TILE} x {TILE}")
    if max(dataset.block_shapes[0]) > _MOST_SIDE:
        raise ValueError(f"its blocks are {dataset.block_shapes[0]}")
    if strange := set(dataset.dtypes) - set(DTYPES):
        raise ValueError(f"its pixels are {', '.join(strange)}")
    pixels: Pixels = dataset.read()
    return pixels


def open_tiles(source: SourceFile) -> TileDataset:
    """Return a raster of Ellipsis Drive ready to be read; no tile is asked for yet."""
    place = source.place
    if not isinstance(place, EllipsisPlace):
        raise TypeError(f"{source.href} is not on Ellipsis Drive")
    info = read_info(place)
    return TileDataset(place=place, info=info, box=read_tile_box(place, info))
