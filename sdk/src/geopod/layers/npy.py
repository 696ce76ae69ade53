"""Write an array block by block into a `.npy` file.

Blocks go out by `pwrite`, not through a memory map: written pages of a map count as the agent's
memory until the kernel gets round to them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray


class NpyWriter:
    """A `.npy` file of a known shape (band, row, column) that is filled block by block."""

    def __init__(self, path: Path, *, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        with path.open("wb") as file:
            description = {
                "descr": npy_format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": shape,
            }
            npy_format.write_array_header_1_0(file, description)
            self._start = file.tell()
            file.truncate(self._start + int(np.prod(shape)) * dtype.itemsize)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, row: int, column: int, block: NDArray[Any], *, first_band: int = 0) -> None:
        """Put `block` (band, row, column) at `row`, `column` of the bands from `first_band` on."""
        _, rows, columns = self.shape
        full_rows = block.shape[2] == columns
        for band, pixels in enumerate(block, first_band):
            first = (band * rows + row) * columns + column
            parts = [pixels] if full_rows else list(pixels)
            for number, part in enumerate(parts):
                offset = self._start + (first + number * columns) * self.dtype.itemsize
                self._write_all(np.ascontiguousarray(part).data.cast("B"), offset)

    def _write_all(self, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
