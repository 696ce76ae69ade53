"""The file server with what writing to Google's and Azure's object stores takes, as a process.

A folder below it is a bucket and a container. Only the calls that a store's client makes, with the
answers that it needs: create where there is none, upload in parts, list, delete.
Source: https://cloud.google.com/storage/docs/xml-api/reference-methods and
https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
"""

from __future__ import annotations

import re
import sys
import threading
from email.utils import formatdate
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from file_server import Handler, serve

LOCK = threading.Lock()


class Cloud(Handler):
    """Answers as both clouds do; which of them is asked shows in the request."""

    parts: dict

    def do_GET(self):  # noqa: N802  # http.server calls it
        query = self.query()
        if "list-type" in query or query.get("comp") == "list":
            self.note()
            self.list(query)
        else:
            super().do_GET()

    def do_PUT(self):  # noqa: N802  # http.server calls it
        if self.path == "/__told":
            super().do_PUT()
            return
        body, query = self.taken(), self.query()
        place = query.get("blockid") or query.get("partNumber")
        if place:
            self.parts[self.file(), place] = body
            self.finish_with(201, ETag=f'"{place}"')
        elif query.get("comp") == "blocklist":
            names = re.findall(r"<(?:Latest|Uncommitted)>(.*?)</", body.decode())
            self.write(b"".join(self.parts.pop((self.file(), name)) for name in names))
        else:
            self.write(body)

    def do_POST(self):  # noqa: N802  # http.server calls it
        body, query = self.taken(), self.query()
        if query.get("comp") == "batch":
            self.remove_each(re.findall(rb"^DELETE (\S+) HTTP", body, re.MULTILINE))
            return
        if "uploads" in query:
            answer = "<InitiateMultipartUploadResult><UploadId>1</UploadId>"
            self.tell(f"{answer}</InitiateMultipartUploadResult>")
            return
        numbers = re.findall(r"<PartNumber>(\d+)</", body.decode())
        answer = '<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>'
        data = b"".join(self.parts.pop((self.file(), number)) for number in numbers)
        self.write(data, answer=answer)

    def do_DELETE(self):  # noqa: N802  # http.server calls it
        if self.path == "/__told":
            super().do_DELETE()
            return
        self.taken()
        self.file().unlink(missing_ok=True)
        self.finish_with(202 if "X-Ms-Version" in self.asked[-1]["headers"] else 204)

    def remove_each(self, paths):
        """Remove the objects of a batch, and answer for each of them."""
        answers = []
        for number, path in enumerate(paths):
            (self.folder / unquote(path.decode()).lstrip("/")).unlink(missing_ok=True)
            head = f"--each\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
            answers.append(f"{head}HTTP/1.1 202 Accepted\r\n\r\n\r\n")
        self.tell("".join([*answers, "--each--\r\n"]), kind="multipart/mixed; boundary=each")

    def taken(self):
        self.note()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def note(self):
        path, _, query = self.path.partition("?")
        headers = {name.title(): value for name, value in self.headers.items()}
        record = {"method": self.command, "path": unquote(path), "query": query, "sent": 0}
        self.asked.append({**record, "headers": headers})

    def query(self):
        pairs = parse_qs(self.path.partition("?")[2], keep_blank_values=True)
        return {name: values[0] for name, values in pairs.items()}

    def file(self):
        return self.folder / unquote(self.path.partition("?")[0]).lstrip("/")

    def write(self, data, *, answer=""):
        """Write an object whole, unless it must be created and is there."""
        file = self.file()
        refusal = self.orders.get("always", {}).get(f"/{file.relative_to(self.folder)}")
        if refusal:
            self.finish_with(int(refusal))
            return
        creates = (
            self.headers.get("If-None-Match") == "*"
            or self.headers.get("x-goog-if-generation-match") == "0"
        )
        with LOCK:
            if creates and file.exists():
                is_azure = "x-ms-version" in self.headers
                self.finish_with(409 if is_azure else 412)
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f".{file.name}.part")
            part.write_bytes(data)
            part.replace(file)
        if answer:
            self.tell(answer)
        else:
            self.finish_with(201, **{"ETag": f'"{len(data)}"', "x-goog-generation": "1"})

    def list(self, query):
        """List what begins with a prefix; below a delimiter only that there is something."""
        is_azure = "comp" in query
        bucket = self.folder / self.path.partition("?")[0].strip("/")
        prefix = query.get("prefix", "")
        objects, folders = [], set()
        for file in sorted(bucket.rglob("*")):
            name = str(file.relative_to(bucket))
            if file.is_dir() or not name.startswith(prefix) or file.name.startswith("."):
                continue
            first, slash, _ = name[len(prefix) :].partition("/")
            if slash and "delimiter" in query:
                folders.add(f"{prefix}{first}/")
            else:
                objects.append((name, file.stat()))
        self.tell(azure_list(objects, folders) if is_azure else google_list(objects, folders))

    def tell(self, text, *, kind="application/xml"):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def google_list(objects, folders):
    found = "".join(
        f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
        f'<ETag>"1"</ETag><Size>{about.st_size}</Size></Contents>'
        for name, about in objects
    )
    below = "".join(
        f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
        for name in sorted(folders)
    )
    return f"<ListBucketResult>{found}{below}</ListBucketResult>"


def azure_list(objects, folders):
    found = "".join(
        f"<Blob><Name>{escape(name)}</Name><Properties>"
        f"<Last-Modified>{formatdate(about.st_mtime, usegmt=True)}</Last-Modified>"
        f"<Content-Length>{about.st_size}</Content-Length>"
        "<Content-Type>application/octet-stream</Content-Type><Etag>1</Etag></Properties></Blob>"
        for name, about in objects
    )
    below = "".join(
        f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in sorted(folders)
    )
    return f"<EnumerationResults><Blobs>{found}{below}</Blobs></EnumerationResults>"


if __name__ == "__main__":
    serve(Cloud, sys.argv[1], parts={})
