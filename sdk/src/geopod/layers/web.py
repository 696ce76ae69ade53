"""Ranges of a file over HTTP: redirects only where layers may go, slow servers asked again."""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import override

from geopod.layers.access import Access, Patience
from geopod.layers.hosts import check_host

_MOST_REDIRECTS = 5
_OWN_HEADERS = frozenset({"Accept-encoding", "Range", "User-agent"})
"""What another host, or the same one in the clear, is told; all others are a layer's keys."""
_PARTIAL = 206
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A part of a file, and what the server says of the whole."""

    body: bytes
    size: int
    version: str
    status: int = 200
    """Of HTTP."""


class SourceRefusedError(Exception):
    """The server answered, with a status that says no."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status = status


class SourceSilentError(Exception):
    """No usable answer came, however often the server was asked."""


def read_range(
    url: str, *, headers: Mapping[str, str], start: int, length: int, access: Access, path_id: str
) -> Answer:
    """Return `length` bytes from `start` (fewer at the end) of the file at `url`.

    Raises SourceRefusedError, SourceSilentError after `access.patience`, and LayerAccessError for
    a redirect to a host that layers may not name.
    """
    request = urllib.request.Request(  # noqa: S310  # http and https only: `remote` checks it
        url,
        headers={
            **headers,
            "Range": f"bytes={start}-{start + length - 1}",
            "Accept-Encoding": "identity",
            "User-Agent": "geopod",
        },
    )
    opener = urllib.request.build_opener(_CheckedRedirects(access, path_id))
    words = ""
    for attempt in range(access.patience.tries):
        if attempt:
            Event().wait(access.patience.delay_s * 2 ** (attempt - 1))
        try:
            return _ask(opener, request, length, access.patience)
        except SourceRefusedError as error:
            if error.status not in _TRY_AGAIN:
                raise
            words = str(error)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            words = str(reason) or type(error).__name__
    raise SourceSilentError(words)


def http_headers(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a layer's credentials ask for."""
    headers = {}
    for line in re.split(r"[\r\n]+", keys.get("GDAL_HTTP_HEADERS", "")):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    if bearer := keys.get("GDAL_HTTP_BEARER"):
        headers["Authorization"] = f"Bearer {bearer}"
    elif pair := keys.get("GDAL_HTTP_USERPWD"):
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def _ask(
    opener: urllib.request.OpenerDirector,
    request: urllib.request.Request,
    length: int,
    patience: Patience,
) -> Answer:
    try:
        with opener.open(request, timeout=patience.stall_s) as response:
            # A server that ignores the range would send all of a file: take it only if it is short.
            body = response.read(length + 1)
            place = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status == _PARTIAL and place is not None:
                size = int(place[3])
                whole = int(place[2]) - int(place[1]) + 1
            else:
                size = whole = int(response.headers.get("Content-Length") or len(body))
            if response.status != _PARTIAL and size > length:
                raise SourceRefusedError(
                    response.status, "without ranges: the server sends whole files"
                )
            if len(body) < min(whole, length):
                raise http.client.IncompleteRead(body, whole - len(body))
            version = _version(response.headers, size)
            return Answer(body=body, size=size, version=version, status=response.status)
    except urllib.error.HTTPError as error:
        with error:
            raise SourceRefusedError(error.code, error.reason) from error


def _version(headers: http.client.HTTPMessage, size: int) -> str:
    if etag := headers.get("ETag"):
        return str(etag)
    return f"modified {headers.get('Last-Modified', 'unknown')} size {size}"


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to a host that layers may name; keys stay with the host they are for."""

    max_redirections = _MOST_REDIRECTS

    def __init__(self, access: Access, path_id: str) -> None:
        self._access = access
        self._path_id = path_id

    @override
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            check_host(newurl, self._access, path_id=self._path_id)
        except BaseException:
            fp.close()  # urllib closes it only when the redirect is followed
            raise
        follower = super().redirect_request(req, fp, code, msg, headers, newurl)
        if follower is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            for name in set(follower.headers) - _OWN_HEADERS:
                del follower.headers[name]
        return follower
