"""Which driver opens a file: its own first bytes or its name say so, GDAL is never left to guess.

A layer is written by whoever may write Layers; an agent opens it beside other people's secrets.
So formats that point elsewhere (VRT, WMS, GDALG, tile indexes) and archives are refused: they would
make the agent fetch what the layer's author cannot reach. HDF5 goes to a reader of our own, which
cannot leave its file.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from geopod.layers.variables import HDF5

Kind = Literal["raster", "vector"]

PARQUET = "Parquet"
"""Our own name: neither of the two GDALs has a driver for it, pyarrow reads it."""
HEAD_BYTES = 65_536
"""How much of a file says what it is."""

_MAGIC: tuple[tuple[bytes, int, Kind, str], ...] = (
    (b"II*\x00", 0, "raster", "GTiff"),
    (b"MM\x00*", 0, "raster", "GTiff"),
    (b"II+\x00", 0, "raster", "GTiff"),
    (b"MM\x00+", 0, "raster", "GTiff"),
    (b"\x89PNG\r\n\x1a\n", 0, "raster", "PNG"),
    (b"\xff\xd8\xff", 0, "raster", "JPEG"),
    (b"\x00\x00\x00\x0cjP  ", 0, "raster", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", 0, "raster", "JP2OpenJPEG"),
    (b"WEBP", 8, "raster", "WEBP"),
    (b"EHFA_HEADER_TAG", 0, "raster", "HFA"),
    (b"GRIB", 0, "raster", "GRIB"),
    (b"CDF\x01", 0, "raster", "netCDF"),
    (b"CDF\x02", 0, "raster", "netCDF"),
    (b"CDF\x05", 0, "raster", "netCDF"),
    (b"\x89HDF\r\n\x1a\n", 0, "raster", HDF5),
    (b"PAR1", 0, "vector", PARQUET),
    (b"fgb\x03", 0, "vector", "FlatGeobuf"),
    (b"SQLite format 3\x00", 0, "vector", "GPKG"),
    (b"\x00\x00\x27\x0a", 0, "vector", "ESRI Shapefile"),
)
# Formats that begin with data: the name decides. PCIDSK and ERS stay out: they name other files in
# their headers.
_SUFFIXES = {
    ".asc": "AAIGrid",
    ".bil": "EHdr",
    ".bmp": "BMP",
    ".dem": "USGSDEM",
    ".dt0": "DTED",
    ".dt1": "DTED",
    ".dt2": "DTED",
    ".hgt": "SRTMHGT",
    ".img": "ENVI",
}
# JSON that GDAL would not read as GeoJSON but as instructions.
_JSON_INSTRUCTIONS = (b"gdal_streamed_alg", b"stac_version")
_ELSEWHERE = "{} is {}, which reads other files; name those: uris"
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"<VRTDataset", "a VRT"),
    (b"<OGRVRTDataSource", "a VRT"),
    (b"<GDALTileIndexDataset", "a tile index of GDAL"),
    (b"<GDAL_WM", "a description of a web service"),
    (b"<WMS", "a description of a web service"),
    (b"<WCS", "a description of a web service"),
    (b"<WFS", "a description of a web service"),
    (b"<OGRWFS", "a description of a web service"),
)
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")


class Format(NamedTuple):
    """What a file is, and the only driver that opens it."""

    kind: Kind
    driver: str


def find_format(name: str, head: bytes) -> Format | str:
    """Return the format of a file, or why layers may not have it.

    `head`: its first `HEAD_BYTES` bytes.
    """
    for magic, offset, kind, driver in _MAGIC:
        if head.startswith(magic, offset):
            return Format(kind, driver)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{") and not any(word in head for word in _JSON_INSTRUCTIONS):
        return Format("vector", "GeoJSON")
    if refused := _why_not(name, head, text):
        return refused
    if driver_of_name := _SUFFIXES.get(PurePosixPath(name).suffix.lower()):
        return Format("raster", driver_of_name)
    return f"the format of {name} is not one that layers may have"


def _why_not(name: str, head: bytes, text: bytes) -> str | None:
    """Return why a file that is no data of its own is refused."""
    if text.startswith(b"{"):
        return _ELSEWHERE.format(name, "JSON that points to other data")
    if text.startswith(b"<"):
        what = next((what for word, what in _REFUSED if word in text), None)
        return what and _ELSEWHERE.format(name, what)
    return f"{name} is an archive; unpack it" if head.startswith(_ARCHIVES) else None
