"""Ask a STAC API which Items a layer is: `stac+https://<landing page>?<what>#<asset>`.

`collections`, `ids`, `bbox`, `datetime`, `query` and `filter` are what the API knows them as, lists
with commas. pystac-client asks (extra `stac`); its requests go the way of every other of a layer,
so that they reach no address and carry no key that a layer may not have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from typing_extensions import override

from geopod.errors import InvalidInputError, LayerAccessError, MissingExtraError
from geopod.layers.access import Access
from geopod.layers.hosts import check_host
from geopod.layers.remote import SEARCH_SCHEMES, RemoteFile, find_remote

MOST_ITEMS = 10_000
"""Items of one search: without `datetime` and `bbox` an archive has millions."""
_MOST_PAGE = 64 << 20
_LISTS = ("collections", "ids", "bbox", "query")
_TEXTS = ("datetime", "filter")
_MALFORMED = (
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What pystac stumbles with over JSON that is no STAC."""


def is_search(href: str) -> bool:
    """Say whether a uri of a layer is a search."""
    return href.partition("://")[0] in SEARCH_SCHEMES


def search_items(href: str, *, path_id: str, access: Access) -> Iterator[dict[str, Any]]:
    """Yield the STAC Items that a search finds now.

    Raises LayerAccessError for an API that refuses or is none, and for more than `MOST_ITEMS`;
    MissingExtraError without pystac-client; InvalidInputError for what no search knows.
    """
    address, _, query = href.removeprefix("stac+").partition("?")
    wanted = _read_query(query)
    root = find_remote(address, access, path_id=path_id)
    try:
        from pystac.errors import STACError
        from pystac_client import Client
        from pystac_client.errors import ClientTypeError
        from pystac_client.exceptions import APIError
    except ImportError as error:
        raise MissingExtraError.needed(
            extra="stac", purpose="A STAC search as a layer", module=str(error.name)
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of APIs that conform to less than they say
            client = Client.open(address, stac_io=_fenced_io(root))
            search = client.search(method="GET", max_items=MOST_ITEMS + 1, **wanted)
            for number, item in enumerate(search.items_as_dicts()):
                if number == MOST_ITEMS:
                    raise _unreadable(root, f"more than {MOST_ITEMS} items; narrow datetime, bbox")
                yield item
    except LayerAccessError:
        raise
    except (APIError, ClientTypeError, STACError, *_MALFORMED) as error:
        raise _unreadable(root, str(error) or type(error).__name__) from error


def _read_query(query: str) -> Mapping[str, Any]:
    """Return the arguments of `Client.search`; raises InvalidInputError for a strange name."""
    wanted: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in (*_LISTS, *_TEXTS):
            raise InvalidInputError.value(
                name="uri",
                value=name,
                why=f"is nothing that a search has; there are {', '.join((*_LISTS, *_TEXTS))}",
            )
        wanted[name] = value.split(",") if name in _LISTS else value
    if "bbox" in wanted:
        try:
            wanted["bbox"] = [float(side) for side in wanted["bbox"]]
        except ValueError as error:
            raise InvalidInputError.value(
                name="bbox", value=wanted["bbox"], why="must be four numbers, in degrees"
            ) from error
    return wanted


def _fenced_io(root: RemoteFile) -> Any:
    """Return what pystac-client asks with: the layer's own access, keys for the API's host only."""
    from pystac_client.stac_api_io import StacApiIO

    class FencedIO(StacApiIO):
        @override
        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,  # an API sets none of ours
            parameters: dict[str, Any] | None = None,
        ) -> str:
            if (method or "GET").upper() != "GET":
                raise _unreadable(root, f"{urlsplit(href).path} asks for {method}")
            url = urljoin(root.href, href)
            if parameters:
                url += ("&" if "?" in url else "?") + urlencode(parameters)
            return _read_page(root, url)

    return FencedIO(max_retries=None)


def _read_page(root: RemoteFile, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise _unreadable(root, f"it leads to {parts.scheme}://")
    is_same = (parts.scheme, parts.netloc) == urlsplit(root.href)[:2]
    check_host(url, root.access, path_id=root.path_id)
    page = replace(root, href=url, bucket=parts.netloc, keys=root.keys if is_same else {})
    answer = page.probe(_MOST_PAGE)
    if answer.size > len(answer.body):
        raise _unreadable(root, f"one page has {answer.size} bytes, {_MOST_PAGE} is the limit")
    return answer.body.decode("utf-8", errors="replace")


def _unreadable(root: RemoteFile, words: str) -> LayerAccessError:
    return LayerAccessError.unreachable(
        path_id=root.path_id, words=f"search of {root.href}: {words}", details={"href": root.href}
    )
