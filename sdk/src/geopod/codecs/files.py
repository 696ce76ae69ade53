"""Results that are files: handles that read nothing before they are asked to."""

from __future__ import annotations

import functools
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from typing_extensions import override

from geopod.codecs.encoded import Source, read_bytes, size_of
from geopod.codecs.plain import SUFFIXES

MIB = 1 << 20


class ResultFile:
    """One file that `f` returned; its bytes stay where they are until someone wants them."""

    def __init__(self, source: Source, *, media_type: str, name: str = "") -> None:
        self._source = source
        self.media_type = media_type
        """Read from the file's head: `image/tiff`, `application/vnd.apache.parquet`."""
        self.name = name
        """The name `f` gave it; empty for bytes without one."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return size_of(self._source)

    @property
    def suffix(self) -> str:
        """The suffix of the file's name, or the usual one of its media type."""
        return Path(self.name).suffix or SUFFIXES.get(self.media_type, ".bin")

    @property
    def bytes(self) -> bytes:
        """The whole file."""
        return read_bytes(self._source)

    @functools.cached_property
    def path(self) -> Path:
        """A file to read from; bytes that came inline are written to a temporary one first."""
        if isinstance(self._source, Path):
            return self._source
        folder = Path(_temporary_folder().name)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=self.suffix, delete=False) as file:
            file.write(self._source)
        return Path(file.name)

    def open(self) -> BinaryIO:
        """Open the file for reading, at its beginning."""
        return self._source.open("rb") if isinstance(self._source, Path) else io.BytesIO(self.bytes)

    def save(self, path: str | Path) -> Path:
        """Copy the file to `path`, or into the folder `path`; return where it lies."""
        target = Path(path)
        if target.is_dir():
            target /= self.name or f"result{self.suffix}"
        with self.open() as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy, MIB)
        return target

    @override
    def __repr__(self) -> str:
        name = f" {self.name}" if self.name else ""
        return f"<{type(self).__name__}{name} {self.media_type}, {self.size} bytes>"


class RasterFile(ResultFile):
    """A GeoTIFF that `f` returned as a raster; parsed only by `read()`."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, media_type="image/tiff")

    def read(self) -> dict[str, Any]:
        """Return `raster` (band, row, column), `extent`, `transform`, `crs`, `nodata`, `bands`."""
        from geopod.codecs.raster import read_raster  # GDAL, for who parses

        return read_raster(self.path)


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return the process's folder of files made from inline bytes; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="geopod-results-")
