"""A small Ellipsis Drive on loopback: one raster and one vector path, tiles, pages and a token.

It answers as the `ellipsis` package 3.3.12 expects, which the tests have read from it too.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyproj
import rasterio
import tifffile
from numpy.typing import NDArray
from served_builders import served

RASTER = "7b0a5ea2-3a0a-4e52-9d3c-3c6ad1f0f3a1"
VECTOR = "0c1dd0c8-5e0d-4c39-8d0f-0e9f2b6c2b11"
FOLDER = "5f9f0e5e-52f7-4c0c-8a0e-bd3b1b1c7e9d"
MAY = "9a3f1f7e-0f0b-4a3e-9f57-7d3b6a1f2c10"
JUNE = "1d2c3b4a-5e6f-4a0b-8c9d-0e1f2a3b4c5d"
TRASHED = "2d2c3b4a-5e6f-4a0b-8c9d-0e1f2a3b4c5d"
HALF_EARTH = 20037508.342789244
DATE = {"from": "2024-05-01T00:00:00.000Z", "to": "2024-05-02T00:00:00.000Z"}
LATER = {"from": "2024-06-01T00:00:00.000Z", "to": "2024-06-02T00:00:00.000Z"}


@dataclass
class TiledRaster:
    """Pixels on the tiles of a zoom; the last band says where there are any."""

    values: NDArray[Any]
    zoom: int = 12
    x: int = 2100
    y: int = 1300

    @property
    def pixel(self) -> float:
        return 2 * HALF_EARTH / (256 << self.zoom)

    @property
    def transform(self) -> Any:
        west, north = self.x * 256 * self.pixel, self.y * 256 * self.pixel
        return rasterio.Affine(self.pixel, 0, west - HALF_EARTH, 0, -self.pixel, HALF_EARTH - north)

    def corner(self, column: float, row: float) -> tuple[float, float]:
        """Return the place of a pixel's upper left corner, in metres."""
        _, _, west, _, _, north = self.transform[:6]
        return west + column * self.pixel, north - row * self.pixel

    def bounds(self) -> dict[str, Any]:
        """Return its outline in degrees."""
        rows, columns = self.values.shape[1:]
        change = pyproj.Transformer.from_crs(3857, 4326, always_xy=True)
        west, north = change.transform(*self.corner(0, 0))
        east, south = change.transform(*self.corner(columns, rows))
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return {"type": "Polygon", "coordinates": [ring]}

    def tile(self, zoom: int, x: int, y: int) -> NDArray[Any] | None:
        row, column = (y - self.y) * 256, (x - self.x) * 256
        if zoom != self.zoom or row < 0 or column < 0:
            return None
        part = self.values[:, row : row + 256, column : column + 256]
        return part if part.size and part[-1].any() else None


@dataclass
class EllipsisDrive:
    """What is on it, how it answers, and what was asked of it."""

    raster: TiledRaster
    others: dict[str, TiledRaster] = field(default_factory=dict)
    """Pixels of timestamps that have others."""
    features: list[dict[str, Any]] = field(default_factory=list)
    token: str = ""
    page: int = 7
    """Features of a page; it does not give more, whatever is asked for."""
    pages_of_bands: bool = False
    """Each band is a page of the TIFF, not a plane."""
    url: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    """Path, query and headers of each request."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Of what it says of its timestamps."""
    instead: dict[str, Any] = field(default_factory=dict)
    """End of a path → what is answered to all requests, or (a list) to the next ones: a status,
    bytes, JSON, `cut` in the middle of what would be answered, or `-> <url>`."""

    def uri(self, path: str, timestamp: str = "") -> str:
        return f"ellipsis+{self.url}/{path}" + (f"/{timestamp}" if timestamp else "")

    def routes(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    def tiles(self) -> list[str]:
        return [path.partition("/tile/")[2] for path in self.routes() if "/tile/" in path]

    def answer(self, path: str, query: dict[str, str]) -> Any:
        found = re.fullmatch(rf"/path/{RASTER}/raster/timestamp/(\S+)/tile/(\d+)/(\d+)/(\d+)", path)
        if found and query.get("applyStyle") == "false":
            zoom, x, y = map(int, found.groups()[1:])
            return self._tiff(self.others.get(found[1], self.raster).tile(zoom, x, y))
        if path.endswith("/bounds"):
            return self.raster.bounds()
        if path.endswith("/listFeatures"):
            return self._features(query)
        described = {
            FOLDER: {"id": FOLDER, "type": "folder", "folder": {}},
            RASTER: self._raster_path(),
            VECTOR: self._vector_path(),
        }
        return described.get(path.removeprefix("/path/"), 404)

    def _stamp(self, name: str, **told: Any) -> dict[str, Any]:
        told = {"id": name, "status": "active", "trashed": False, "date": DATE, **told}
        return {**told, **self.changes.get(name, {})}

    def _raster_path(self) -> dict[str, Any]:
        bands = [
            {"number": number, "name": f"band {number}"}
            for number in range(1, 1 + len(self.raster.values))
        ]
        zoom = self.raster.zoom
        return {
            "id": RASTER, "type": "raster", "yourAccess": {"accessLevel": 100},
            "raster": {
                "bands": bands, "asJpg": False, "format": self.raster.values.dtype.name,
                "timestamps": [
                    self._stamp(JUNE, zoom=zoom, tarZoom=None, date=LATER),
                    self._stamp(MAY, zoom=zoom, tarZoom=None),
                    self._stamp(TRASHED, zoom=zoom, trashed=True, date=LATER),
                ],
                **self.changes.get(RASTER, {}),
            },
        }  # fmt: skip

    def _vector_path(self) -> dict[str, Any]:
        return {
            "id": VECTOR, "type": "vector", "yourAccess": {"accessLevel": 100},
            "vector": {"timestamps": [self._stamp(MAY, zoom=3, size=len(self.features))]},
        }  # fmt: skip

    def _features(self, query: dict[str, str]) -> dict[str, Any]:
        wanted = min(self.page, int(query["pageSize"]))
        start = json.loads(query.get("pageStart", "{}")).get("row", 0)
        after = start + wanted
        return {
            "result": {"type": "FeatureCollection", "features": self.features[start:after]},
            "size": wanted,
            "nextPageStart": {"row": after} if after < len(self.features) else None,
        }

    def _tiff(self, tile: NDArray[Any] | None) -> bytes | int:
        if tile is None:
            return 204
        file = io.BytesIO()
        how = {} if self.pages_of_bands else {"planarconfig": "separate"}
        tifffile.imwrite(
            file, tile, photometric="minisblack", metadata=None, compression="zlib", **how
        )
        return file.getvalue()


def a_raster(
    *, bands: int = 2, rows: int = 512, columns: int = 768, dtype: str = "float32"
) -> TiledRaster:
    """A raster whose values tell its pixels apart, with a hole and without one of its tiles."""
    whole = np.iinfo(dtype).max if dtype.startswith("u") else 1
    count = bands * rows * columns
    values = np.arange(count).reshape(bands, rows, columns) % (251 if dtype == "uint8" else count)
    there = np.full((1, rows, columns), whole)
    there[:, 40:90, 300:500] = 0
    there[:, 256:, 512:] = 0
    return TiledRaster(np.concatenate([values * (there > 0), there]).astype(dtype))


def a_feature(number: int, *, name: str = "", **properties: Any) -> dict[str, Any]:
    """A square of the raster's ground, with an id that does not follow its number."""
    x, y = 4.58 + 0.04 * (number % 6), 54.655 + 0.012 * (number // 6)
    ring = [[x, y], [x + 0.01, y], [x + 0.01, y + 0.005], [x, y + 0.005], [x, y]]
    identity = f"{(number * 7919) % 65536:08x}-0000-4000-8000-{number:012x}"
    told = {"id": identity, "number": number, "height": number / 4, "name": name or None}
    return {
        "type": "Feature",
        "properties": {**told, **properties},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


@contextlib.contextmanager
def ellipsis_drive(raster: TiledRaster | None = None, **changes: Any) -> Iterator[EllipsisDrive]:
    """Serve a drive until the block ends."""
    drive = EllipsisDrive(raster or a_raster(), **changes)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            drive.asked.append((parts.path, query, dict(self.headers)))
            told = _instead(drive, parts.path)
            if drive.token and self.headers.get("Authorization") != f"Bearer {drive.token}":
                told = 403
            is_cut = told == "cut"
            found = drive.answer(parts.path, query) if told is None or is_cut else told
            if isinstance(found, str):
                self.send_response(302)
                self.send_header("Location", found.removeprefix("-> "))
                found = b""
            else:
                self.send_response(found if isinstance(found, int) else 200)
            self._send(found, is_cut=is_cut)

        def _send(self, found: Any, *, is_cut: bool) -> None:
            if isinstance(found, (dict, list)):
                found = json.dumps(found).encode()
            body = b"" if isinstance(found, int) else found
            if found != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # clients hang up on what is too long
                self.wfile.write(body[: len(body) // 2] if is_cut else body)

    with served(Handler) as drive.url:
        yield drive


def _instead(drive: EllipsisDrive, path: str) -> Any:
    for end, told in drive.instead.items():
        if path.endswith(end):
            return (told.pop(0) if told else None) if isinstance(told, list) else told
    return None
