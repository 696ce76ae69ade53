"""A STAC API on loopback for tests: searches by collection, box and date, a page at a time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from served_builders import served

_CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
]


@dataclass
class StacApi:
    """The items it knows, and what was asked of it."""

    items: list[dict[str, Any]]
    page: int = 1
    """Items per page."""
    url: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    """Path, query and headers of each request."""
    next_link: str = ""
    """Where it says that the next page is; empty: on itself."""

    def search_uri(self, asset: str = "", **wanted: str) -> str:
        return f"stac+{self.url}?{urlencode(wanted)}" + (f"#{asset}" if asset else "")

    def answer(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        if path == "/":
            return {
                "type": "Catalog", "id": "api", "description": "", "stac_version": "1.0.0",
                "conformsTo": _CONFORMS,
                "links": [
                    {"rel": "self", "href": self.url},
                    {"rel": "search", "href": f"{self.url}/search", "method": "GET"},
                ],
            }  # fmt: skip
        return self._search(query) if path == "/search" else None

    def _search(self, query: dict[str, str]) -> dict[str, Any]:
        found = [item for item in self.items if _is_wanted(item, query)]
        start = int(query.get("token", "0"))
        features = found[start : start + self.page]
        links = []
        if start + self.page < len(found):
            after = urlencode({**query, "token": str(start + self.page)})
            href = self.next_link or f"{self.url}/search"
            links = [{"rel": "next", "href": f"{href}?{after}", "method": "GET"}]
        return {"type": "FeatureCollection", "features": features, "links": links}


def _is_wanted(item: dict[str, Any], query: dict[str, str]) -> bool:
    if "collections" in query and item["collection"] not in query["collections"].split(","):
        return False
    if "bbox" in query:
        west, south, east, north = map(float, query["bbox"].split(","))
        left, bottom, right, top = item["bbox"]
        if left > east or right < west or bottom > north or top < south:
            return False
    first, _, last = query.get("datetime", "0/9").partition("/")
    return first <= item["properties"]["datetime"] <= (last or first)


def an_item(name: str, href: str, *, date: str, bbox: Sequence[float], **changes: Any) -> Any:
    """A STAC Item with one asset of data and a thumbnail."""
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "dem",
        "geometry": None, "bbox": list(bbox), "properties": {"datetime": date},
        "links": [],
        "assets": {
            "data": {"href": href, "roles": ["data"]},
            "thumbnail": {"href": "x.png", "roles": ["thumbnail"]},
        },
        **changes,
    }  # fmt: skip


@contextlib.contextmanager
def stac_api(items: list[dict[str, Any]], **changes: Any) -> Iterator[StacApi]:
    """Serve the items until the block ends."""
    api = StacApi(items, **changes)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            api.asked.append((parts.path, query, dict(self.headers)))
            found = api.answer(parts.path or "/", query)
            body = json.dumps(found).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with served(Handler) as api.url:
        yield api
