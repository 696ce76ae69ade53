"""Files in object stores and on the web: their version, ranges of their bytes, keys per layer.

GDAL reads rasters itself (`gdal`); everything else comes through here. Nothing is taken from the
process's environment: a layer without keys is asked for without signature.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

from geopod.errors import LayerAccessError
from geopod.layers.access import Access
from geopod.layers.endpoints import find_endpoint, wrong_keys
from geopod.layers.hosts import check_host, is_loopback
from geopod.layers.web import (
    Answer,
    SourceRefusedError,
    SourceSilentError,
    http_headers,
    read_range,
)

BUCKETS = ("s3", "gs", "az")
SCHEMES = (*BUCKETS, "http", "https")
SEARCH_SCHEMES = ("stac+http", "stac+https")
ELLIPSIS_SCHEMES = ("ellipsis", "ellipsis+http", "ellipsis+https")
ELSEWHERE = (*SCHEMES, *SEARCH_SCHEMES, *ELLIPSIS_SCHEMES)
"""Of all uris that are not on this machine."""
_WEB = ("http", "https")
_BUCKET = re.compile(r"[a-z0-9$][a-z0-9._-]{1,62}")
# Parameters that make an address a key: an address is written into the plan, a key must not be.
_SIGNATURES = frozenset(
    {"sig", "signature", "token", "access_token", "x-amz-signature", "x-goog-signature"}
)
_NOT_ALLOWED = (401, 403)


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteFile:
    """One object, or a folder of them (`key` ends with a slash), with what it takes to read it."""

    href: str
    scheme: str
    bucket: str
    """Bucket or container; the host of an address on the web."""
    key: str
    path_id: str
    keys: Mapping[str, str] = field(repr=False)
    access: Access = field(repr=False)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.key.rstrip("/").rpartition("/")[2]

    @property
    def is_folder(self) -> bool:
        """Whether it is all objects below a prefix."""
        return self.key.endswith("/") and self.scheme not in _WEB

    @property
    def has_client(self) -> bool:
        """Whether it lies in a bucket, which has a client (`store`)."""
        return self.scheme not in _WEB

    def probe(self, length: int = 1) -> Answer:
        """Return the first bytes, with the size and version of the whole.

        Raises LayerAccessError: AuthFailed for keys that the store refuses.
        """
        return self.read(0, length)

    def read(self, start: int, length: int) -> Answer:
        """Return a range of its bytes, with the size and version of the whole."""
        begun = perf_counter()
        try:
            if self.scheme in _WEB:
                return read_range(
                    self.href,
                    headers=http_headers(self.keys),
                    start=start,
                    length=length,
                    access=self.access,
                    path_id=self.path_id,
                )
            return self._read_object(start, length)
        except SourceRefusedError as error:
            if error.status in _NOT_ALLOWED:
                raise LayerAccessError.refused(
                    path_id=self.path_id,
                    answer=f"{error} from {self.scheme}",
                    secret=self.access.secrets.get(self.path_id),
                    details=self._details(begun),
                ) from error
            raise self._unreachable(f"{error} for {self.href}", begun) from error
        except SourceSilentError as error:
            raise self._unreachable(f"{self.href} did not answer: {error}", begun) from error

    def members(self, suffix: str) -> list[RemoteFile]:
        """Return the objects of a folder that end with `suffix`, by name."""
        found = self._list()
        return [
            RemoteFile(
                href=f"{self.scheme}://{self.bucket}/{key}",
                scheme=self.scheme,
                bucket=self.bucket,
                key=key,
                path_id=self.path_id,
                keys=self.keys,
                access=self.access,
            )
            for key in sorted(found)
            if key.endswith(suffix)
        ]

    def version(self, suffix: str = ".parquet") -> str:
        """Return what changes when its bytes do."""
        if not self.is_folder:
            return self.probe().version
        return " ".join(part.probe().version for part in self.members(suffix))

    def open(self) -> io.BufferedReader:
        """Return it as a file that reads ranges."""
        return io.BufferedReader(_Ranges(self), buffer_size=1 << 16)

    @cached_property
    def store(self) -> Any:
        """The client of its bucket."""
        from geopod.layers.stores import open_store  # loads obstore

        return open_store(self.scheme, self.bucket, self.keys, self.access.patience)

    def _read_object(self, start: int, length: int) -> Answer:
        from geopod.layers.stores import STORE_ERRORS, told

        try:
            options: Any = {"range": (start, start + length)}
            result = self.store.get(self.key, options=options)
            body = bytes(result.bytes())
            meta = result.meta
        except STORE_ERRORS as error:
            raise told(error) from error
        modified = meta["last_modified"].isoformat()
        etag = meta["e_tag"] or f"modified {modified} size {meta['size']}"
        version = f"{etag} version {meta['version']}" if meta["version"] else etag
        return Answer(body=body, size=meta["size"], version=version)

    def _list(self) -> list[str]:
        from geopod.layers.stores import STORE_ERRORS, told

        begun = perf_counter()
        try:
            return [entry["path"] for chunk in self.store.list(self.key) for entry in chunk]
        except STORE_ERRORS as error:
            raise self._unreachable(f"{told(error)} for {self.href}", begun) from error

    def _unreachable(self, words: str, begun: float) -> LayerAccessError:
        return LayerAccessError.unreachable(
            path_id=self.path_id, words=words, details=self._details(begun)
        )

    def _details(self, begun: float) -> dict[str, Any]:
        return {
            "href": self.href,
            "host": self.bucket if self.scheme in _WEB else find_endpoint(self.scheme, self.keys),
            "tries": self.access.patience.tries,
            "seconds": round(perf_counter() - begun, 1),
            "secret": self.access.secrets.get(self.path_id),
        }


def unreadable(place: Path | RemoteFile, words: str, *, path_id: str) -> LayerAccessError:
    """Return the error that says what is wrong with a file or store, here or elsewhere."""
    href = place.href if isinstance(place, RemoteFile) else str(place)
    return LayerAccessError.unreachable(
        path_id=path_id, words=f"{href}: {words}", details={"href": href}
    )


def find_remote(href: str, access: Access, *, path_id: str) -> RemoteFile:
    """Return the object that `href` names; raises LayerAccessError for one no layer may name."""
    parts = urlsplit(href)
    keys = access.keys(path_id)
    wrong = _wrong(href, keys)
    if wrong is not None:
        raise LayerAccessError.unreachable(
            path_id=path_id, words=wrong, details={"href": _without_query(href)}
        )
    if parts.scheme in _WEB:
        check_host(href, access, path_id=path_id)
    elif endpoint := find_endpoint(parts.scheme, keys):
        check_host(endpoint, access, path_id=path_id)
    return RemoteFile(
        href=href,
        scheme=parts.scheme,
        bucket=parts.netloc,
        key=parts.path.lstrip("/"),
        path_id=path_id,
        keys=keys,
        access=access,
    )


def is_folder_like(href: str) -> bool:
    """Say whether an address may be a folder that runs published to."""
    scheme, _, rest = href.partition("://")
    return scheme in BUCKETS and (rest.endswith("/") or "." not in rest.rpartition("/")[2])


def _wrong(href: str, keys: Mapping[str, str]) -> str | None:
    """Return why `href` cannot be the address of a layer."""
    parts = urlsplit(href)
    shown = _without_query(href)
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if any(character <= " " or character == "\x7f" for character in href):
        return "the uri holds a space or a control character"
    if parts.username is not None or _SIGNATURES & names:
        return f"{shown} holds a password or a signature; these belong in the Layer's Secret"
    if parts.scheme in _WEB:
        is_clear = parts.scheme == "http" and http_headers(keys) and not is_loopback(href)
        return f"{shown} would send credentials in the clear; use https://" if is_clear else None
    is_object = _BUCKET.fullmatch(parts.netloc) and not parts.query and not parts.fragment
    if not is_object or not _is_key(parts.path):
        return f"{shown} is not <bucket>/<key>"
    words = wrong_keys(parts.scheme, keys)
    return words and f"{shown} {words}"


def _is_key(path: str) -> bool:
    return not {"", ".", ".."} & set(path.strip("/").split("/"))


def _without_query(href: str) -> str:
    parts = urlsplit(href)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _Ranges(io.RawIOBase):
    """A file whose reads are range requests."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._size = file.probe().size
        self._position = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._position

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    @override
    def readinto(self, buffer: Any, /) -> int:
        length = min(len(buffer), self._size - self._position)
        if length <= 0:
            return 0
        body = self._file.read(self._position, length).body
        buffer[: len(body)] = body
        self._position += len(body)
        return len(body)
