"""JSON and raw bytes: passed on as they are; the media type of bytes is read from their head."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from geopod.codecs.encoded import Encoded, MalformedValueError, Source, head_of, read_bytes, size_of

OCTETS = "application/octet-stream"
SUFFIXES = {
    "image/tiff": ".tif",
    "application/geopackage+sqlite3": ".gpkg",
    "application/vnd.sqlite3": ".sqlite",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.apache.arrow.file": ".arrow",
    "application/flatgeobuf": ".fgb",
    "application/geo+json": ".geojson",
    "application/json": ".json",
    "application/x-hdf5": ".h5",
    "application/x-netcdf": ".nc",
    "application/zip": ".zip",
    "application/gzip": ".gz",
    "application/pdf": ".pdf",
    "image/png": ".png",
    "image/jpeg": ".jpg",
}
"""Media type to file suffix; registered names where IANA has one."""
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),  # BigTIFF
    (b"MM\0+", "image/tiff"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"ARROW1", "application/vnd.apache.arrow.file"),
    (b"fgb\x03fgb", "application/flatgeobuf"),
    (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (b"CDF\x01", "application/x-netcdf"),
    (b"CDF\x02", "application/x-netcdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
)
SQLITE = b"SQLite format 3\0"
GEOPACKAGE_ID = slice(68, 72)
"""Where SQLite keeps the application id; `GPKG`, `GP10` or `GP11` (OGC 12-128r18, 1.1.1.1)."""
HEAD_BYTES = 512
GEOJSON_TYPES = (b'"FeatureCollection"', b'"Feature"', b'"GeometryCollection"')


def encode_json(source: Source, meta: dict[str, Any]) -> Encoded:
    """Pass JSON text on; the agent does not parse what a user's process wrote."""
    del meta
    return Encoded("json", source)


def decode_json(source: Source) -> Any:
    """Return the value that `f` returned, as Python's `json` reads it."""
    try:
        return json.loads(read_bytes(source))
    except (ValueError, RecursionError) as error:
        raise MalformedValueError(f"no JSON: {error}") from error


def encode_bytes(source: Source, meta: dict[str, Any]) -> Encoded:
    """Pass bytes on with their sniffed media type and the file name that `f` gave them."""
    return Encoded("bytes", source, _described(head_of(source, HEAD_BYTES), meta))


def encode_list(source: Source, meta: dict[str, Any]) -> Encoded:
    """Pass several files on, end to end; `meta.items`: where each lies, its type and name."""
    items = []
    for start, stop, item in item_bounds(meta, size_of(source)):
        head = read_range(source, start, min(stop, start + HEAD_BYTES))
        items.append({"start": start, "stop": stop, **_described(head, item)})
    return Encoded("list", source, {"items": items})


def item_bounds(meta: dict[str, Any], size: int) -> list[tuple[int, int, dict[str, Any]]]:
    """Return (start, stop, description) of each item; raises MalformedValueError outside `size`."""
    bounds: list[tuple[int, int, dict[str, Any]]] = []
    position = 0
    for item in meta.get("items", ()):
        start, stop = item.get("start"), item.get("stop")
        if start != position or not isinstance(stop, int) or not start <= stop <= size:
            raise MalformedValueError(f"item {len(bounds)} lies at {start}..{stop} of {size} bytes")
        bounds.append((start, stop, item))
        position = stop
    return bounds


def read_range(source: Source, start: int, stop: int) -> bytes:
    """Return bytes `start` to `stop` of `source`."""
    if isinstance(source, bytes):
        return source[start:stop]
    with source.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)


def _described(head: bytes, meta: dict[str, Any]) -> dict[str, Any]:
    described = {"mediaType": sniff(head)}
    name = PurePosixPath(str(meta.get("name") or "")).name
    return {**described, "name": name} if name else described


def sniff(head: bytes) -> str:
    """Return the media type of bytes that begin with `head` (512 bytes tell all we know)."""
    for magic, media_type in MAGIC:
        if head.startswith(magic):
            return media_type
    if head.startswith(SQLITE):
        is_geopackage = head[GEOPACKAGE_ID][:2] == b"GP"
        return "application/geopackage+sqlite3" if is_geopackage else "application/vnd.sqlite3"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        is_geographic = text.startswith(b"{") and any(kind in text for kind in GEOJSON_TYPES)
        return "application/geo+json" if is_geographic else "application/json"
    return OCTETS
