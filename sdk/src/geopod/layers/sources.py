"""Where a layer's bytes lie: which file a uri names, and which version it is.

A uri names exactly one file or dataset folder; `formats` says which driver may open it. On shared
nodes local files lie on a Layer's volumes only, whatever links point to.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from zlib import crc32

import msgspec

from geopod.errors import LayerAccessError, SourceChangedError
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.companions import check_companions
from geopod.layers.ellipsis import ELLIPSIS, find_ellipsis, is_ellipsis
from geopod.layers.formats import HEAD_BYTES, PARQUET, Format, Kind, find_format
from geopod.layers.remote import SCHEMES, RemoteFile, find_remote
from geopod.layers.shapefile import files_beside, indexes_beside, is_shapefile, remote_version
from geopod.layers.together import ask_all
from geopod.layers.variables import Variable, split_variable
from geopod.layers.zarr import is_store, read_variable

__all__ = ["PARQUET", "Kind", "LayerSource", "SourceFile"]

# Files that hold parts of the layer: their change changes the layer.
_COMPANIONS = (".aux.xml", ".hdr", ".msk", ".ovr")
_APPENDED = (*_COMPANIONS, "-wal")  # of a GeoPackage: what is not yet in the file itself
_HERE_ONLY = "{}, which is read with the {} beside it and from volumes only; write GeoTIFF"
_ON_VOLUMES = {
    "netCDF": "classic netCDF, which is read from volumes only; write netCDF-4",
    "BMP": _HERE_ONLY.format("BMP", "world file"),
    "ENVI": _HERE_ONLY.format("ENVI", "header"),
    "EHdr": _HERE_ONLY.format("an ESRI .bil", "header"),
}
"""What is not read of a store, by driver: what lies beside a file there is not looked at."""


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
    """One file (or dataset folder) that may be opened, with the only driver that opens it."""

    place: Path | RemoteFile
    kind: Kind
    driver: str
    variable: Variable | None = None
    """The one that is read of a file that may hold several rasters."""

    @property
    def path(self) -> Path:
        """Its path on this machine; raises TypeError for one that lies elsewhere."""
        if isinstance(self.place, RemoteFile):
            raise TypeError(f"{self.place.href} is not on this machine")
        return self.place

    @property
    def remote(self) -> RemoteFile | None:
        """The object elsewhere; None: a file of this machine."""
        return self.place if isinstance(self.place, RemoteFile) else None

    @property
    def href(self) -> str:
        """Its address, for people."""
        return self.place.href if isinstance(self.place, RemoteFile) else str(self.place)


def find_source(href: str, *, path_id: str, access: Access = OWN_MACHINE) -> SourceFile:
    """Return the file that `href` names and the driver its bytes ask for.

    Raises LayerAccessError for anything but a readable file in a format that layers may have: an
    absolute path, `file://`, `s3://`, `gs://`, `az://`, `http(s)://`, `ellipsis://`.
    """
    if is_ellipsis(href):
        return _on_ellipsis(href, path_id=path_id, access=access)
    address, variable = split_variable(href)
    place = find_place(address, path_id=path_id, access=access)
    if is_store(place):
        found = read_variable(place, variable, path_id=path_id)
        return SourceFile(place, "raster", found.driver, found.variable)
    if is_dataset_folder(place, path_id=path_id):
        return SourceFile(place, "vector", PARQUET)
    head = read_head(place, path_id=path_id)
    name = place.name if isinstance(place, RemoteFile) else str(place)
    form = find_format(name, head)
    if not isinstance(form, Format):
        raise _refused(href, path_id, form)
    if isinstance(place, RemoteFile) and (words := _ON_VOLUMES.get(form.driver)):
        raise _refused(href, path_id, f"{name} is {words}")
    if isinstance(place, Path):
        check_companions(place, path_id=path_id)
    return SourceFile(place, form.kind, form.driver, variable)


def planned_source(
    href: str, kind: Kind, driver: str, *, path_id: str, access: Access
) -> SourceFile:
    """Return a file of a plan; its format is the one that was found when the plan was made."""
    if kind == "vector" and is_ellipsis(href):
        return _on_ellipsis(href, path_id=path_id, access=access)
    address, variable = split_variable(href)
    place = find_place(address, path_id=path_id, access=access)
    if isinstance(place, RemoteFile):
        return SourceFile(place, kind, driver, variable)
    return find_source(href, path_id=path_id, access=access)


def find_place(href: str, *, path_id: str, access: Access = OWN_MACHINE) -> Path | RemoteFile:
    """Return the file or object that `href` names; raises LayerAccessError."""
    if is_ellipsis(href):
        return find_ellipsis(href, access, path_id=path_id)
    if href.partition("://")[0] in SCHEMES:
        return find_remote(href, access, path_id=path_id)
    return local_path(href, path_id=path_id, access=access)


def read_head(place: Path | RemoteFile, *, path_id: str) -> bytes:
    """Return the first bytes of a file; raises LayerAccessError."""
    if isinstance(place, RemoteFile):
        return place.probe(HEAD_BYTES).body
    _check_plain(place, path_id)
    try:
        with place.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise _refused(str(place), path_id, f"{place}: {error.strerror or error}") from error


def is_dataset_folder(place: Path | RemoteFile, *, path_id: str) -> bool:
    """Say whether a place is a folder of GeoParquet files; raises LayerAccessError for another."""
    if isinstance(place, RemoteFile):
        return place.is_folder
    if not place.is_dir():
        return False
    parts = list(place.glob("*.parquet"))
    if not parts:
        raise _refused(str(place), path_id, f"{place} is a folder without .parquet files")
    for part in parts:
        _check_plain(part, path_id)
    return True


def _check_plain(place: Path, path_id: str) -> None:
    """Raise LayerAccessError for a pipe: to open it is to wait for who writes to it."""
    if place.exists() and not place.is_file():
        raise _refused(str(place), path_id, f"{place} is no plain file")


def local_path(href: str, *, path_id: str, access: Access = OWN_MACHINE) -> Path:
    """Return the absolute path that `href` names; raises LayerAccessError for another scheme."""
    if "\x00" in href:
        raise _refused(href, path_id, "the uri holds a zero byte")
    if href.startswith("/"):
        path = Path(href)
    else:
        parts = urlsplit(href)
        if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
            raise _refused(
                href,
                path_id,
                f"{href!r} is neither an absolute path nor file://, s3:// or https://",
            )
        path = Path(unquote(parts.path))
    if len(path.parts) > 1 and path.parts[1].startswith("vsi"):
        raise _refused(href, path_id, f"{href!r} is a GDAL virtual path; name a plain file")
    if access.volumes is not None:
        path = _fenced(path, access.volumes, path_id)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # who reads it says so
    except OSError as error:  # neither there nor absent: no right, a name too long, links in a ring
        raise _refused(href, path_id, f"{href}: {error.strerror or error}") from error
    return path


def version_of(place: Path | RemoteFile, variable: Variable | None, *, path_id: str) -> str:
    """Return what changes when the bytes there do: an ETag, or newest mtime (ns) and size.

    A Zarr store has the version of its metadata: its chunks may be a million. Raises OSError when a
    local file is gone, LayerAccessError for a remote one.
    """
    if is_store(place):
        return read_variable(place, variable, path_id=path_id).version
    if isinstance(place, RemoteFile):
        return remote_version(place) if is_shapefile(place.name) else place.version()
    told = [(part.name, stat.st_mtime_ns, stat.st_size) for part, stat in _parts(place)]
    newest, size = max(mtime for _, mtime, _ in told), sum(size for _, _, size in told)
    # A copy that keeps its time may be older than the file beside it.
    several = f" of {len(told)} files {crc32(repr(told).encode()):08x}" if len(told) > 1 else ""
    return f"mtime {newest} size {size}{several}"


def read_versions(
    hrefs: Sequence[str], *, path_id: str, access: Access = OWN_MACHINE
) -> dict[str, str]:
    """Return the version of each uri; raises LayerAccessError when a file is gone."""

    def read(href: str) -> str:
        address, variable = split_variable(href)
        place = find_place(address, path_id=path_id, access=access)
        try:
            return version_of(place, variable, path_id=path_id)
        except OSError as error:
            raise _refused(href, path_id, f"{place}: {error.strerror or error}") from error

    are_remote = any("://" in href for href in hrefs)
    return dict(zip(hrefs, ask_all(read, hrefs, are_remote=are_remote), strict=True))


def check_versions(
    planned: Mapping[str, str],
    *,
    key: str,
    path_id: str,
    access: Access = OWN_MACHINE,
    among: Collection[str] | None = None,
) -> None:
    """Raise SourceChangedError if a file is not the one that the plan was made on.

    `among`: the uris that matter; None: all.
    """
    hrefs = tuple(href for href in planned if among is None or href in among)
    found = read_versions(hrefs, path_id=path_id, access=access)
    for href in hrefs:
        if found[href] != planned[href]:
            raise SourceChangedError.changed(key=key, planned=planned[href], found=found[href])


def _on_ellipsis(href: str, *, path_id: str, access: Access) -> SourceFile:
    """Return a raster of Ellipsis Drive, or its features as the GeoParquet they were listed to."""
    from geopod.layers.ellipsis_info import read_info

    place = find_ellipsis(href, access, path_id=path_id)
    info = read_info(place)
    if info.kind == "raster":
        return SourceFile(place, "raster", ELLIPSIS)
    from geopod.layers.ellipsis_features import listed_features  # loads Arrow

    return SourceFile(listed_features(place, info), "vector", PARQUET)


def _fenced(path: Path, volumes: Path, path_id: str) -> Path:
    """Return where a path leads if that is on a volume, and what lies beside it is too."""
    fence = volumes.resolve()
    target = _leads_to(path)
    beside = [target.with_name(target.name + suffix) for suffix in _APPENDED]
    beside += [target.with_suffix(suffix) for suffix in _COMPANIONS]
    beside += [*files_beside(target), *indexes_beside(target)]
    # Every link counts, however deep: a store of chunks has folders in folders.
    inside = [path for path in target.rglob("*") if path.is_symlink()] if target.is_dir() else []
    for one in (target, *beside, *inside):
        if not _leads_to(one).is_relative_to(fence):
            raise _refused(
                str(path), path_id, f"{path} is not on a volume of the Layer ({volumes})"
            )
    return target


def _leads_to(path: Path) -> Path:
    """Return where a path leads; links in a ring lead nowhere, for which `resolve` may raise."""
    return Path(os.path.realpath(path))


def _parts(path: Path) -> list[tuple[Path, os.stat_result]]:
    """Return the files whose bytes make up the source at `path`."""
    if path.is_dir():
        return [(part, part.stat()) for part in sorted(path.glob("*.parquet"))]
    companions = [path.with_name(path.name + suffix) for suffix in _APPENDED]
    companions += files_beside(path) if is_shapefile(path.name) else []
    there = [part for part in companions if part != path and part.exists()]
    return [(part, part.stat()) for part in (path, *there)]


def _refused(href: str, path_id: str, words: str) -> LayerAccessError:
    return LayerAccessError.unreachable(path_id=path_id, words=words, details={"href": href})
