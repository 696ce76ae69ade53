"""One raster file on a layer's delivered grid: read by windows, or in whole blocks if warped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import msgspec
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from geopod.api.plan import LayerPlan, RasterHeader, WarpGrid
from geopod.codecs.doubles import EXACT, may_round
from geopod.errors import LayerAccessError
from geopod.layers.access import Patience
from geopod.layers.crs import crs_around
from geopod.layers.ellipsis import ELLIPSIS
from geopod.layers.file_grids import place_grid, read_grid
from geopod.layers.gdal import open_raster_file
from geopod.layers.grids import Window, intersect, slices_within
from geopod.layers.raster_headers import alpha_band
from geopod.layers.sources import SourceFile
from geopod.layers.variables import ARRAYS

Pixels = NDArray[Any]


class Handle:
    """An open dataset, or a view of one, that can be opened again."""

    def __init__(
        self,
        opened: Any,
        source: SourceFile,
        path_id: str,
        view: Callable[[Any], tuple[Any, ...]] | None = None,
    ) -> None:
        self._source = source
        self.path_id = path_id
        self._view = view
        self._opened: tuple[Any, ...] = ()
        self._take(opened)

    @property
    def dataset(self) -> Any:
        """The open rasterio dataset, or the view of it that is read."""
        return self._opened[-1]

    def reopen(self) -> None:
        """Forget what was read: GDAL remembers a cut answer as the end of the file."""
        self.close()
        self._take(open_raster_file(self._source, path_id=self.path_id))

    def close(self) -> None:
        """Close the views, then the file below them."""
        for opened in reversed(self._opened):
            opened.close()

    def _take(self, opened: Any) -> None:
        self._opened = (opened, *(() if self._view is None else self._view(opened)))


def fill_value(header: RasterHeader) -> float:
    """Return what a pixel outside the layer is: nodata, else NaN for floats, else 0."""
    nodata = nodata_value(header)
    if nodata is not None:
        return nodata
    return math.nan if np.dtype(header.dtype).kind in "fc" else 0


def nodata_value(header: RasterHeader) -> float | int | None:
    """Return nodata as a number; the plan writes those that JSON has no word for as text."""
    return float(header.nodata) if isinstance(header.nodata, str) else header.nodata


@dataclass(frozen=True, slots=True)
class RasterFile:
    """One open file, placed on the layer's delivered grid."""

    handle: Handle
    covers: Window
    indexes: tuple[int, ...]
    flipped: bool
    block: int | None
    """Side of the blocks that may be read, whole ones only; None: any window."""
    alpha: int | None
    """Number of the band that says which pixels there are."""
    has_mask: bool
    """A mask of the file says which pixels there are."""
    patience: Patience | None
    """Of a file elsewhere: what could not be read is read again. None: a file of this machine."""
    nodata: float | None
    """Pixels of this value let the files below shine through; None: all pixels count."""
    absent: float | None = None
    """What stands for no pixel, whether files lie below or not."""

    def read(self, window: Window) -> tuple[Pixels, NDArray[np.bool_] | None]:
        """Return the pixels of a window inside `covers`, and which of them there are (None: all).

        Shapes: (band, row, column) both, or the second (row, column).
        """
        data = self._bands(self.indexes, window)
        there: NDArray[np.bool_] | None = None
        if self.alpha is not None:
            there = self._bands((self.alpha,), window)[0] > 0
        elif self.has_mask:
            mask = (
                self._patiently(
                    lambda: self.handle.dataset.dataset_mask(window=self._of_file(window))
                )
                > 0
            )
            there = mask[::-1] if self.flipped else mask
        if self.nodata is None:
            return data, there
        is_value = ~np.isnan(data) if math.isnan(self.nodata) else data != self.nodata
        return data, is_value if there is None else is_value & there

    def _bands(self, indexes: tuple[int, ...], window: Window) -> Pixels:
        if self.block is None:
            place = self._of_file(window)
            data = self._patiently(lambda: self.handle.dataset.read(indexes, window=place))
            return data[:, ::-1] if self.flipped else data
        data = np.empty((len(indexes), *window[2:]), self.handle.dataset.dtypes[indexes[0] - 1])
        for whole, part in _whole_blocks(window, self.covers, self.block):
            pixels = self._read_block(indexes, whole)
            data[:, *slices_within(part, window)] = pixels[:, *slices_within(part, whole)]
        return data

    def _read_block(self, indexes: tuple[int, ...], whole: Window) -> Pixels:
        pixels = self._patiently(
            lambda: self.handle.dataset.read(indexes, window=_rasterio_window(whole))
        )
        if may_round(pixels.dtype):
            self._check_exact(pixels)
        return pixels

    def _check_exact(self, pixels: Pixels) -> None:
        """Raise LayerAccessError for warped whole numbers that doubles round."""
        is_large = (
            (pixels >= EXACT) | (pixels <= -EXACT)
            if pixels.dtype.kind == "i"
            else (pixels >= EXACT)
        )
        if self.absent is not None:
            is_large &= pixels != self.absent
        if is_large.any():
            raise LayerAccessError.unreachable(
                path_id=self.handle.path_id,
                words=f"it has pixels of {pixels[is_large][0]}, and warping keeps whole numbers up "
                f"to 2**53 ({EXACT:,}) only; plan on its own grid (partitioning={{'grid': "
                "{'like': …}}), or write it as float64",
            )

    def _patiently(self, read: Callable[[], Pixels]) -> Pixels:
        """Return what `read` does; GDAL asks again after a bad answer, not after a cut one."""
        if self.patience is None:
            return read()
        for attempt in range(1, self.patience.tries):
            try:
                return read()
            except RasterioError:
                Event().wait(self.patience.delay_s * attempt)
                self.handle.reopen()
        return read()

    def _of_file(self, window: Window) -> RasterioWindow:
        """Return a window of the delivered grid in the file's own rows and columns."""
        row, column = window[0] - self.covers[0], window[1] - self.covers[1]
        if self.flipped:
            row = self.covers[2] - row - window[2]
        return _rasterio_window((row, column, window[2], window[3]))


def open_file(
    layer: LayerPlan, header: RasterHeader, source: SourceFile, *, needs_nodata: bool
) -> RasterFile:
    """Return one file of a layer, open on the layer's delivered grid; `close` its handle."""
    dataset = open_raster_file(source, path_id=layer.path_id)
    nodata = nodata_value(header)
    patience = source.remote.access.patience if source.remote else None
    alpha = alpha_band(dataset) if header.mask == "alpha" else None
    if header.warp is not None:
        warp, bands = header.warp, dataset.count

        def open_view(opened: Any) -> tuple[Any, ...]:
            return _view(opened, header, warp, alpha=alpha)

        handle = Handle(dataset, source, layer.path_id, open_view)
        return RasterFile(
            handle=handle,
            covers=(0, 0, *header.warp.shape),
            indexes=header.band_indexes,
            flipped=False,
            block=header.warp.block,
            # A view that has no value for what is not there has a band for it, the last one.
            alpha=alpha or (handle.dataset.count if handle.dataset.count > bands else None),
            has_mask=False,
            patience=patience,
            nodata=nodata if needs_nodata else None,
            absent=nodata,
        )
    grid = read_grid(dataset, key=layer.key)
    return RasterFile(
        handle=Handle(dataset, source, layer.path_id),
        covers=place_grid(grid, header.transform),
        indexes=header.band_indexes,
        flipped=grid.south_up,
        block=None,
        alpha=alpha,
        has_mask=header.mask == "perDataset",
        patience=patience,
        nodata=nodata if needs_nodata else None,
    )


def _view(
    opened: Any, header: RasterHeader, warp: WarpGrid, *, alpha: int | None
) -> tuple[Any, ...]:
    """Return views of what was opened, the last one on the plan's grid."""
    if opened.driver in ARRAYS:
        from geopod.layers.array_warp import WarpedArray  # loads pyfive

        return (
            WarpedArray(opened, header, warp, lambda part: _warped(part, header, warp, alpha=None)),
        )
    if opened.driver != ELLIPSIS:
        return _warped(opened, header, warp, alpha=alpha)
    from geopod.layers.ellipsis_warp import WarpedTiles  # loads what reads them

    masked = msgspec.structs.replace(header, mask="perDataset")
    return (WarpedTiles(opened, header, lambda part: _warped(part, masked, warp, alpha=None)),)


def _warped(
    dataset: Any, header: RasterHeader, warp: WarpGrid, *, alpha: int | None
) -> tuple[Any, ...]:
    """Return views of a file, the last one on the plan's grid; absent pixels stay recognisable.

    Control points and RPCs place pixels only where GDAL chooses the grid itself: such a file is
    first brought to that one, which the file alone decides, and from there to the plan's.
    """
    nodata = nodata_value(header)
    absent: dict[str, Any] = {"src_nodata": nodata, "nodata": nodata}
    if alpha is not None:
        absent = {"src_alpha": alpha}
    elif nodata is None or header.mask == "perDataset":
        absent = {"add_alpha": True}
    resampling = Resampling[warp.resampling]
    views: list[Any] = []
    source = dataset
    if dataset.transform.is_identity:
        source = WarpedVRT(dataset, crs=header.crs, resampling=resampling, **absent)
        views.append(source)
        if alpha is None and source.count > dataset.count:
            absent = {"src_alpha": source.count}
    view = WarpedVRT(
        source,
        src_crs=_source_crs(header),
        crs=warp.crs,
        transform=Affine(*warp.transform),
        height=warp.shape[0],
        width=warp.shape[1],
        resampling=resampling,
        **absent,
    )
    return (*views, view)


def _source_crs(header: RasterHeader) -> str:
    transform, (height, width) = Affine(*header.transform), header.shape
    corners = [transform @ (column, row) for column in (0, width) for row in (0, height)]
    longitudes = [x for x, _ in corners]
    return crs_around(header.crs, min(longitudes), max(longitudes))


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
