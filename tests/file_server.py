"""A web server of files, run as a process: counts what is asked of it, fails as it is told.

`python file_server.py <folder>` prints its port. `PUT /__told` takes JSON (`faults`, `always`,
`token`, `ignoresRanges`, `etags`), `GET /__told` says what was asked, `DELETE /__told` forgets it.
A process of its own: some of GDAL's readers hold Python's lock while they wait for an answer.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Handler(BaseHTTPRequestHandler):
    """Answers with a file, a part of it, or a fault."""

    protocol_version = "HTTP/1.1"
    folder: Path
    orders: dict
    asked: list

    def log_message(self, *_):
        pass

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.orders.update(json.loads(body))
        self.finish_with(204)

    def do_DELETE(self):
        self.asked.clear()
        self.finish_with(204)

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        if self.path != "/__told":
            self.answer(with_body=True)
            return
        body = json.dumps(self.asked).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, *, with_body):
        path, _, query = self.path.partition("?")
        path = unquote(path)
        record = {"method": self.command, "path": path, "query": query, "sent": 0}
        record["headers"] = {name.title(): value for name, value in self.headers.items()}
        self.asked.append(record)
        queue = self.orders.get("faults", {}).get(path, [])
        fault = self.orders.get("always", {}).get(path) or (queue.pop(0) if queue else "")
        token = self.orders.get("token")
        file = self.folder / path.lstrip("/")
        if fault.startswith("-> "):
            self.finish_with(302, Location=fault[3:])
        elif fault.isdigit():
            self.finish_with(int(fault))
        elif fault == "slow":
            threading.Event().wait(4)
            self.close_connection = True
        elif token and self.headers.get("Authorization") != f"Bearer {token}":
            self.finish_with(401)
        elif not file.is_file():
            self.finish_with(404)
        else:
            self.send(file, record, cut=fault == "cut", with_body=with_body)

    def finish_with(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, file, record, *, cut, with_body):
        data = file.read_bytes()
        size = len(data)
        wanted = RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted and not self.orders.get("ignoresRanges"):
            start = int(wanted[1])
            stop = min(int(wanted[2] or size), size - 1) + 1
            if start >= size:
                self.finish_with(416)
                return
            data = data[start:stop]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        else:
            self.send_response(200)
        etag = self.orders.get("etags", {}).get(record["path"], f'"{file.stat().st_mtime_ns}"')
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", formatdate(file.stat().st_mtime, usegmt=True))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            body = data[: len(data) // 2] if cut else data
            record["sent"] = len(body)
            with contextlib.suppress(OSError):
                self.wfile.write(body)
        self.close_connection = cut


def serve(handler, folder, **more):
    """Print a port and serve there for ever; `more`: what all requests share."""
    told = {"folder": Path(folder), "orders": {}, "asked": [], **more}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (handler,), told))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # clients may hang up
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Handler, sys.argv[1])
