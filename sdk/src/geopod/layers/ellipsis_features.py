"""Features of Ellipsis Drive, listed page by page into one GeoParquet that any process here reads.

Rows are in the order of the features' ids, whatever the order of the pages: a row has the same
number wherever it was listed. Memory holds one page, and the ids.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import shapely

from geopod.errors.wording import size_text
from geopod.layers.ellipsis import EllipsisPlace
from geopod.layers.ellipsis_info import EllipsisInfo
from geopod.layers.ellipsis_table import RAW, write_listing

_PAGE_ROWS = 2_000
_MOST_PAGE = 64 << 20
_MOST_BYTES = 4 << 30
"""Of all pages: what they make is written to disk."""
_MOST_IN_POD = 256 << 20
"""The same, where that is a pod's `/tmp`, of 1 GiB."""
_MOST_FEATURES = 1 << 25
_PREFIX = "ellipsis-"
_KEPT_S = 7 * 24 * 3600.0


class _Feature(msgspec.Struct):
    """A feature of a page, its parts still text."""

    geometry: msgspec.Raw = msgspec.Raw(b"null")
    properties: msgspec.Raw = msgspec.Raw(b"null")


class _Found(msgspec.Struct):
    features: list[_Feature]


class _Page(msgspec.Struct, rename="camel"):
    result: _Found
    next_page_start: Any = None


class _Identity(msgspec.Struct):
    id: str | None = None


_read_identity = msgspec.json.Decoder(_Identity).decode


def listed_features(place: EllipsisPlace, info: EllipsisInfo) -> Path:
    """Return the GeoParquet of a timestamp's features, listing them where nobody has yet.

    Its name holds the version: features that changed are listed again. Raises LayerAccessError.
    """
    folder = place.access.listings or _own_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    where = f"{place.api.href} {place.path} {info.timestamp}"
    stem = f"{_PREFIX}{sha256(where.encode()).hexdigest()[:24]}"
    target = folder / f"{stem}-{sha256(info.version.encode()).hexdigest()[:24]}.parquet"
    with contextlib.suppress(FileNotFoundError):
        os.utime(target)  # it is asked for; `touch` would make one that another process removes
        return target
    work = folder / f".{stem}-{secrets.token_hex(8)}"
    work.mkdir(mode=0o700)
    try:
        rows = work / "rows.arrow"
        _list(place, info, rows)
        try:
            write_listing(rows, work / "whole.parquet")
        except msgspec.MsgspecError as error:
            raise place.refused(f"its features cannot be read: {error}") from error
        (work / "whole.parquet").replace(target)
        _let_go(folder, stem, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _let_go(folder: Path, stem: str, newest: Path) -> None:
    """Remove older versions of a listing, and all that nobody has asked for in a week."""
    for path in folder.glob(f"{_PREFIX}*.parquet"):
        with contextlib.suppress(FileNotFoundError):  # by another process
            age = newest.stat().st_mtime - path.stat().st_mtime
            if (path != newest and path.name.startswith(stem)) or age > _KEPT_S:
                path.unlink()


@cache
def _own_folder() -> Path:
    """Return a folder of this process, which ends with it."""
    folder = tempfile.mkdtemp(prefix="geopod-listings-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _list(place: EllipsisPlace, info: EllipsisInfo, path: Path) -> None:
    """Write the features as they come: id, WKB, and their properties as JSON."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, RAW) as writer:
        for features in _pages(place, info):
            try:
                writer.write_batch(_batch(features))
            except (UnicodeError, msgspec.MsgspecError, shapely.errors.ShapelyError) as error:
                raise place.refused(f"a page of its features cannot be read: {error}") from error


def _pages(place: EllipsisPlace, info: EllipsisInfo) -> Iterator[list[_Feature]]:
    route = f"/vector/timestamp/{info.timestamp}/listFeatures"
    most = _MOST_IN_POD if place.access.is_shared else _MOST_BYTES
    start: Any = None
    rows = size = 0
    while True:
        query = {"pageSize": _PAGE_ROWS, **({} if start is None else {"pageStart": start})}
        body = place.ask(route, most_bytes=_MOST_PAGE, query=query).body
        try:
            page = msgspec.json.decode(body, type=_Page)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise place.refused(f"a page of its features cannot be read: {error}") from error
        features, after = page.result.features, page.next_page_start
        rows, size = rows + len(features), size + len(body)
        if rows > _MOST_FEATURES or size > most:
            raise place.refused(
                f"it has more than {rows:,} features in {size_text(size)}, {_MOST_FEATURES:,} and "
                f"{size_text(most)} are the limits; export it as GeoParquet"
            )
        yield features
        if after is None:
            return
        # A list that never ends would be read for ever.
        if after == start or not features:
            raise place.refused("a page of its features leads nowhere")
        start = after


def _batch(features: Sequence[_Feature]) -> pa.RecordBatch:
    texts = [bytes(each.properties) for each in features]
    properties = [b"{}" if text == b"null" else text for text in texts]
    shapes = [bytes(each.geometry).decode() for each in features]
    found = shapely.from_geojson([None if shape == "null" else shape for shape in shapes])
    return pa.RecordBatch.from_arrays(
        [
            pa.array([_read_identity(text).id for text in properties], pa.string()),
            pa.array(shapely.to_wkb(found, flavor="iso"), pa.binary()),
            pa.array([text.decode() for text in properties], pa.string()),
        ],
        schema=RAW,
    )
