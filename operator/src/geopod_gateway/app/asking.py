"""What a request says in its headers, each at most once; anything else is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web
from geopod.api import deployment

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WRITER = re.compile(r"[A-Za-z0-9-]{8,64}")


class RefusedError(Exception):
    """The request is not carried out; becomes the answer."""

    def __init__(
        self, status: int, reason: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Upload:
    """What the headers of a PUT (or of an upload in parts) ask for."""

    digest: str
    """Empty: not said."""
    writer: str
    if_absent: bool


def single(request: web.BaseRequest, name: str) -> str:
    """Return a header's only value, empty if it is not there."""
    values = request.headers.getall(name, ())
    if len(values) > 1:
        raise RefusedError(400, "DuplicateHeader", f"{name} is there {len(values)} times.")
    return values[0] if values else ""


def upload(request: web.BaseRequest) -> Upload:
    """Return what is asked of an upload."""
    digest = single(request, deployment.DIGEST_HEADER)
    if digest:
        sha256(digest)
    writer = single(request, deployment.WRITER_HEADER)
    if writer and not _WRITER.fullmatch(writer):
        raise RefusedError(400, "BadWriter", "A writer is 8 to 64 letters and digits.")
    condition = single(request, "If-None-Match")
    if condition not in {"", "*"}:
        raise RefusedError(400, "BadCondition", "Of a PUT, If-None-Match is * or absent.")
    if single(request, "Content-Encoding") not in {"", "identity"}:
        raise RefusedError(415, "BadEncoding", "Bytes are stored as they are sent.")
    return Upload(digest, writer, condition == "*")


def sha256(text: str) -> str:
    """Return a sha256 that a request names; raises RefusedError."""
    if not _SHA256.fullmatch(text):
        raise RefusedError(400, "BadDigest", "A sha256 is 64 lower-case hex digits.")
    return text


def etags(request: web.BaseRequest, name: str) -> list[str]:
    """Return the ETags of a condition, without their quotes; `*` is one."""
    text = single(request, name)
    return [word.strip().removeprefix("W/").strip('"') for word in text.split(",") if word.strip()]


def wanted_range(request: web.BaseRequest, size: int) -> tuple[int, int] | None:
    """Return first byte and length of the one range asked for; None: the whole object.

    Raises RefusedError 416 for a range behind the end. What is no range is ignored (RFC 9110).
    """
    match = _RANGE.fullmatch(single(request, "Range").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        end = int(last) + 1 if last else size
        length = min(end, size) - start
        if last and int(last) < start:
            return None
    if length <= 0:
        headers = {"Content-Range": f"bytes */{size}"}
        raise RefusedError(416, "BadRange", f"The object has {size} bytes.", headers)
    return start, length
