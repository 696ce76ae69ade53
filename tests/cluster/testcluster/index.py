"""A static package index (PEP 503, with the `.metadata` files of PEP 658) over a folder of wheels.

Run as `python -m cluster.testcluster.index FOLDER`. `/simple/` is open, `/private/simple/`
wants a name and a password.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import sys
import zipfile
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

PORT = 8081
USER, PASSWORD = "builder", "index-secret"  # of a throw-away index
PRIVATE = "/private"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file of the index."""

    path: Path
    sha256: str
    metadata: bytes

    @property
    def project(self) -> str:
        """Normalised name of the project, by PEP 503."""
        return re.sub(r"[-_.]+", "-", self.path.name.split("-")[0]).lower()


def read_wheels(folder: Path) -> list[Wheel]:
    """Every wheel of a folder, with its hash and its metadata."""
    wheels = []
    for path in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(path) as archive:
            name = next(
                entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA")
            )
            metadata = archive.read(name)
        wheels.append(Wheel(path, hashlib.sha256(path.read_bytes()).hexdigest(), metadata))
    return wheels


class Index(ThreadingHTTPServer):
    """Serves the wheels that are in the folder when a page is asked for."""

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        super().__init__(address, Handler)
        self._folder = folder
        self._wheels: dict[str, Wheel] = {}
        self._names: frozenset[str] = frozenset()

    def wheels(self) -> dict[str, Wheel]:
        """File name → wheel; read again when a file was added."""
        names = frozenset(path.name for path in self._folder.glob("*.whl"))
        if names != self._names:
            self._wheels = {wheel.path.name: wheel for wheel in read_wheels(self._folder)}
            self._names = names
        return self._wheels


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one segment
    server: Index

    def do_GET(self) -> None:  # the base class's name
        """One page or one file."""
        path = unquote(urlsplit(self.path).path)
        if path.startswith(PRIVATE):
            path = path.removeprefix(PRIVATE)
            if not self._is_known():
                self._send(
                    HTTPStatus.UNAUTHORIZED, b"a name and a password are needed\n", "text/plain"
                )
                return
        self._answer(path)

    do_HEAD = do_GET  # noqa: N815  # the base class's name

    def _is_known(self) -> bool:
        wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _answer(self, path: str) -> None:
        wheels = self.server.wheels()
        project = re.fullmatch(r"/simple/([^/]+)/", path)
        file = path.removeprefix("/files/")
        if path == "/simple/":
            names = sorted({wheel.project for wheel in wheels.values()})
            self._page("".join(f'<a href="{name}/">{name}</a><br>\n' for name in names))
        elif project:
            found = [wheel for wheel in wheels.values() if wheel.project == project.group(1)]
            if found:
                self._page("".join(map(link, found)))
            else:
                self._send(HTTPStatus.NOT_FOUND, b"no such project\n", "text/plain")
        elif file in wheels:
            self._send(HTTPStatus.OK, wheels[file].path.read_bytes(), "application/zip")
        elif file.removesuffix(".metadata") in wheels:
            content = wheels[file.removesuffix(".metadata")].metadata
            self._send(HTTPStatus.OK, content, "text/plain; charset=utf-8")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"no such file\n", "text/plain")

    def _page(self, links: str) -> None:
        content = f"<!DOCTYPE html>\n<html><body>\n{links}</body></html>\n"
        self._send(HTTPStatus.OK, content.encode(), "text/html; charset=utf-8")

    def _send(self, status: HTTPStatus, content: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def link(wheel: Wheel) -> str:
    """A wheel's line on its project's page; both prefixes lead to `files` two levels up."""
    name = wheel.path.name
    metadata = f"sha256={hashlib.sha256(wheel.metadata).hexdigest()}"
    return (
        f'<a href="../../files/{quote(name)}#sha256={wheel.sha256}" '
        f'data-core-metadata="{metadata}">{html.escape(name)}</a><br>\n'
    )


def main() -> None:
    """Serve until killed."""
    with Index(("", PORT), Path(sys.argv[1])) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
