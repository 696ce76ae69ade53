"""Results to bytes and back. The agent encodes what a child hands over; the client decodes.

Kinds (how a child hands a value over) and codecs (how it is stored), by the first row that fits:
json → json; npy → npy; tree → tree; arrow → arrow; geoarrow → geoparquet; raster → geotiff;
bytes → bytes; list → list; pickle → pickle. Source: the project's SDK design, §4.

The agent treats what it encodes as hostile: sizes, headers and buffers are checked, nothing is
unpickled. Importing this loads no numpy, pandas, pyarrow or GDAL.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from geopod.api.results import Entry
from geopod.codecs import plain
from geopod.codecs.encoded import Encoded, MalformedValueError, Source, read_bytes, size_of
from geopod.codecs.files import RasterFile, ResultFile
from geopod.codecs.pickled import PickledResult, encode_pickle
from geopod.errors import MissingExtraError

__all__ = [
    "Encoded",
    "MalformedValueError",
    "PickledResult",
    "RasterFile",
    "ResultFile",
    "decode",
    "encode",
    "suffix",
]

SUFFIXES = {
    "json": ".json",
    "npy": ".npy",
    "tree": ".zip",
    "arrow": ".arrow",
    "geoparquet": ".parquet",
    "geotiff": ".tif",
    "pickle": ".pickle",
    "list": ".bin",
}


def encode(kind: str, source: Source, meta: dict[str, Any], *, workdir: Path) -> Encoded:
    """Return a handed-over value as it is committed.

    `source`: what the child wrote; `meta`: what it says of it, by kind (see the encoders);
    `workdir`: where a file may be written. Raises MalformedValueError for anything else than the
    kind promises.
    """
    try:
        return _encode(kind, source, meta, workdir)
    except ImportError as error:
        raise _missing(f"Encoding {kind}", error) from error


def _encode(kind: str, source: Source, meta: dict[str, Any], workdir: Path) -> Encoded:  # noqa: PLR0911  # one row each
    match kind:
        case "json":
            return plain.encode_json(source, meta)
        case "bytes":
            return plain.encode_bytes(source, meta)
        case "list":
            return plain.encode_list(source, meta)
        case "pickle":
            return encode_pickle(source, meta)
        case "npy":
            from geopod.codecs import array  # numpy

            return array.encode_array(source, meta)
        case "tree":
            from geopod.codecs import tree  # numpy

            return tree.encode_tree(source, meta)
        case "arrow":
            from geopod.codecs import table  # pyarrow

            return table.encode_table(source, meta)
        case "geoarrow":
            from geopod.codecs import features  # pyarrow, shapely, pyproj

            return features.encode_features(source, meta, workdir=workdir)
        case "raster":
            from geopod.codecs import raster  # GDAL

            return raster.encode_raster(source, meta, workdir=workdir)
        case _:
            raise MalformedValueError(f"a value of unknown kind {kind!r}")


def decode(
    entry: Entry, data: Source, *, allow_pickle: bool = False, large_result: bool = False
) -> Any:
    """Return what `f` returned, from the manifest's entry and the result's bytes.

    `data`: the bytes, or a file that holds nothing else; large arrays in a file are mapped, not
    read. `allow_pickle` opens a pickle at once; `large_result` gives files as handles. Raises
    MalformedValueError for damaged bytes, MissingExtraError where a library is missing.
    """
    if size_of(data) != entry.bytes:
        raise MalformedValueError(f"{size_of(data)} bytes where the manifest says {entry.bytes}")
    try:
        return _decode(entry, data, allow_pickle=allow_pickle, large_result=large_result)
    except ImportError as error:
        if entry.codec == "pickle":
            raise
        raise _missing(f"Reading a result stored as {entry.codec}", error) from error


def _decode(entry: Entry, data: Source, *, allow_pickle: bool, large_result: bool) -> Any:  # noqa: PLR0911  # one row each
    match entry.codec:
        case "json":
            return plain.decode_json(data)
        case "bytes":
            return _file(data, entry.meta) if large_result else read_bytes(data)
        case "list":
            return _files(data, entry.meta, large_result=large_result)
        case "geotiff":
            return RasterFile(data)
        case "pickle":
            kind = str(entry.meta.get("type", "object"))
            marked = PickledResult(kind, entry.bytes, entry.sha256, data)
            return marked.load() if allow_pickle else marked
        case "npy":
            from geopod.codecs import array  # numpy

            return array.load_array(data)
        case "tree":
            from geopod.codecs import tree  # numpy

            return tree.decode_tree(data)
        case "arrow":
            from geopod.codecs import table  # pyarrow

            return table.decode_table(data, entry.meta)
        case "geoparquet":
            from geopod.codecs import table  # pyarrow, geopandas

            return table.decode_features(data, entry.meta)
        case _:
            raise MalformedValueError(f"a result of unknown codec {entry.codec!r}")


def suffix(entry: Entry) -> str:
    """Return the file suffix of an entry's bytes: `.tif`, `.parquet`, `.json`."""
    if entry.codec != "bytes":
        return SUFFIXES.get(entry.codec, ".bin")
    named = PurePosixPath(str(entry.meta.get("name", ""))).suffix
    return named or plain.SUFFIXES.get(str(entry.meta.get("mediaType")), ".bin")


def _file(data: Source, meta: dict[str, Any]) -> ResultFile:
    media_type = str(meta.get("mediaType", plain.OCTETS))
    return ResultFile(data, media_type=media_type, name=str(meta.get("name", "")))


def _files(data: Source, meta: dict[str, Any], *, large_result: bool) -> list[Any]:
    found: list[Any] = []
    for start, stop, item in plain.item_bounds(meta, size_of(data)):
        part = plain.read_range(data, start, stop)
        found.append(_file(part, item) if large_result else part)
    return found


def _missing(purpose: str, error: ImportError) -> MissingExtraError:
    return MissingExtraError.needed(extra="geo", purpose=purpose, module=str(error.name))
