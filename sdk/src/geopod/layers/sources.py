"""Where a layer's bytes lie: which file a uri names, which driver may open it, which version it is.

A layer is written by whoever may write Layers; an agent opens it beside other people's secrets.
So a uri names exactly one file or dataset directory, and its driver follows from that file's own
bytes or name: GDAL is never left to guess, because formats that point elsewhere (VRT, WMS, GDALG,
tile indexes) would make the agent fetch what the author of the layer cannot reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec

from geopod.errors import LayerAccessError, SourceChangedError

Kind = Literal["raster", "vector"]

PARQUET = "Parquet"
"""Our own name: neither of the two GDALs has a driver for it, pyarrow reads it."""

_HEAD_BYTES = 65_536
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
    (b"PAR1", 0, "vector", PARQUET),
    (b"fgb\x03", 0, "vector", "FlatGeobuf"),
    (b"SQLite format 3\x00", 0, "vector", "GPKG"),
    (b"\x00\x00\x27\x0a", 0, "vector", "ESRI Shapefile"),
)
# Formats that begin with data: the name decides. HDF5 and netCDF-4 stay out because a data set in
# them may be stored in any other file; PCIDSK and ERS name other files in their headers.
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
# Files that hold parts of the layer: their change changes the layer.
_COMPANIONS = (".aux.xml", ".hdr", ".msk", ".ovr")
_SHAPEFILE_PARTS = (".dbf", ".shx", ".prj", ".cpg")


class LayerSource(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One layer as asked for: its key in `params` and the uris of the timestamp it resolved to."""

    key: str
    path_id: str
    timestamp: str
    hrefs: tuple[str, ...]
    """In the order of the mosaic: a later file lies on top."""
    kind: Kind | None = None
    """None: the file says."""
    crs: str | None = None
    """For files that name none."""
    nodata: float | None = None
    """For files that name none."""
    bands: tuple[str | int, ...] = ()
    """Names or 1-based numbers; empty: all but the alpha band."""
    resampling: str = "nearest"
    date: str | None = None


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file (or dataset directory) that may be opened, with the only driver that opens it."""

    path: Path
    kind: Kind
    driver: str


def find_source(href: str, *, path_id: str) -> SourceFile:
    """Return the file that `href` names and the driver its bytes ask for.

    Raises LayerAccessError for anything but an absolute path or `file://` of a readable file in
    one of the formats above.
    """
    path = local_path(href, path_id=path_id)
    if path.is_dir():
        if any(path.glob("*.parquet")):
            return SourceFile(path, "vector", PARQUET)
        raise _refused(href, path_id, f"{path} is a folder without .parquet files")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _refused(href, path_id, f"{path}: {error.strerror or error}") from error
    for magic, offset, kind, driver in _MAGIC:
        if head.startswith(magic, offset):
            return SourceFile(path, kind, driver)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        if any(word in head for word in _JSON_INSTRUCTIONS):
            raise _refused(href, path_id, f"{path} is JSON that points to other data")
        return SourceFile(path, "vector", "GeoJSON")
    if driver_of_name := _SUFFIXES.get(path.suffix.lower()):
        return SourceFile(path, "raster", driver_of_name)
    raise _refused(href, path_id, f"the format of {path} is not one that layers may have")


def local_path(href: str, *, path_id: str) -> Path:
    """Return the absolute path that `href` names; raises LayerAccessError for another scheme."""
    if "\x00" in href:
        raise _refused(href, path_id, "the uri holds a zero byte")
    if href.startswith("/"):
        path = Path(href)
    else:
        parts = urlsplit(href)
        if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
            raise _refused(href, path_id, f"{href!r} is neither an absolute path nor file://")
        path = Path(unquote(parts.path))
    if len(path.parts) > 1 and path.parts[1].startswith("vsi"):
        raise _refused(href, path_id, f"{href!r} is a GDAL virtual path; name a plain file")
    return path


def version_of(path: Path) -> str:
    """Return what changes when the bytes under `path` do: newest mtime (ns) and size of its parts.

    Raises OSError when the file itself is gone.
    """
    parts = _parts(path)
    stats = [part.stat() for part in parts]
    newest = max(stat.st_mtime_ns for stat in stats)
    return f"mtime {newest} size {sum(stat.st_size for stat in stats)}"


def read_versions(hrefs: Sequence[str], *, path_id: str) -> dict[str, str]:
    """Return the version of each uri; raises LayerAccessError when a file is gone."""
    versions = {}
    for href in hrefs:
        path = local_path(href, path_id=path_id)
        try:
            versions[href] = version_of(path)
        except OSError as error:
            raise _refused(href, path_id, f"{path}: {error.strerror or error}") from error
    return versions


def check_versions(planned: Mapping[str, str], *, key: str, path_id: str) -> None:
    """Raise SourceChangedError if a file is not the one that the plan was made on."""
    found = read_versions(tuple(planned), path_id=path_id)
    for href, version in planned.items():
        if found[href] != version:
            raise SourceChangedError.changed(key=key, planned=version, found=found[href])


def _parts(path: Path) -> list[Path]:
    """Return the files whose bytes make up the source at `path`."""
    if path.is_dir():
        return sorted(path.glob("*.parquet"))
    companions = [path.with_name(path.name + suffix) for suffix in _COMPANIONS]
    if path.suffix.lower() == ".shp":
        companions += [path.with_suffix(suffix) for suffix in _SHAPEFILE_PARTS]
    return [path, *(part for part in companions if part.exists())]


def _refused(href: str, path_id: str, words: str) -> LayerAccessError:
    return LayerAccessError.unreachable(path_id=path_id, words=words, details={"href": href})
