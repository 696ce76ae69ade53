"""What names a layer's files: a list, a STAC Item, ItemCollection, Collection or search.

Read once, at plan time; the plan holds what they named and which version they had. What they name
is checked like any uri of the layer, and an index on the web names nothing on this machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import msgspec

from geopod.errors import LayerAccessError
from geopod.layers.access import Access
from geopod.layers.ellipsis import find_ellipsis, is_ellipsis
from geopod.layers.remote import RemoteFile
from geopod.layers.sources import (
    LayerSource,
    find_place,
    is_dataset_folder,
    read_head,
    read_versions,
)
from geopod.layers.stac_search import is_search, search_items

MOST_FILES = 100_000
_MOST_BYTES = 64 << 20
_LISTS = {".txt", ".lst", ".list"}
_JSONS = {".json", ".geojson"}
_DATA_ROLES = {"data", "visual", "reflectance"}
_DEPTH = 4
"""Catalogs in catalogs that are followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """An index that is being read."""

    href: str
    asset: str
    """Which asset of each Item; empty: the only one that holds data."""
    path_id: str
    access: Access
    seen: set[str] = field(default_factory=set)
    """Documents read so far, of this index and of those that it leads to."""


def expand_source(source: LayerSource, access: Access) -> tuple[LayerSource, dict[str, str]]:
    """Return the source with every index replaced by the files it names, and the indexes' versions.

    `<item>.json#<asset>` names one asset of a STAC Item. A path of Ellipsis Drive gets its newest
    timestamp. A search has no version: what it finds at plan time is the layer.

    Raises LayerAccessError.
    """
    hrefs: list[str] = []
    versions: dict[str, str] = {}
    for href in source.hrefs:
        if is_ellipsis(href):
            hrefs.append(_newest(href, source, access))
            continue
        address, asset = _split_fragment(href)
        index = _Index(href=address, asset=asset, path_id=source.path_id, access=access)
        if is_search(address):
            hrefs += _search(index)
            continue
        named = _read_index(index)
        if named is None:
            hrefs.append(href)
            continue
        versions |= read_versions((address,), path_id=source.path_id, access=access)
        hrefs += named
    if len(hrefs) > MOST_FILES:
        raise LayerAccessError.unreachable(
            path_id=source.path_id,
            words=f"it names {len(hrefs)} files, {MOST_FILES} is the limit",
        )
    if len(set(map(is_ellipsis, hrefs))) > 1:
        raise LayerAccessError.unreachable(
            path_id=source.path_id, words="places of Ellipsis Drive and others make no mosaic"
        )
    return msgspec.structs.replace(source, hrefs=tuple(hrefs)), versions


def _newest(href: str, source: LayerSource, access: Access) -> str:
    """Return a place of Ellipsis Drive with its timestamp; the newest one where it names none."""
    from geopod.layers.ellipsis_info import read_info

    place = find_ellipsis(href, access, path_id=source.path_id)
    return href if place.timestamp else f"{href.rstrip('/')}/{read_info(place).timestamp}"


def _split_fragment(href: str) -> tuple[str, str]:
    """Return an address and the asset that it names, if it is that of an index."""
    address, _, fragment = href.rpartition("#") if "#" in href else (href, "", "")
    if is_search(address) or PurePosixPath(urlsplit(address).path).suffix.lower() in _JSONS:
        return address, unquote(fragment)
    return href, ""


def _read_index(index: _Index) -> list[str] | None:
    """Return the uris that an index names; None: it is a file of data."""
    suffix = PurePosixPath(urlsplit(index.href).path).suffix.lower()
    if suffix not in _LISTS | _JSONS:
        return None
    place = find_place(index.href, path_id=index.path_id, access=index.access)
    if is_dataset_folder(place, path_id=index.path_id):
        return None
    head = read_head(place, path_id=index.path_id)
    if suffix in _JSONS and b'"stac_version"' not in head:
        return None
    index.seen.add(_name_of(place))
    text = _read_text(index, place)
    if suffix in _LISTS:
        lines = (line.strip() for line in text.splitlines())
        return [_resolve(index, line) for line in lines if line and not line.startswith("#")]
    return _newest_last(_read_stac(index, _parse(index, text), depth=0))


def _search(index: _Index) -> list[str]:
    """Return the uris of the Items that a search finds."""
    found: list[tuple[str, str]] = []
    api = index.href.removeprefix("stac+").partition("?")[0]
    for item in search_items(index.href, path_id=index.path_id, access=index.access):
        links = item.get("links") or ()
        own = next((str(link["href"]) for link in links if link.get("rel") == "self"), "")
        found += _read_stac(replace(index, href=urljoin(api, own)), item, depth=0)
    if not found:
        raise _refused(index, f"{index.href} finds nothing")
    return _newest_last(found)


def _newest_last(found: Iterable[tuple[str, str]]) -> list[str]:
    """Return uris by date: a later file of a mosaic covers those before it."""
    return [href for _, href in sorted(found, key=lambda one: one[0])]


def _read_stac(index: _Index, node: dict[str, Any], *, depth: int) -> Iterator[tuple[str, str]]:
    """Yield (datetime, uri) of the Items that a STAC object is or leads to, each document once."""
    kind = node.get("type")
    if kind == "Feature":
        properties = node.get("properties") or {}
        date = properties.get("datetime") or properties.get("start_datetime") or ""
        yield str(date), _resolve(index, _choose_asset(index, node))
    elif kind == "FeatureCollection":
        for item in node.get("features", ()):
            yield from _read_stac(index, item, depth=depth)
    elif kind in {"Collection", "Catalog"} and depth < _DEPTH:
        for link in node.get("links", ()):
            if link.get("rel") in {"item", "child"}:
                below = replace(index, href=_resolve(index, str(link["href"])))
                if (text := _read_new(below)) is not None:
                    yield from _read_stac(below, _parse(below, text), depth=depth + 1)
    else:
        raise _refused(index, f"{index.href} is STAC of type {kind!r} at depth {depth}")


def _choose_asset(index: _Index, item: dict[str, Any]) -> str:
    """Return the href of the asset asked for, or of the only one that holds data."""
    assets: dict[str, Any] = item.get("assets") or {}
    if index.asset:
        if index.asset in assets:
            return str(assets[index.asset]["href"])
        raise _refused(
            index,
            f"item {item.get('id')!r} has no asset {index.asset!r}, but {', '.join(assets)}",
        )
    data = [
        name for name, asset in assets.items() if _DATA_ROLES & set(asset.get("roles") or ("data",))
    ]
    if len(data) == 1:
        return str(assets[data[0]]["href"])
    raise _refused(
        index,
        f"item {item.get('id')!r} has {len(data)} assets of data ({', '.join(data[:16])}); "
        f"name one: {index.href}#<asset>",
    )


def _resolve(index: _Index, named: str) -> str:
    """Return what an index names as an absolute uri."""
    is_remote = not index.href.startswith(("/", "file:"))
    if "://" not in named and not named.startswith("/"):
        if is_remote:
            scheme, _, rest = index.href.partition("://")
            return f"{scheme}{urljoin(f'http://{rest}', named)[4:]}"
        place = find_place(index.href, path_id=index.path_id, access=index.access)
        return str((place if isinstance(place, Path) else Path(index.href)).parent / named)
    if is_remote and named.startswith(("/", "file:")):
        raise _refused(index, f"{urldefrag(index.href)[0]} names a file of this machine: {named}")
    return named


def _read_new(index: _Index) -> str | None:
    """Return the text of a document that a link leads to; None: it was read before.

    A catalog may lead back to itself, and two of them to one Item.
    """
    place = find_place(index.href, path_id=index.path_id, access=index.access)
    name = _name_of(place)
    if name in index.seen:
        return None
    index.seen.add(name)
    if len(index.seen) > MOST_FILES:
        raise _refused(index, f"it leads to more than {MOST_FILES} documents")
    return _read_text(index, place)


def _name_of(place: Path | RemoteFile) -> str:
    """Return the one name of a document that links may give several."""
    return urldefrag(place.href)[0] if isinstance(place, RemoteFile) else str(place.resolve())


def _read_text(index: _Index, place: Path | RemoteFile) -> str:
    if isinstance(place, RemoteFile):
        body, size = (answer := place.probe(_MOST_BYTES)).body, answer.size
    else:
        size = place.stat().st_size
        body = place.read_bytes() if size <= _MOST_BYTES else b""
    if size > _MOST_BYTES:
        raise _refused(index, f"{index.href} has {size} bytes, an index {_MOST_BYTES} at most")
    return body.decode("utf-8", errors="replace")


def _parse(index: _Index, text: str) -> dict[str, Any]:
    try:
        node = json.loads(text)
    except ValueError as error:
        raise _refused(index, f"{index.href} is not JSON ({error})") from error
    if not isinstance(node, dict):
        raise _refused(index, f"{index.href} is not a STAC object")
    return node


def _refused(index: _Index, words: str) -> LayerAccessError:
    return LayerAccessError.unreachable(
        path_id=index.path_id, words=words, details={"href": index.href}
    )
